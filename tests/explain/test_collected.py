"""`explain --machine`: a folder as collect.sh fills it, with the header of a real volume, and what damages it."""

import json
import os
import shutil
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from harness import explain
from harness.errors import UsageError
from harness.explain import collected, command
from harness.policy.pins import Fido2Pin, Sss, TangPin, Tpm2Pin
from harness.policy.world import Stack
from harness.unlock import Unlock

MACHINE = Path(__file__).parent / "machine"
UUID = "3f1c6a52-0d8e-4d0b-9a51-5d9a8f1b7c11"
SCRIPT = Path(explain.__file__).parent / "collect.sh"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MACHINE, tmp_path / "machine"))


def edit_header(machine: Path, **changes: object) -> None:
    path = machine / "luks" / f"{UUID}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_header_of_a_real_volume_gives_its_tree(machine: Path) -> None:
    found = collected.read(machine)
    (volume,) = found.policy.volumes
    server = TangPin("10.0.2.2:23709", "http://10.0.2.2:23709")
    assert volume.pins == Sss(2, (server, Tpm2Pin()))
    assert (volume.name, volume.mount_point, volume.key_file, volume.headless) == ("var", "/var", False, False)
    assert volume.passphrase is not None, "keyslot 0 belongs to no token"
    assert found.stack is Stack.DR
    assert not found.unknown


def test_it_is_told_like_a_file_of_the_same_shape(machine: Path) -> None:
    lines = {line.condition: line for line in command.explained_machine(machine).volumes[0].conditions}
    assert lines["tpm-absent"].unlock is Unlock.PASSPHRASE_FALLBACK
    assert lines["present"].unlock is Unlock.AUTO
    assert lines["without 10.0.2.2:23709"].unlock is Unlock.PASSPHRASE_FALLBACK
    assert lines["tpm-absent"].recorded.confirmed > 0, "the order in which clevis wrote the pins is nothing"


def test_a_volume_without_a_slot_of_its_own_for_a_passphrase_has_none(machine: Path) -> None:
    header = json.loads((machine / "luks" / f"{UUID}.json").read_text())
    edit_header(machine, keyslots={"1": header["keyslots"]["1"]})
    assert collected.read(machine).policy.volumes[0].passphrase is None


def test_headless_and_a_key_file_stand_in_crypttab(machine: Path) -> None:
    (machine / "crypttab").write_text(f"# a comment\nvar UUID={UUID} /etc/keys/var headless=yes,luks\n")
    (volume,) = collected.read(machine).policy.volumes
    assert volume.key_file and volume.headless


@pytest.mark.parametrize(
    ("tools", "stack"), [("update-initramfs\n", Stack.IT), ("dracut\n", Stack.DR), ("mkinitcpio\n", Stack.DR)]
)
def test_the_initrd_says_what_opens_it(machine: Path, tools: str, stack: Stack) -> None:
    (machine / "initrd-generator").write_text(tools)
    assert collected.read(machine).stack is stack


def test_of_a_token_that_the_rules_do_not_know_nothing_is_predicted(machine: Path) -> None:
    edit_header(machine, tokens={"0": {"type": "someone-elses", "keyslots": ["1"]}})
    (volume,) = command.explained_machine(machine).volumes
    assert "someone-elses" in volume.withheld
    assert volume.conditions == () and volume.attackers == ()


