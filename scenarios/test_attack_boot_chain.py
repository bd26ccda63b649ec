"""What starts the system lies in clear: GRUB's configuration, the initrd, a shell that the initrd gives away.

The root of Debian's default set-up is encrypted; /boot is not, and whoever has the disk writes there what he likes. The
machine here binds its root to PCR 7, to PCR 8 (GRUB's commands and the kernel's command line) and to PCR 9 (the files
that GRUB reads, the initrd among them), so that one start of it tells which of them keep the key.
"""

import re

import pytest

from harness.api import BOOT, Attacker, Deadline, Enrolment, Grant, Sealed, Seat, Tpm2Pin, files, rewrite, with_file

SEALS = (7, 8, 9)
"""The PCR of each binding, in the order of the tokens."""

EACH_PCR = Enrolment("root-each-pcr", pins=tuple(Tpm2Pin((pcr,), "sha256", f"pcr{pcr}") for pcr in SEALS))

GRUB_CFG = "/grub/grub.cfg"
INITRAMFS_SHELL = r"\(initramfs\) "
OWN_ROOT = "/dev/nvme0n1p4"

ASK = (
    "for token in 0 1 2; do cryptsetup token export --token-id $token {device} | jose fmt -j- -Og jwe -o-"
    " | jose jwe fmt -i- -c | tr -d '\\n' | clevis decrypt >/run/$token 2>/dev/null"
    " && cryptsetup open --test-passphrase --key-file /run/$token {device}"
    " && cp /run/$token /run/pass && echo token $token opens; done"
)
"""Have the TPM unseal each binding, as the initrd's own script does; the last that opens stays in /run/pass."""


def asks_the_tpm(console: Seat, attacker: Attacker, device: str = OWN_ROOT) -> set[int]:
    """At a shell of the initrd: unseal what the TPM gives, open root with it, and print its canary.

    Returns:
        The PCRs whose bindings gave him the secret.
    """
    deadline = Deadline.after(300)
    said = console.run(ASK.format(device=device), deadline, check=False)
    unsealed = {SEALS[int(token)] for token in re.findall(r"token (\d) opens", said)}
    console.run(f"cryptsetup open --key-file /run/pass {device} loot", deadline, check=False)
    console.run("mkdir -p /loot && mount -t ext4 -o ro /dev/mapper/loot /loot", deadline, check=False)
    canary = re.search(r"^[0-9a-f]{32}", console.run("cat /loot/unlock-lab-canary", deadline, check=False), re.M)
    loot = {
        pcr: attacker.prints(
            canary[0] if canary and pcr in unsealed else None, guard=f"tpm2-pcr{pcr}", evidence="console-console.log"
        )
        for pcr in SEALS
    }
    return {pcr for pcr, got in loot.items() if got.extracted}


@pytest.mark.policy(EACH_PCR)
@pytest.mark.image("debian-13-initramfs")
@pytest.mark.attack(Grant.MACHINE)
def test_cmdline_edit(attacker: Attacker) -> None:
    """One more word on the kernel's command line, in GRUB's configuration on /boot: a root shell in the genuine initrd.

    ``break=premount`` stops Debian's initrd at a shell (initramfs-tools(7)); ``init=/bin/sh`` would do the same once
    root is open. GRUB measures each command that it runs, and the command line, into PCR 8; each file that it reads,
    and so grub.cfg, into PCR 9.

    Granted: the machine. Extracted from a seal to PCR 7. Cure: bind PCR 8, or 9; or a signed UKI with its own command
    line. Source: GRUB manual, "Measured Boot".
    """
    disk = attacker.disk()
    rewrite(disk, BOOT, GRUB_CFG, lambda text: text.replace(b" nowatchdog", b" nowatchdog break=premount"))
    with attacker.console(disk=disk) as console:
        console.wait_for(INITRAMFS_SHELL, Deadline.after(300))
        assert asks_the_tpm(console, attacker) == {7}


@pytest.mark.policy(EACH_PCR)
@pytest.mark.image("debian-13-initramfs")
@pytest.mark.attack(Grant.MACHINE)
def test_initrd_replaced(attacker: Attacker) -> None:
    """One more file in the initrd on /boot: a root shell again, with the command line as it was.

    The kernel unpacks a second archive behind the first; this one holds a line of configuration, ``break=premount``.
    GRUB measures the initrd, as any file that it reads, into PCR 9.

    Granted: the machine. Extracted from seals to PCR 7 and PCR 8. Cure: bind PCR 9; or a signed UKI, which the firmware
    refuses once its initrd is another (below). Source: clevis#17; GRUB manual, "Measured Boot".
    """
    disk = attacker.disk()
    with files(disk.path, BOOT) as boot:
        initrd = next(name for name in boot.names("/") if "initrd" in name)
        boot.write(initrd, with_file(boot.read(initrd), "conf/conf.d/loot", b"break=premount\n"))
    with attacker.console(disk=disk) as console:
        console.wait_for(INITRAMFS_SHELL, Deadline.after(300))
        assert asks_the_tpm(console, attacker) == {7, 8}


@pytest.mark.policy(EACH_PCR)
@pytest.mark.image("debian-13-initramfs")
@pytest.mark.attack(Grant.MACHINE)
def test_initramfs_shell(attacker: Attacker) -> None:
    """The machine starts without its encrypted root, gives up and drops to a shell; then the disk is plugged in.

    Nothing that is measured was touched: the attacker has the genuine boot chain and a root shell in it, and so each
    seal that needs no PIN opens to him, whatever its PCRs, a signed policy for the initrd included. The boot disk here
    is a copy whose root partition is empty; the genuine disk comes later, into a free slot.

    Granted: the machine. Extracted from all. Cure: ``panic=`` on the command line (below), or a PIN.
    Source: CVE-2016-4484.
    """
    empty = attacker.forged("root", lambda header: bytes(len(header)))
    with attacker.console(disk=empty) as console:
        console.wait_for(INITRAMFS_SHELL, Deadline.after(300))
        console.plug(attacker.disk())
        console.run("until [ -b /dev/vda4 ]; do sleep 1; done", Deadline.after(60))
        assert asks_the_tpm(console, attacker, "/dev/vda4") == {7, 8, 9}


@pytest.mark.policy(EACH_PCR)
@pytest.mark.image("debian-13-initramfs")
@pytest.mark.attack(Grant.MACHINE)
def test_initramfs_shell_is_not_there_with_panic(sealed: Sealed, attacker: Attacker) -> None:
    """The same machine, whose owner put ``panic=5`` on the command line: no shell, it starts anew.

    Granted: the machine. Resisted: there is nobody whom the TPM could be asked by. Source: initramfs-tools(7).
    """
    owners = sealed.machine.disks[0]
    rewrite(owners, BOOT, GRUB_CFG, lambda text: text.replace(b" nowatchdog", b" nowatchdog panic=5"))
    empty = attacker.forged("root", lambda header: bytes(len(header)))
    with attacker.console(disk=empty) as console:
        said = console.wait_for(f"Rebooting automatically|{INITRAMFS_SHELL}", Deadline.after(300))
        assert said == "Rebooting automatically"
        console.wait_for("BdsDxe: starting Boot", Deadline.after(60))
    assert not attacker.prints(guard="panic", evidence="console-console.log").extracted
