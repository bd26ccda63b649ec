"""What an owner's enrolment and maintenance run in the guest, line by line, and the volumes that come of it."""

from dataclasses import replace

import pytest

from harness.errors import UsageError
from harness.policy.enrolment import RECOVERY_KEY, Enrolment, enrolled, root_policy
from harness.policy.maintenance import edited, rebound, unbound
from harness.policy.new_volume import NewVolume
from harness.policy.pins import CryptenrollPin, Fido2Pin, Pin, Sss, TangPin, Tpm2Pin
from harness.policy.policy import Policy, Volume

TPM, TANG = Tpm2Pin(), TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")
TOKEN = CryptenrollPin((7,), asks_pin=True, measures=True)
VAR = Volume("var", "/dev/disk/by-partlabel/var", None, "it's secret", "/var", key_file=True)
SRV = Volume("srv", "/dev/vda5", TANG, None, "/srv")
BASE = Policy("base", {}, (VAR, SRV), "/dev/nvme0n1", (), "the file", ("echo first",))
ENV = ["device=$(readlink -f /dev/disk/by-partlabel/var)", """export PASSWORD='it'"'"'s secret'"""]
BIND_TPM = """printf %s "$PASSWORD" | clevis luks bind -y -k - -d "$device" tpm2 '{}'"""
ENROLL = 'systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs=7 --tpm2-public-key= --tpm2-with-pin=yes "$device"'
QUICK = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"


def test_an_enrolment_in_full() -> None:
    new = NewVolume("state", "/opt/state", (TOKEN,), "/srv/key", "some.service")
    options = ("headless=yes", "tpm2-device=auto")
    policy = enrolled(
        BASE,
        Enrolment(
            *("mine", (TPM, TOKEN)),
            keeps_passphrase=False,
            recovery_key=True,
            options=options,
            volumes=(new,),
            commands=("echo last",),
        ),
    )
    lines = (
        *ENV,
        BIND_TPM,
        f"NEWPIN=2580 {ENROLL}",
        f"recovery_key {RECOVERY_KEY} 7 {QUICK}",
        'systemd-cryptenroll --wipe-slot=password "$device"',
        "crypttab var none headless=yes tpm2-device=auto tpm2-measure-pcr=yes",
        "rm -f /etc/luks/var",
        f"make_volume state /dev/nvme0n1 'password of state' {QUICK}",
        "device=$(readlink -f /dev/disk/by-partlabel/state)",
        "export PASSWORD='password of state'",
        f"NEWPIN=2580 {ENROLL}",
        f"add_key_file /srv/key {QUICK}",
        "use_volume state /opt/state /srv/key luks,tpm2-measure-pcr=yes luks,tpm2-device=auto,tpm2-measure-pcr=yes",
        "open_after state some.service",
        "echo last",
    )
    assert policy.enrolment == ("echo first", *lines)
    assert policy.source == "\n".join(
        ["the file", "# and by hand, in the installed guest:", *(f"#   {line}" for line in lines), ""]
    )
    assert (policy.name, policy.disk, policy.config) == ("mine", "/dev/nvme0n1", {})
    assert policy.volumes == (
        replace(
            VAR,
            pins=Sss(1, (TPM, TOKEN), separate=True),
            passphrase=RECOVERY_KEY,
            key_file=False,
            headless=True,
            tpm_pin="2580",
        ),
        SRV,
        Volume(
            *("state", "/dev/disk/by-partlabel/state", TOKEN, "password of state", "/opt/state"),
            key_file=True,
            tpm_pin="2580",
        ),
    )


def test_an_enrolment_that_keeps_all_that_was_there() -> None:
    policy = enrolled(replace(BASE, enrolment=()), Enrolment("mine", (TPM,), keeps_key_file=True))
    assert policy.enrolment == (*ENV, BIND_TPM, "crypttab var keep")
    assert policy.volumes[0] == replace(VAR, pins=TPM)


@pytest.mark.parametrize(("options", "headless"), [(("headless",), True), (("headless=no",), False), ((), False)])
def test_a_volume_is_headless_by_its_option(options: tuple[str, ...], headless: bool) -> None:
    assert enrolled(BASE, Enrolment("mine", options=options)).volumes[0].headless is headless