def test_what_is_not_predicted_meets_no_expectation(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Though the other volume does: what is said of no volume in particular is said of each."""
    shutil.copy(machine / "luks" / f"{UUID}.json", machine / "luks" / "other.json")
    (machine / "luks" / "other.device").write_text("/dev/sdb\n")
    asked = ["--machine", str(machine), "--expect", "tpm-absent=passphrase-fallback"]
    assert command.main(asked) == 0
    edit_header(machine, tokens={"0": {"type": "someone-elses", "keyslots": ["1"]}})
    assert command.main(asked) == 1
    assert "✗ var: tpm-absent gives not predicted, not passphrase-fallback: a token of" in capsys.readouterr().err
    assert command.main(["--machine", str(machine), "--expect", "var:tpm-absent=not predicted"]) == 0


def test_nothing_that_a_machine_says_becomes_markup(machine: Path, tmp_path: Path) -> None:
    (machine / "versions").write_text("clevis \x1b[31m<script>1\n")
    assert command.main(["--machine", str(machine), "--html", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "&lt;script&gt;1" in text
    assert "<script" not in text
    assert "\x1b" not in text


def test_a_token_of_systemd_is_read(machine: Path) -> None:
    token = {"type": "systemd-tpm2", "keyslots": ["1"], "tpm2-pcrs": [7], "tpm2-pin": True, "tpm2_pubkey_pcrs": [11]}
    edit_header(machine, tokens={"0": token})
    (line,) = [leaf for leaf in [collected.read(machine).policy.volumes[0].pins] if leaf]
    assert (line.pcr_ids, line.signed_pcr_ids, line.asks_pin) == ((7,), (11,), True)  # type: ignore[union-attr]


@pytest.mark.parametrize("asks_pin", [False, True])
def test_a_security_key_is_read_if_nobody_needs_to_touch_it(machine: Path, asks_pin: bool) -> None:
    wants = {"fido2-clientPin-required": asks_pin, "fido2-up-required": False, "fido2-uv-required": False}
    edit_header(machine, tokens={"0": {"type": "systemd-fido2", "keyslots": ["1"], **wants}})
    found = collected.read(machine)
    assert found.policy.volumes[0].pins == Fido2Pin(asks_pin=asks_pin)
    assert not found.unknown


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ({"type": "systemd-fido2"}, "must touch"),
        ({"type": "systemd-fido2", "fido2-up-required": True}, "must touch"),
        ({"type": "systemd-fido2", "fido2-up-required": False, "fido2-uv-required": True}, "must touch"),
        ({"type": "systemd-pkcs11", "pkcs11-uri": "pkcs11:token=lab"}, "does not say whether it is a card"),
    ],
)
def test_of_a_security_token_nothing_is_predicted_that_its_header_does_not_say(
    machine: Path, token: dict[str, object], why: str
) -> None:
    edit_header(machine, tokens={"0": {"keyslots": ["1"], **token}})
    (volume,) = command.explained_machine(machine).volumes
    assert why in volume.withheld
    assert volume.conditions == () and volume.attackers == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("format", "2\n"),
        ("format", None),
        (f"luks/{UUID}.json", "not JSON"),
        (f"luks/{UUID}.json", "[]"),
        (f"luks/{UUID}.json", None),
        ("lsblk.json", "{}"),
        ("lsblk.json", "[" * 100_000),
    ],
)
def test_what_is_missing_or_damaged_is_one_message(machine: Path, name: str, text: str | None) -> None:
    path = machine / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError):
        collected.read(machine)


def test_a_jwe_that_nests_for_ever_is_told(machine: Path) -> None:
    edit_header(machine, tokens={"0": {"type": "clevis", "keyslots": ["1"], "jwe": {"protected": "e30"}}})
    assert "protected header" in collected.read(machine).unknown["var"]


def in_jwe(pin: object) -> str:
    """The protected header of a JWE of clevis."""
    return urlsafe_b64encode(json.dumps({"clevis": pin}).encode()).decode().rstrip("=")


def of_clevis(pin: object) -> dict[str, object]:
    return {"type": "clevis", "keyslots": ["1"], "jwe": {"protected": in_jwe(pin)}}


CHILD = f"{in_jwe({'pin': 'tpm2', 'tpm2': {}})}..a.b.c"


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ({"type": "systemd-tpm2", "keyslots": ["1"], "tpm2-pcrs": 7}, "PCRs that are none"),
        ({"type": "systemd-tpm2", "keyslots": ["1"], "tpm2-pcrs": [[7]]}, "PCRs that are none"),
        ({"type": "systemd-tpm2", "keyslots": ["1"], "tpm2_pubkey_pcrs": [24]}, "a TPM has no PCR 24"),
        ({"type": "systemd-tpm2", "keyslots": ["1"], "tpm2-pcrs": [-1]}, "a TPM has no PCR -1"),
        (of_clevis({"pin": "tpm2", "tpm2": {"pcr_ids": "7,99"}}), "a TPM has no PCR 99"),
        (of_clevis({"pin": "tpm2", "tpm2": {"pcr_ids": "7" * 5000}}), "PCRs that are none"),
        (of_clevis({"pin": "sss", "sss": {"t": "x", "jwe": [CHILD]}}), "invalid literal"),
        (of_clevis({"pin": "sss", "sss": {"t": None, "jwe": [CHILD]}}), "NoneType"),
        (of_clevis({"pin": "sss", "sss": {"t": 0, "jwe": [CHILD]}}), "a threshold of 0 of 1 pins"),
        (of_clevis({"pin": "sss", "sss": {"t": 2, "jwe": [CHILD]}}), "a threshold of 2 of 1 pins"),
        (of_clevis({"pin": "sss", "sss": {"jwe": [3]}}), "not as clevis writes it"),
    ],
)
def test_of_a_token_that_is_damaged_nothing_is_predicted(machine: Path, token: object, said: str) -> None:
    edit_header(machine, tokens={"0": token})
    (volume,) = command.explained_machine(machine).volumes
    assert said in volume.withheld
    assert volume.conditions == () and volume.attackers == ()


def test_a_threshold_of_all_pins_is_one(machine: Path) -> None:
    edit_header(machine, tokens={"0": of_clevis({"pin": "sss", "sss": {"t": 2, "jwe": [CHILD, CHILD]}})})
    assert collected.read(machine).policy.volumes[0].pins == Sss(2, (Tpm2Pin(), Tpm2Pin()))


@pytest.mark.parametrize(
    "changes", [{"tokens": {"0": 5}}, {"tokens": {"0": "text"}}, {"tokens": {"0": {"keyslots": 3}}}, {"keyslots": None}]
)
def test_a_header_whose_parts_are_something_else_is_one_message(machine: Path, changes: dict[str, object]) -> None:
    edit_header(machine, **changes)
    with pytest.raises(UsageError, match="not the metadata of a LUKS2 header"):
        collected.read(machine)


def test_a_pipe_in_the_place_of_a_header_keeps_nobody_waiting(machine: Path) -> None:
    (machine / "luks" / f"{UUID}.json").unlink()
    os.mkfifo(machine / "luks" / f"{UUID}.json")
    with pytest.raises(UsageError, match="not the metadata of a LUKS2 header"):
        collected.read(machine)


def test_the_script_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.collect([]) == 0
    assert capsys.readouterr().out == SCRIPT.read_text()


def test_the_script_is_shell_and_opens_nothing() -> None:
    subprocess.run(["sh", "-n", SCRIPT], check=True)
    text = SCRIPT.read_text()
    for never in ("cryptsetup open", "luksDump --dump-volume-key", "clevis luks unlock", "clevis luks pass", "rm -rf"):
        assert never not in text


def test_what_the_script_takes_of_a_header_holds_no_keyslot_area() -> None:
    """The metadata says where a keyslot's area lies and how long it is; the area itself is not in it."""
    header = json.loads((MACHINE / "luks" / f"{UUID}.json").read_text())
    assert set(header) == {"config", "digests", "keyslots", "segments", "tokens"}
    for keyslot in header["keyslots"].values():
        assert set(keyslot["area"]) == {"encryption", "key_size", "offset", "size", "type"}
