"""Faults of hardware: each changes one thing about a machine before it is powered on.

A fault is a function from machine to machine. It may write new files into the context's folder, which belongs to one
boot; it never edits a file that the machine already has. Faults of a key server are verbs on the server (`Tang.stop`).
"""

import fnmatch
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from harness.errors import UsageError
from harness.images import FirmwareImage
from harness.images import firmware as firmware_image
from harness.machine import nvram
from harness.machine.disk import overlay
from harness.machine.esp import sign_boot_images
from harness.machine.files import BOOT, files, rewrite
from harness.machine.signing import new_signing_key
from harness.machine.spec import Firmware, Machine, SegmentCard, TpmVersion
from harness.machine.tpm_bus import RC_PCR_CHANGED, UNSEAL, BusInterceptor, TpmTransport, code, error_response
from harness.network.segment import Segment
from harness.progress import Progress


@dataclass(frozen=True)
class FaultContext:
    """Where a fault may make what it needs.

    Attributes:
        folder: Belongs to this boot alone; gone after it.
        progress: Says what takes long.
    """

    folder: Path
    progress: Progress


Fault = Callable[[Machine, FaultContext], Machine]


def tpm_removed(machine: Machine, _context: FaultContext) -> Machine:
    """No TPM: taken out, or disabled in the firmware's set-up, where the guest sees no difference."""
    return replace(machine, tpm=None)


def tpm_replaced(machine: Machine, context: FaultContext) -> Machine:
    """Another TPM of the same kind, as after a change of the mainboard: another storage seed, TPM 2.0 part 1, 14."""
    if machine.tpm is None:
        raise UsageError("tpm_replaced needs a machine that has a TPM", hint="apply it before tpm_removed")
    return replace(machine, tpm=replace(machine.tpm, state=context.folder / "tpm-replaced"))


def security_key_removed(machine: Machine, _context: FaultContext) -> Machine:
    """No FIDO2 security key is plugged in."""
    return replace(machine, security_key=None)


def security_key_replaced(machine: Machine, context: FaultContext) -> Machine:
    """Another FIDO2 security key, with the same PIN, that was never enrolled here."""
    if machine.security_key is None:
        raise UsageError("security_key_replaced needs a machine with a security key")
    state = context.folder / "security-key-replaced.json"
    return replace(machine, security_key=replace(machine.security_key, state=state))


def tpm_downgraded_to_1_2(machine: Machine, context: FaultContext) -> Machine:
    """A TPM 1.2 where a 2.0 was."""
    if machine.tpm is None:
        raise UsageError("tpm_downgraded_to_1_2 needs a machine that has a TPM", hint="apply it before tpm_removed")
    old = replace(machine.tpm, state=context.folder / "tpm-1.2", version=TpmVersion.TPM_1_2)
    return replace(machine, tpm=old)


def tpm_bus_intercepted(interceptor: BusInterceptor) -> Fault:
    """An interceptor on the bus between the machine and its TPM."""

    def fault(machine: Machine, _context: FaultContext) -> Machine:
        if machine.tpm is None:
            raise UsageError("this needs a machine that has a TPM", hint="apply it before tpm_removed")
        return replace(machine, tpm=replace(machine.tpm, interceptor=interceptor))

    return fault


def tpm_fails(machine: Machine, context: FaultContext) -> Machine:
    """A TPM that works until it is asked to unseal, and then says that it has failed (TPM_RC_FAILURE)."""
    return tpm_bus_intercepted(lambda command, tpm: error_response() if code(command) == UNSEAL else tpm.ask(command))(
        machine, context
    )


def tpm_pcrs_change(times: int) -> Fault:
    """A TPM whose PCRs change under the first policy sessions: it refuses to unseal so often, and then works.

    Args:
        times: How often TPM2_Unseal is answered by TPM_RC_PCR_CHANGED.
    """
    refused: list[bytes] = []

    def interceptor(command: bytes, tpm: TpmTransport) -> bytes:
        if code(command) == UNSEAL and len(refused) < times:
            refused.append(command)
            return error_response(RC_PCR_CHANGED)
        return tpm.ask(command)

    return tpm_bus_intercepted(interceptor)


def with_memory(mib: int) -> Fault:
    """So much RAM, in MiB. The firmware may measure it into PCR 1."""

    def fault(machine: Machine, _context: FaultContext) -> Machine:
        return replace(machine, memory_mib=mib)

    return fault


def disk_pulled(number: int) -> Fault:
    """One of several disks is gone, as when it has died; the firmware starts the first of those that are left.

    Args:
        number: Which, from 0.
    """

    def fault(machine: Machine, _context: FaultContext) -> Machine:
        left = tuple(disk for index, disk in enumerate(machine.disks) if index != number)
        if not left or len(left) == len(machine.disks):
            raise UsageError(f"of {len(machine.disks)} disks, number {number} cannot be pulled")
        return replace(machine, disks=left)

    return fault


def network_unplugged(machine: Machine, _context: FaultContext) -> Machine:
    """The network cable is out."""
    return replace(machine, link_up=False)


