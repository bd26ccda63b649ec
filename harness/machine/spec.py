"""What hardware there is: frozen data, cheap to copy, changed by `dataclasses.replace` (pure).

Nothing here runs or writes. Files that a spec names and that do not exist yet are made at power-on: a TPM whose state
folder is missing is manufactured, an NVRAM file that is missing is copied from the firmware's template. So a fault such
as "another TPM" is just another path.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.machine.tpm_bus import BusInterceptor
from harness.network.connection import HOME


class Bus(StrEnum):
    """How a disk is attached, and so the device node that the guest gives it."""

    NVME = "nvme"
    VIRTIO = "virtio"
    SCSI = "scsi"


class TpmVersion(StrEnum):
    """The library specification that a TPM follows."""

    TPM_2_0 = "2.0"
    TPM_1_2 = "1.2"


@dataclass(frozen=True)
class Disk:
    """A qcow2 disk image.

    Attributes:
        path: A file that the machine writes to; make a copy-on-write copy before power-on.
        bus: NVMe, virtio or SCSI; disks of one bus are named by the guest in the order in which they stand here.
        serial: What the guest sees as the serial number; unique in one machine.
    """

    path: Path
    bus: Bus = Bus.NVME
    serial: str = "lab0"


@dataclass(frozen=True)
class Tpm:
    """A TPM, identified by the folder with swtpm's state: to copy the folder is to clone the TPM.

    Attributes:
        state: The folder.
        version: The library specification that it follows.
        banks: The PCR banks that it is made with.
        interceptor: What intercepts its bus, if anything does.
    """

    state: Path
    version: TpmVersion = TpmVersion.TPM_2_0
    banks: tuple[str, ...] = ("sha256",)
    interceptor: BusInterceptor | None = None

    @property
    def pcr_bank(self) -> str:
        """The bank whose values are evidence: sha256; a 1.2 has but one."""
        return "sha256" if self.version is TpmVersion.TPM_2_0 else "sha1"


@dataclass(frozen=True)
class SecurityKey:
    """A FIDO2 security key, identified by the file that keeps it: to copy the file is to clone the key.

    Attributes:
        state: The file.
        pin: Its PIN when it is made, or None for one without.
    """

    state: Path
    pin: str | None = None


@dataclass(frozen=True)
class SegmentCard:
    """One more network card, on an Ethernet segment that other machines are on, too (`harness.network.segment`).

    Attributes:
        segment: The segment's socket.
        mac: Its address, unique on the segment.
    """

    segment: Path
    mac: str


@dataclass(frozen=True)
class Firmware:
    """A build of OVMF.

    Attributes:
        name: As images/ovmf names it.
        code: Read-only flash image.
        nvram_template: What a new machine's NVRAM starts from.
        secure_boot: Whether it was built with Secure Boot, and so needs SMM.
    """

    name: str
    code: Path
    nvram_template: Path
    secure_boot: bool


@dataclass(frozen=True)
class Machine:
    """All the hardware of one machine.

    Attributes:
        name: For people; unique names for libvirt are made at power-on.
        firmware: The build of OVMF.
        nvram: This machine's own UEFI variables.
        disks: The first one is booted.
        tpm: None when it has none, or its firmware has it disabled.
        link_up: Whether the network cable is in.
        site: The network that it stands in; key servers may answer only some.
        cards: Further network cards.
        smbios_oem_strings: SMBIOS type 11 strings; systemd-stub reads some (systemd-stub(7)).
        fw_cfg: Names and files of QEMU's firmware configuration device.
        memory_mib: RAM in MiB.
        vcpus: Virtual CPUs. One, since a host runs as many machines as it has cores, and in emulation two CPUs of a
            machine wait for each other (docs/explanation/time.md).
        security_key: None when none is plugged in.
    """

    name: str
    firmware: Firmware
    nvram: Path
    disks: tuple[Disk, ...]
    tpm: Tpm | None
    link_up: bool = True
    site: str = HOME
    cards: tuple[SegmentCard, ...] = ()
    smbios_oem_strings: tuple[str, ...] = ()
    fw_cfg: tuple[tuple[str, Path], ...] = ()
    memory_mib: int = 2048
    vcpus: int = 1
    security_key: SecurityKey | None = None
