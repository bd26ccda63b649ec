"""What an owner does by hand, as shell lines, and the policy that comes of it."""

import hashlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from harness.errors import UsageError
from harness.lab.owner import owner_functions
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.enrolment import RECOVERY_KEY, Enrolment, enrolled
from harness.policy.new_volume import NewVolume
from harness.policy.pins import CryptenrollPin, Sss, TangPin, Tpm2Pin, holds
from harness.policy.policy import Policy

TANG = TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")


@pytest.fixture(scope="module")
def base() -> Policy:
    return read_policy(POLICIES / "passphrase.bu")


def by_owner(lines: str, moved: Mapping[str, Path] = MappingProxyType({}), **tools: str) -> str:
    """Run an owner's lines with some paths elsewhere, and with some tools that are given as the body of a function."""
    text = owner_functions()
    for path, elsewhere in moved.items():
        text = text.replace(path, str(elsewhere))
    fakes = [f"{name}() {{ {body}; }}" for name, body in tools.items()]
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join([text, *fakes, lines])],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "device": "/dev/it", "PASSWORD": "secret"},
    )
    return ran.stdout


def test_a_recovery_key_is_a_keyslot_and_a_token() -> None:
    said = by_owner(
        "recovery_key cbde-fghi 7 --pbkdf pbkdf2",
        cryptsetup='echo "$1 $2 $3"; [[ $1 = token ]] && cat || cat "${@: -1}"',
    )
    assert said.startswith("luksAddKey --pbkdf pbkdf2\ncbde-fghi")
    kind, token = said.splitlines()[-2].partition("token import")[1:][0], said.splitlines()[-1]
    assert kind == "token import"
    assert json.loads(token) == {"type": "systemd-recovery", "keyslots": ["7"]}


def test_each_binding_of_clevis_gets_the_command_and_the_passphrase() -> None:
    clevis = "if [[ $2 = list ]]; then printf '%s\\n' '1: tpm2 {}' '4: tang {}'; else echo \"$@ $(cat)\"; fi"
    said = by_owner('each_binding 2 clevis luks regen -q -d "$device"', clevis=clevis)
    assert said.splitlines() == [f"luks regen -q -d /dev/it -s {slot} secret" for slot in (1, 4)]
    with pytest.raises(subprocess.CalledProcessError):
        by_owner('each_binding 1 clevis luks regen -q -d "$device"', clevis=clevis)


def commands(base: Policy, enrolment: Enrolment, tool: str) -> list[list[str]]:
    found = enrolled(base, enrolment).enrolment
    return [shlex.split(line.partition(tool)[2]) for line in found if re.search(rf"\b{tool}\b", line)]


def test_a_tpm2_token_with_pcrs(base: Policy) -> None:
    policy = enrolled(base, Enrolment("mine", (CryptenrollPin((0, 7)),)))
    (volume,) = policy.volumes
    assert (policy.name, volume.pins, volume.passphrase) == ("mine", CryptenrollPin((0, 7)), "password")
    assert not volume.key_file
    assert volume.tpm_pin is None
    (arguments,) = commands(base, Enrolment("mine", (CryptenrollPin((0, 7)),)), "systemd-cryptenroll")
    assert arguments == ["--tpm2-device=auto", "--tpm2-pcrs=0+7", "--tpm2-public-key=", "$device"]


def test_a_token_with_a_pin_asks_for_it(base: Policy) -> None:
    policy = enrolled(base, Enrolment("mine", (CryptenrollPin((7,), asks_pin=True),)))
    assert policy.volumes[0].tpm_pin
    line = next(line for line in policy.enrolment if "systemd-cryptenroll" in line)
    assert line.startswith(f"NEWPIN={policy.volumes[0].tpm_pin} ")
    assert "--tpm2-with-pin=yes" in line


def test_signed_pcrs_name_the_owner_s_key(base: Policy) -> None:
    pin = CryptenrollPin((), signed_pcr_ids=(11,))
    (arguments,) = commands(base, Enrolment("mine", (pin,)), "systemd-cryptenroll")
    assert "--tpm2-public-key-pcrs=11" in arguments
    assert any(argument.startswith("--tpm2-public-key=/") for argument in arguments)