def test_a_volume_is_meant_by_its_name() -> None:
    typed = replace(SRV, passphrase="x")
    policy = enrolled(replace(BASE, volumes=(VAR, typed)), Enrolment("mine", (TPM,), volume="srv"))
    assert policy.volumes == (VAR, replace(typed, pins=Sss(1, (TANG, TPM), separate=True)))
    with pytest.raises(UsageError) as caught:
        enrolled(BASE, Enrolment("mine", (TPM,), volume="srv"))
    assert caught.value.what == "the policy base cannot be enrolled upon: its volume srv has no passphrase"
    assert caught.value.hint == "give it a luks section with a key_file"
    with pytest.raises(UsageError, match=r"^the policy base cannot be enrolled upon: its volume  has no passphrase"):
        enrolled(replace(BASE, volumes=()), Enrolment("mine"))


def root(*pins: Pin, options: tuple[str, ...] = ()) -> list[str]:
    policy = enrolled(root_policy("image", "secret", "/dev/disk/by-uuid/r"), Enrolment("mine", pins, options=options))
    return [line for line in policy.enrolment if not line.startswith(("device=", "export "))]


def test_the_root_of_an_image() -> None:
    policy = root_policy("image", "secret", "/dev/disk/by-uuid/r")
    assert policy == Policy(
        name="image",
        config={},
        volumes=(Volume("root", "/dev/disk/by-uuid/r", None, "secret", "/"),),
        disk="/dev/nvme0n1",
        kernel_arguments=(),
        source="# The encrypted root of the image image, which a passphrase opens.\n",
    )


def test_the_initrd_of_a_root_is_told_by_kernel_arguments() -> None:
    assert root() == []
    assert root(TPM) == [BIND_TPM]
    assert root(Sss(1, (TPM, TANG)))[1:] == ["kernel_arguments ip=dhcp rd.neednet=1"]
    assert root(Fido2Pin(), options=("x", "fido2-device=auto"))[1:] == [
        "kernel_arguments rd.luks.options=r=luks,x,fido2-device=auto"
    ]
    assert root(TANG, CryptenrollPin((7,)))[2:] == [
        "kernel_arguments ip=dhcp rd.neednet=1 rd.luks.options=r=luks,tpm2-device=auto"
    ]


BOUND = replace(VAR, pins=Sss(1, (TPM, TOKEN, TANG), separate=True))


def test_bindings_are_renewed_and_removed_by_the_tool_that_made_them() -> None:
    wipe = ENROLL.replace("systemd-cryptenroll", "systemd-cryptenroll --wipe-slot=tpm2")
    done = rebound([BOUND, replace(SRV, pins=None)])
    assert done.volumes == (BOUND, replace(SRV, pins=None))
    assert done.commands == (
        *(*ENV, 'each_binding 2 clevis luks regen -q -d "$device"'),
        *(*ENV, f"NEWPIN=2580 {wipe}"),
    )
    gone = unbound([BOUND, replace(SRV, pins=None)])
    assert gone.volumes == (VAR, replace(SRV, pins=None))
    assert gone.commands == (
        *(*ENV, 'each_binding 2 clevis luks unbind -f -d "$device"'),
        *(*ENV, 'systemd-cryptenroll --wipe-slot=tpm2 "$device"'),
    )
    with pytest.raises(UsageError) as caught:
        unbound([SRV])
    assert caught.value.what == "the volume srv has no passphrase, so its bindings cannot be changed"


def test_an_edit_is_of_the_volumes_that_it_changes() -> None:
    bound = replace(VAR, pins=TPM)
    done = edited(lambda pins: Tpm2Pin((7,)) if pins == TPM else pins)([bound, SRV, VAR])
    assert done.volumes == (replace(VAR, pins=Tpm2Pin((7,))), SRV, VAR)
    assert done.commands == (*ENV, """each_binding 1 clevis luks edit -d "$device" -c '{"pcr_ids": "7"}'""")


def test_what_clevis_cannot_edit() -> None:
    with pytest.raises(UsageError) as caught:
        edited(lambda _: TANG)([replace(VAR, pins=TPM)])
    assert caught.value.what == "clevis cannot edit a binding of tpm2 into one of tang"
    assert caught.value.hint == "unbind, and bind anew"
    with pytest.raises(UsageError) as caught:
        edited(lambda _: TPM)([BOUND])
    assert caught.value.what == "the volume var has not just one binding to edit"
