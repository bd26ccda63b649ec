"""What starts the system lies in clear: GRUB's configuration, the initrd, a shell that the initrd gives away.

The root of Debian's default set-up is encrypted; /boot is not, and whoever has the disk writes there what they like.
The machine here binds its root to PCR 7, to PCR 8 (GRUB's commands and the kernel's command line) and to PCR 9 (the
files that GRUB reads, the initrd among them), so that one start of it tells which of them keep the key.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from harness.api import Deadline, Enrolment, FaultContext, Machine, Sealed, Tpm2Pin, Unlock, faults
from harness.api.attack import (
    BOOT,
    BOOT_IMAGE,
    ESP,
    Attacker,
    ConsoleSession,
    Grant,
    canary_in,
    files,
    luks_forgery,
    new_signing_key,
    nvram,
    rewrite,
    signed,
    uki,
    with_file,
    write_partition,
)

SEALS = {0: 7, 1: 8, 2: 9}
"""The PCR of each token."""

EACH_PCR = Enrolment("root-each-pcr", pins=tuple(Tpm2Pin((pcr,), "sha256", f"pcr{pcr}") for pcr in SEALS.values()))

GRUB_CFG = "/grub/grub.cfg"
INITRAMFS_SHELL = r"\(initramfs\) "
ROOT = "/dev/nvme0n1p4"


def unsealed(console: ConsoleSession, device: str, token: int) -> bool:
    """At a shell of an initrd: decrypt a token as the initrd's own script does; says whether a keyslot opens by it.

    The passphrase stays in /run/pass.
    """
    jwe = f"cryptsetup token export --token-id {token} {device} | jose fmt -j- -Og jwe -o- | jose jwe fmt -i- -c"
    ask = f"{jwe} | tr -d '\\n' | clevis decrypt >/run/said 2>/dev/null"
    test = f"cryptsetup open --test-passphrase --key-file /run/said {device}"
    said = console.run(f"{ask} && {test} && cp /run/said /run/pass && echo it opens", Deadline.after(120), check=False)
    return "it opens" in said


def canary(console: ConsoleSession, device: str) -> str | None:
    """Open a volume by /run/pass, and read its canary."""
    deadline = Deadline.after(120)
    # No udev runs in the attacker's initrd, which has to make the node.
    opens = f"DM_DISABLE_UDEV=1 cryptsetup open --key-file /run/pass {device} loot"
    console.run(f"{opens} && mkdir -p /loot && mount -o ro /dev/mapper/loot /loot", deadline, check=False)
    return canary_in(console.run("cat /loot/unlock-lab-canary", deadline, check=False))


def asks_the_tpm(
    console: ConsoleSession, attacker: Attacker, device: str = ROOT, seals: Mapping[int, int] = SEALS
) -> set[int]:
    """Try each token, and print the canary that was read; returns the PCRs whose tokens gave the secret."""
    opened = {pcr for token, pcr in seals.items() if unsealed(console, device, token)}
    read = canary(console, device)
    loot = {
        pcr: attacker.submit(read if pcr in opened else None, guard=f"tpm2-pcr{pcr}", evidence=console.evidence)
        for pcr in seals.values()
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
    seal that needs no PIN opens, whatever its PCRs, a signed policy for the initrd included. The boot disk here
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

    Granted: the machine. Resisted: there is no shell that could ask the TPM. Source: initramfs-tools(7).
    """
    owners = sealed.machine.disks[0]
    rewrite(owners, BOOT, GRUB_CFG, lambda text: text.replace(b" nowatchdog", b" nowatchdog panic=5"))
    empty = attacker.forged("root", lambda header: bytes(len(header)))
    with attacker.console(disk=empty) as console:
        said = console.wait_for(f"Rebooting automatically|{INITRAMFS_SHELL}", Deadline.after(300))
        assert said == "Rebooting automatically"
        console.wait_for("BdsDxe: starting Boot", Deadline.after(60))
    attacker.submit(None, guard="panic", evidence=console.evidence)


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.MACHINE)
def test_emergency_shell_of_dracut_wants_a_root_that_is_not_locked(attacker: Attacker) -> None:
    """Dracut gives up on a root file system that cannot be mounted, and has no shell to give: its root is locked.

    The initrd of Debian's dracut knows root without a password, ``!unprovisioned``, and so sulogin refuses everybody.
    The attacker spoiled the group descriptors of the file system, which is not encrypted here: its label is still
    there, so that nothing is waited for.

    Granted: the machine. Resisted. Source: sulogin(8); dracut-emergency.
    """
    disk = attacker.disk()
    write_partition(disk.path, "root", bytes(4096), at=4096)
    with attacker.console(disk=disk) as console:
        said = console.wait_for(r"the root account is locked|\w:/# |bash-[\d.]+# ", Deadline.after(300))
    assert said == "the root account is locked"
    attacker.submit(None, guard="locked-root", evidence=console.evidence)


