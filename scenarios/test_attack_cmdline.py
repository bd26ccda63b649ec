"""What the platform tells its firmware is told to systemd too: a command line, and units that run as root.

SMBIOS strings of type 11 are the hypervisor's, or a platform's whose firmware can be written to. One machine has a
binding for each PCR that might see them, so that one start of it tells which of them keep the key.
"""

import re
from base64 import b64encode

import pytest

from harness.api import Attacker, ConsoleShell, Deadline, Enrolment, Grant, Sealed, Tpm2Pin, boot_once

SEALS = {1: 1, 4: 2, 7: 3, 12: 4}
"""The PCR of each binding, and its keyslot: the passphrase's is 0."""

EACH_PCR = Enrolment("tpm2-each-pcr", pins=tuple(Tpm2Pin((pcr,), "sha256", f"pcr{pcr}") for pcr in SEALS))

DEVICE = "/dev/disk/by-partlabel/var"

TRY_ALL = "; ".join(
    f"clevis luks pass -d {DEVICE} -s {slot} >/run/{pcr} 2>/dev/null"
    f" && cryptsetup open --test-passphrase --key-file /run/{pcr} --key-slot {slot} {DEVICE}"
    f" && cp /run/{pcr} /run/pass && echo pcr {pcr} unseals"
    for pcr, slot in SEALS.items()
)
"""Ask the TPM for the passphrase of each binding; the last one that it gives, and that opens, stays in /run/pass."""


def unsealed(said: str) -> set[int]:
    """The PCRs whose bindings the TPM unsealed."""
    return {int(pcr) for pcr in re.findall(r"pcr (\d+) unseals", said)}


def printed(attacker: Attacker, said: str, opened: set[int]) -> set[int]:
    """Print the canary he read, once for each binding that gave him a passphrase; says for which it is the secret."""
    canary = re.search(r"^[0-9a-f]{32}", said, re.MULTILINE)
    loot = {
        pcr: attacker.prints(
            canary[0] if canary and pcr in opened else None, guard=f"tpm2-pcr{pcr}", evidence="console-console.log"
        )
        for pcr in SEALS
    }
    return {pcr for pcr, got in loot.items() if got.extracted}


def asks_the_tpm(console: ConsoleShell, attacker: Attacker) -> set[int]:
    """Be root in the victim's system before it is up: unseal what the TPM gives, and open the volume with that."""
    deadline = Deadline.after(300)
    console.wait_for("job control turned off", deadline)
    opened = unsealed(console.run(TRY_ALL, deadline, check=False))
    # No udev runs, so nobody but device-mapper itself makes the node.
    console.run(f"DM_DISABLE_UDEV=1 cryptsetup open --key-file /run/pass {DEVICE} var", deadline, check=False)
    console.run("mount -o ro /dev/mapper/var /mnt", deadline, check=False)
    said = console.run("cat /mnt/unlock-lab-canary", deadline, check=False)
    return printed(attacker, said, opened)


@pytest.mark.policy(EACH_PCR)
@pytest.mark.attack(Grant.MACHINE, Grant.SMBIOS)
def test_smbios_cmdline_opens_a_seal_to_pcr_4_or_7_and_not_one_to_pcr_12(attacker: Attacker) -> None:
    """A string adds ``init=/bin/sh`` to the command line: a root shell at the console, which asks the TPM for the key.

    systemd-stub appends ``io.systemd.stub.kernel-cmdline-extra`` to the command line of a signed image, and measures
    it into PCR 12. The boot image is the same (PCR 4), Secure Boot's keys too (PCR 7).

    Granted: the machine, and its SMBIOS strings. Extracted from seals to PCR 4 and PCR 7. Cure: bind PCR 12 too.
    Source: systemd-stub(7), "SMBIOS Type 11 Strings"; systemd, src/boot/stub.c.
    """
    own = "io.systemd.stub.kernel-cmdline-extra=init=/bin/sh"
    with attacker.console(disk=attacker.disk(), smbios=[own]) as console:
        extracted = asks_the_tpm(console, attacker)
    assert extracted >= {4, 7}
    assert 12 not in extracted


@pytest.mark.policy(EACH_PCR)
@pytest.mark.attack(Grant.MACHINE)
def test_uki_cmdline_opens_a_seal_to_pcr_4_or_7_and_not_one_to_pcr_12(attacker: Attacker) -> None:
    """A boot entry in the NVRAM starts the same image with another command line, Secure Boot being off.

    As a boot manager's editor does it, without a boot manager. systemd-stub takes the load option's arguments for the
    image's own command line, and measures them into PCR 12; the entry itself goes into PCR 1.

    Granted: the machine. Extracted from seals to PCR 4 and PCR 7. Cure: Secure Boot, under which the stub ignores such
    arguments for an image that has a command line (not shown here); or bind PCR 12. Source: systemd-stub(7),
    "The command line".
    """
    arguments = "root=LABEL=root rootfstype=ext4 rw console=ttyS0 init=/bin/sh"
    variables = attacker.nvram()
    variables.write_bytes(boot_once(variables.read_bytes(), r"\EFI\BOOT\BOOTX64.EFI", arguments))
    with attacker.console(disk=attacker.disk(), nvram=variables) as console:
        extracted = asks_the_tpm(console, attacker)
    assert extracted == {4, 7}


@pytest.mark.policy(EACH_PCR)
@pytest.mark.attack(Grant.MACHINE, Grant.SMBIOS)
def test_smbios_credential_runs_a_unit_of_the_attackers(sealed: Sealed, attacker: Attacker) -> None:
    """Two strings are credentials that add a unit to the system: it runs as root, prints the secret, asks the TPM.

    Nothing of the boot chain changes, nor the command line: only what the firmware measures of its SMBIOS tables can.

    Granted: the machine, and its SMBIOS strings. Extracted. Cure: bind PCR 1, if this firmware measures the tables
    there; or build images that import no credentials (``systemd.import_credentials=no`` in a signed command line).
    Source: systemd-debug-generator(8), ``systemd.extra-unit.*``; systemd.system-credentials(7); systemd#42233.
    """
    script = f"echo here it begins; {TRY_ALL}; cat /var/unlock-lab-canary; echo here it ends"
    unit = (
        f"[Unit]\nConditionPathExists=!/etc/initrd-release\nRequiresMountsFor=/var\n[Service]\nType=oneshot\n"
        f"StandardOutput=tty\nTTYPath=/dev/ttyS0\nExecStart=/bin/sh -c '{script}'\n"
    )
    credentials = {
        "systemd.extra-unit.loot.service": unit,
        "systemd.unit-dropin.multi-user.target": "[Unit]\nWants=loot.service\n",
    }
    strings = [
        f"io.systemd.credential.binary:{name}={b64encode(text.encode()).decode()}" for name, text in credentials.items()
    ]
    assert unsealed(sealed.maintain(TRY_ALL)) == SEALS.keys()
    with attacker.console(disk=attacker.disk(), smbios=strings) as console:
        said = console.wait_for(r"(?s)here it begins.*here it ends", Deadline.after(300))
    extracted = printed(attacker, said, unsealed(said))
    assert extracted >= {4, 7, 12}
    assert 1 not in extracted