def test_pcrs_of_the_initrd_are_bound_to_what_they_will_be_there(base: Policy) -> None:
    pin = CryptenrollPin((7,), initrd_pcr_ids=(11, 15))
    line = next(line for line in enrolled(base, Enrolment("mine", (pin,))).enrolment if "systemd-cryptenroll" in line)
    said = subprocess.run(
        [
            "bash",
            "-c",
            f"{line.replace('systemd-cryptenroll', 'echo').replace('/usr/lib/unlock-lab/pcr-11', 'echo ab12')}",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert f"--tpm2-pcrs=7+11:sha256=ab12+15:sha256={'0' * 64} " in said
    with pytest.raises(UsageError, match="PCR 4"):
        enrolled(base, Enrolment("mine", (CryptenrollPin(initrd_pcr_ids=(4,)),)))


def test_pcr_11_is_computed_for_the_phase_in_which_a_volume_is_opened(base: Policy) -> None:
    pin = CryptenrollPin((7,), initrd_pcr_ids=(11,), further_phases=("leave-initrd",))
    lines = enrolled(base, Enrolment("mine", (pin,))).enrolment
    entered = bytes(range(0, 64, 2))
    enroll = [line.replace("/usr/lib/unlock-lab/pcr-11", f"echo {entered.hex()}") for line in lines if "pcr11=" in line]
    said = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join([owner_functions(), *enroll, "echo $pcr11"])],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.strip() == hashlib.sha256(entered + hashlib.sha256(b"leave-initrd").digest()).hexdigest()
    assert any("--tpm2-pcrs=7+11:sha256=$pcr11 " in line for line in lines)


def test_a_recovery_key_is_typed_instead_of_the_passphrase(base: Policy) -> None:
    policy = enrolled(base, Enrolment("mine", (CryptenrollPin(),), keeps_passphrase=False, recovery_key=True))
    assert policy.volumes[0].passphrase == RECOVERY_KEY
    assert re.fullmatch(r"([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}", RECOVERY_KEY)
    added, wiped = (line for line in policy.enrolment if "recovery_key" in line or "--wipe-slot" in line)
    assert added.startswith(f"recovery_key {RECOVERY_KEY} 7 ")
    assert "--wipe-slot=password" in wiped


def test_a_pcrlock_policy_is_made_before_it_is_bound_to(base: Policy) -> None:
    lines = enrolled(base, Enrolment("mine", (CryptenrollPin(initrd_pcr_ids=(7, 11), pcrlock=True),))).enrolment
    (made,) = (number for number, line in enumerate(lines) if line == "pcrlock_policy 7 11")
    (bound,) = (number for number, line in enumerate(lines) if "--tpm2-pcrlock=/var/lib/systemd/pcrlock.json" in line)
    assert made < bound
    assert "--tpm2-pcrs= " in lines[bound]


@pytest.mark.parametrize(
    ("pin", "name", "config"),
    [
        (Tpm2Pin(), "tpm2", {}),
        (Tpm2Pin((1, 7), "sha256"), "tpm2", {"pcr_bank": "sha256", "pcr_ids": "1,7"}),
        (
            Tpm2Pin((7,), options=(("hash", "sha1"), ("key", "rsa"))),
            "tpm2",
            {"pcr_ids": "7", "hash": "sha1", "key": "rsa"},
        ),
        (TANG, "tang", {"url": "@TANG_URL@", "thp": "@TANG_THUMBPRINT@"}),
        (
            Sss(2, (Tpm2Pin(), Sss(1, (TANG,)))),
            "sss",
            {"t": 2, "pins": {"tpm2": [{}], "sss": [{"t": 1, "pins": {"tang": [TANG.clevis_config()]}}]}},
        ),
    ],
)
def test_clevis_gets_the_pin_as_it_takes_it(base: Policy, pin: object, name: str, config: object) -> None:
    assert isinstance(pin, Tpm2Pin | TangPin | Sss)
    (arguments,) = commands(base, Enrolment("mine", (pin,)), "clevis luks bind")
    assert arguments[-2] == name
    assert json.loads(arguments[-1]) == config


def test_clevis_has_no_pin_of_systemd() -> None:
    with pytest.raises(UsageError, match="no such pin"):
        Sss(1, (CryptenrollPin(),)).clevis_config()


def test_two_bindings_open_each_by_itself(base: Policy) -> None:
    policy = enrolled(base, Enrolment("mine", (Tpm2Pin(), TANG)))
    pins = policy.volumes[0].pins
    assert pins is not None
    assert holds(pins, frozenset({"tpm2"}))
    assert holds(pins, frozenset({"tang"}))
    assert not holds(pins, frozenset())
    assert policy.tang_servers == ("tang",)


def test_a_binding_comes_to_those_that_are_there() -> None:
    policy = enrolled(read_policy(POLICIES / "tang.bu"), Enrolment("mine", (Tpm2Pin(),), base="tang"))
    pins = policy.volumes[0].pins
    assert pins is not None
    assert holds(pins, frozenset({"tang"}))
    assert holds(pins, frozenset({"tpm2"}))


def test_the_passphrase_may_go(base: Policy) -> None:
    policy = enrolled(base, Enrolment("mine", (CryptenrollPin(),), keeps_passphrase=False))
    assert policy.volumes[0].passphrase is None
    assert any("--wipe-slot=password" in line for line in policy.enrolment)


def test_nobody_asks_when_headless(base: Policy) -> None:
    assert enrolled(base, Enrolment("mine", options=("headless=yes",))).volumes[0].headless
    assert not enrolled(base, Enrolment("mine")).volumes[0].headless


def test_a_volume_without_a_passphrase_cannot_be_enrolled_upon(base: Policy) -> None:
    with pytest.raises(UsageError, match="has no passphrase"):
        enrolled(base, Enrolment("mine", volume="other"))
    bare = enrolled(base, Enrolment("mine", (CryptenrollPin(),), keeps_passphrase=False))
    with pytest.raises(UsageError, match="has no passphrase"):
        enrolled(bare, Enrolment("again", (CryptenrollPin(),)))


def test_it_is_written_down_with_the_file(base: Policy) -> None:
    source = enrolled(base, Enrolment("mine", (CryptenrollPin((7,)),))).source
    assert source.startswith(base.source)
    assert "--tpm2-pcrs=7" in source


@pytest.mark.parametrize(
    ("enrolment", "line"),
    [
        (Enrolment("mine", (CryptenrollPin((7,)),)), "var UUID=x none luks,tpm2-device=auto"),
        (
            Enrolment("mine", (CryptenrollPin((7,), measures=True),)),
            "var UUID=x none luks,tpm2-device=auto,tpm2-measure-pcr=yes",
        ),
        (Enrolment("mine", options=("headless=yes",)), "var UUID=x none luks,headless=yes"),
        (Enrolment("mine", (Tpm2Pin(),)), "var UUID=x none luks"),
        (Enrolment("mine", keeps_key_file=True), "var UUID=x /etc/luks/var luks"),
    ],
)
def test_crypttab_is_edited_where_the_volume_stands(
    base: Policy, enrolment: Enrolment, line: str, tmp_path: Path
) -> None:
    other = "other UUID=y /etc/luks/other luks"
    (tmp_path / "crypttab").write_text(f"{other}\nvar UUID=x /etc/luks/var luks\n")
    edit = next(line for line in enrolled(base, enrolment).enrolment if line.startswith("crypttab "))
    by_owner(edit, {"/etc/crypttab": tmp_path / "crypttab"})
    assert (tmp_path / "crypttab").read_text().splitlines() == [other, line]


STATE = NewVolume("state", "/srv", (CryptenrollPin((7,), measures=True),), after="systemd-pcrmachine.service")
KEYED = NewVolume("keyed", "/mnt", key_file="/srv/key")


def test_a_new_volume_is_one_more_of_the_policy(base: Policy) -> None:
    policy = enrolled(base, Enrolment("mine", (CryptenrollPin((7,)),), volumes=(STATE, KEYED)))
    assert [volume.name for volume in policy.volumes] == ["var", "state", "keyed"]
    state, keyed = policy.volumes[1:]
    assert (state.pins, state.mount_point, state.key_file) == (STATE.pins[0], "/srv", False)
    assert (keyed.pins, keyed.key_file) == (None, True)
    assert len({volume.passphrase for volume in policy.volumes}) == 3, "systemd tries one that was typed on all of them"


def test_new_volumes_come_after_each_other_and_the_owner_s_commands_last(base: Policy) -> None:
    lines = enrolled(base, Enrolment("mine", volumes=(STATE, KEYED), commands=("echo done",))).enrolment
    assert [line.split()[1:] for line in lines if line.startswith("use_volume ")] == [
        # It is measured when it is made, but no token opens it then.
        ["state", "/srv", "none", "luks,tpm2-measure-pcr=yes", "luks,tpm2-device=auto,tpm2-measure-pcr=yes"],
        ["keyed", "/mnt", "/srv/key", "luks", "luks"],
    ]
    assert lines[-1] == "echo done"


def test_a_new_volume_may_wait_for_a_unit(base: Policy, tmp_path: Path) -> None:
    (line,) = (line for line in enrolled(base, Enrolment("mine", volumes=(STATE,))).enrolment if "open_after" in line)
    by_owner(line, {"/etc/systemd/system": tmp_path})
    written = tmp_path / "systemd-cryptsetup@state.service.d" / "after.conf"
    assert written.read_text() == "[Unit]\nAfter=systemd-pcrmachine.service\n"