def moved_offsite(machine: Machine, _context: FaultContext) -> Machine:
    """The whole machine stands somewhere else, in a network that its Tang server may not answer."""
    return replace(machine, site="elsewhere")


def on_segment(segment: Segment) -> Fault:
    """One more network card, on a segment that other machines are on, too; its address follows from the machine's name.

    Nothing on a segment answers DHCP. A guest that asks there, as ``ip=dhcp`` has it ask on every card, waits two
    minutes in its initrd and two more in its system (systemd-networkd-wait-online): seen. Kernel arguments can name the
    cards (`smbios_cmdline`).

    Args:
        segment: As `Machines.segment` makes it.
    """

    def fault(machine: Machine, _context: FaultContext) -> Machine:
        own = hashlib.sha256(machine.name.encode()).hexdigest()
        mac = ":".join(("52", "54", "00", own[:2], own[2:4], own[4:6]))  # QEMU's own prefix
        return replace(machine, cards=(*machine.cards, SegmentCard(segment.path, mac)))

    return fault


def firmware_swapped(name: str) -> Fault:
    """Another build of OVMF, as after an update of the firmware; its NVRAM is kept. It changes PCR 0 and 1 (TCG PFP).

    Args:
        name: As images/ovmf names it.
    """

    def fault(machine: Machine, context: FaultContext) -> Machine:
        return replace(machine, firmware=as_firmware(firmware_image(name, context.progress)))

    return fault


def db_key_enrolled(machine: Machine, context: FaultContext) -> Machine:
    """One more certificate in the firmware's signature database ``db``. It changes PCR 7 (TCG PFP 3.3.4.8)."""
    key = new_signing_key("unlock-lab db")
    return _nvram(machine, context, lambda found: nvram.enroll_db(found, key.certificate))


def dbx_updated(machine: Machine, context: FaultContext) -> Machine:
    """One more hash in the firmware's list of what may not run, ``dbx``. It changes PCR 7."""
    digest = secrets.token_bytes(32)
    return _nvram(machine, context, lambda found: nvram.update_dbx(found, digest))


def secure_boot_enabled(machine: Machine, context: FaultContext) -> Machine:
    """Secure Boot on, under keys of a stranger: the image of this machine is not signed by them."""
    stranger = new_signing_key("a stranger")
    return _nvram(machine, context, lambda found: nvram.enable_secure_boot(found, stranger.certificate))


def secure_boot_owned(machine: Machine, context: FaultContext) -> Machine:
    """Secure Boot on, under keys of the machine's owner, who signed what it boots. It changes PCR 7 and PCR 4."""
    key = new_signing_key("unlock-lab owner")
    first, *others = machine.disks
    signed = replace(first, path=overlay(first.path, context.folder / "signed.qcow2"))
    sign_boot_images(signed.path, key)
    enforcing = _nvram(machine, context, lambda found: nvram.enable_secure_boot(found, key.certificate))
    return replace(enforcing, disks=(signed, *others))


def boot_entry_added(machine: Machine, context: FaultContext) -> Machine:
    """One more boot entry in the NVRAM. The firmware measures the boot variables into PCR 1."""
    return _nvram(machine, context, nvram.add_boot_entry)


def boot_file_changed(pattern: str, change: Callable[[bytes], bytes]) -> Fault:
    """A file of the boot partition changed, as by an update, or by whoever has the disk; GRUB measures it into PCR 9.

    Args:
        pattern: The path of the file, with ``*`` for what differs from kernel to kernel.
        change: What it holds in, what it is to hold out.
    """

    def fault(machine: Machine, context: FaultContext) -> Machine:
        first, *others = machine.disks
        changed = replace(first, path=overlay(first.path, context.folder / "boot-changed.qcow2"))
        with files(changed.path, BOOT) as boot:
            found = fnmatch.filter(boot.names(str(PurePosixPath(pattern).parent)), pattern)
        if len(found) != 1:
            raise UsageError(f"{pattern} is not one file of the boot partition but {len(found)}")
        rewrite(changed, BOOT, found[0], change)
        return replace(machine, disks=(changed, *others))

    return fault


def smbios_cmdline(arguments: str) -> Fault:
    """More kernel arguments, as whoever sets the machine's SMBIOS strings can give them.

    systemd-stub takes them with Secure Boot off, and measures them into PCR 12 (systemd-stub(7)).
    """

    def fault(machine: Machine, _context: FaultContext) -> Machine:
        string = f"io.systemd.stub.kernel-cmdline-extra={arguments}"
        return replace(machine, smbios_oem_strings=(*machine.smbios_oem_strings, string))

    return fault


def _nvram(machine: Machine, context: FaultContext, edit: Callable[[bytes], bytes]) -> Machine:
    edited = context.folder / "nvram-edited.fd"
    edited.write_bytes(edit(machine.nvram.read_bytes()))
    return replace(machine, nvram=edited)


def as_firmware(image: FirmwareImage) -> Firmware:
    """What a machine needs to know of a firmware of images/."""
    return Firmware(image.name, image.code, image.nvram_template, image.secure_boot)