@pytest.mark.policy(EACH_PCR)
@pytest.mark.image("debian-13-initramfs")
@pytest.mark.attack(Grant.MACHINE)
def test_unbound_token_leads_to_a_shell(attacker: Attacker) -> None:
    """A token without a keyslot, under initramfs-tools: clevis answers each prompt with it, until there is a shell.

    Its script takes every clevis token of the header, and writes what the first one yields into askpass's pipe; that it
    opens nothing it never learns. When the tries are used up the initrd waits for root, and drops to a shell. Nothing
    that is measured was touched, so there the other tokens open.

    Granted: the machine with its disk. Extracted from the seals that were left. Cure: as for `test_initramfs_shell`.
    Source: clevis#524; clevis's local-top/clevis.
    """
    disk = attacker.forged(
        "root", partial(luks_forgery.without_binding, keyslot=attacker.header("root").tokens[0].keyslots[0])
    )
    with attacker.console(disk=disk) as console:
        console.wait_for(INITRAMFS_SHELL, Deadline.after(420))
        assert asks_the_tpm(console, attacker, seals={1: 8, 2: 9}) == {8, 9}


@pytest.mark.policy("root-tpm2-and-tang")
@pytest.mark.image("debian-12-initramfs")
@pytest.mark.attack(Grant.MACHINE, Grant.NETWORK)
def test_null_cipher_header(attacker: Attacker) -> None:
    """A look-alike root with the genuine token: its keyslot is encrypted by no cipher, so every passphrase opens it.

    The attacker does not know what TPM and Tang will say, and need not: the volume key behind the keyslot is the
    attacker's own. So that root is opened by itself, with nothing typed, in the genuine boot chain and at home, where
    both pins answer. What is in it is the attacker's as well; here it is nothing, so that the initrd drops to a shell,
    and to that shell the genuine disk, plugged in, gives its canary.

    Granted: the machine, in the victim's network. Extracted by cryptsetup 2.6.1-4~deb12u2. Cure: cryptsetup 2.8.1 (not
    shown here), or a kernel without that cipher (`test_null_cipher_header_is_refused_by_a_kernel_without_the_cipher`).
    Source: CVE-2025-59054.
    """
    slot = attacker.header("root").tokens[0].keyslots[0]
    with attacker.console(disk=attacker.forged("root", partial(luks_forgery.null_cipher, keyslot=slot))) as console:
        said = console.wait_for("root: (set up successfully|cryptsetup failed)", Deadline.after(300))
        assert said == "root: set up successfully"
        console.wait_for(INITRAMFS_SHELL, Deadline.after(300))
        console.plug(attacker.disk())
        console.run("until [ -b /dev/vda4 ]; do sleep 1; done", Deadline.after(60))
        assert unsealed(console, "/dev/vda4", token=0)
        assert attacker.submit(canary(console, "/dev/vda4"), evidence=console.evidence).extracted


def initrd_is_another(machine: Machine, _context: FaultContext) -> Machine:
    """The initrd in the image that the firmware starts is replaced by the attacker's."""
    evil = with_file(b"", "init", b"#!/bin/sh\n")
    rewrite(machine.disks[0], ESP, BOOT_IMAGE, partial(uki.with_section, name=".initrd", data=evil))
    return machine


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.MACHINE)
def test_initrd_replaced_in_a_signed_uki(sealed: Sealed, attacker: Attacker) -> None:
    """The cure: kernel, command line and initrd in one image that is signed, and a firmware that looks.

    Granted: the machine. Resisted: the firmware starts the image as its owner signed it, and refuses it with another
    initrd. Source: UEFI specification 2.10, 32; UAPI specifications, "Unified Kernel Image".
    """
    assert sealed.boot(faults.secure_boot_owned).unlock is Unlock.AUTO
    outcome = sealed.boot(faults.secure_boot_owned, initrd_is_another)
    assert outcome.unlock is Unlock.REFUSED
    attacker.submit(None, guard="signed-uki", evidence=outcome.evidence)


LOOT_INIT = Path(__file__).parent / "guest" / "loot-init"
ENTRY = b"title Debian\nlinux /EFI/Linux/debian.efi\n"


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.MACHINE)
def test_uki_without_initrd(sealed: Sealed, attacker: Attacker) -> None:
    """A signed image that has no initrd of its own takes whatever a line of the boot manager's configuration names.

    The owner's machine enforces Secure Boot, and starts systemd-boot and a UKI, both signed by the owner; its kernel
    mounts root by itself. The attacker adds a line to the entry (type 1) on the EFI system partition, which names
    another initrd. systemd-boot hands it to the kernel, which takes it unasked; no signature covers it. The kernel
    measures it into PCR 9. PCR 7 is as it was, and so is PCR 4, in which the images are.

    Granted: the machine. Seen with systemd 257.13 and Linux 6.12: extracted from seals to PCR 4 and PCR 7, not from one
    to PCR 9. Cure: an image with its own initrd, or bind PCR 9. From 256 on systemd-stub makes an initrd of
    the section .osrel too, and fails where there is one already, so that the image here has no such section.
    Source: systemd#28066, #35978, #38780; Linux, drivers/firmware/efi/libstub.
    """
    seals = {1: 4, 2: 7, 3: 9}
    key = new_signing_key("unlock-lab owner")
    machine = sealed.machine
    machine.nvram.write_bytes(nvram.enable_secure_boot(machine.nvram.read_bytes(), key.certificate))
    with files(sealed.entry.image.disk, "root") as root:
        manager = root.read("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
    with files(machine.disks[0].path, ESP) as esp:
        image = esp.read(BOOT_IMAGE)
        initrd = uki.section(image, ".initrd")
        line = (
            uki.section(image, ".cmdline")
            .replace(b"root=LABEL=root", b"root=" + ROOT.encode())
            .replace(b" nowatchdog", b"")
        )
        bare = uki.with_section(image, ".cmdline", line, padding=b" ")
        bare = uki.without_section(uki.without_section(bare, ".initrd"), ".osrel")
        esp.write(BOOT_IMAGE, signed(manager, key))
        esp.write("/EFI/Linux/debian.efi", signed(bare, key))
        esp.write("/loader/entries/debian.conf", ENTRY)
    binds = [
        f'clevis luks bind -y -k - -d /dev/nvme0n1p5 tpm2 \'{{"pcr_bank": "sha256", "pcr_ids": "{pcr}"}}\''
        for pcr in seals.values()
    ]
    sealed.maintain(*(f"printf %s {sealed.passphrase!r} | {bind}" for bind in binds))
    disk = attacker.disk()
    with files(disk.path, ESP) as esp:
        esp.write("/loot.img", with_file(initrd, "init", LOOT_INIT.read_bytes()))
        esp.write("/loader/entries/debian.conf", ENTRY + b"initrd /loot.img\n")
    with attacker.console(disk=disk) as console:
        console.wait_for("the attacker's shell", Deadline.after(300))
        assert asks_the_tpm(console, attacker, "/dev/nvme0n1p5", seals) == {4, 7}
