"""What decides what a sealed machine holds: the declared inputs of its key in the cache.

No source text is hashed, so a docstring can be reworded without installing anything anew. What an installation does
with its inputs is counted: `INSTALL_FORMAT`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.cache import digest
from harness.machine.domain_xml import MACHINE_TYPE
from harness.machine.spec import Machine
from harness.policy.ignition import GuestFile
from harness.policy.pins import TANG, ServiceId
from harness.services.held import Held

INSTALL_FORMAT = 1
"""Count it up in the commit that changes, by other means than an input below, what an installation leaves on a disk, in
a TPM or in the NVRAM, or what the firmware measures of a machine (PCR 0 to 7): how a config is rendered, in which order
boots come, which devices a machine has.
"""


@dataclass(frozen=True)
class InstallInputs:
    """All that is declared to decide what a sealed machine holds.

    Attributes:
        image: The key of the guest image.
        config: What Ignition is told, as far as the image takes it, with placeholders in place of servers; {} for none.
        enrolment: What the owner does by hand, and the functions that this calls.
        machine: Its hardware counts, not its name or where its files lie.
        accelerator: ``kvm`` or ``tcg``: the firmware may measure the processor into PCR 1.
        qemu: Version of QEMU, as in (10, 0, 2): it makes the tables that the firmware measures.
        held: What each server that pins ask holds.
        disk_bytes: Size of each disk.
        first_boot: Kernel arguments of the first boot.
        canaries: What the harness itself puts into the guest; the secrets in it do not count.
    """

    image: str
    config: Mapping[str, object]
    enrolment: Sequence[str]
    machine: Machine
    accelerator: str
    qemu: tuple[int, int, int]
    held: Mapping[ServiceId, Held]
    disk_bytes: Sequence[int]
    first_boot: Sequence[str]
    canaries: Sequence[GuestFile]

    @property
    def key(self) -> str:
        """Their hash; the firmware's files count by what is in them.

        Raises:
            FileNotFoundError: A file of the firmware is missing.
        """
        firmware = self.machine.firmware
        return digest(
            ["install format", INSTALL_FORMAT],
            ["image", self.image],
            ["policy", self.config, self.enrolment],
            ["hardware", *_hardware(self.machine)],
            ["firmware", firmware.secure_boot],
            firmware.code,
            firmware.nvram_template,
            ["platform", MACHINE_TYPE, self.accelerator, self.qemu],
            *_by_kind(self.held),
            ["disk", *self.disk_bytes],
            ["first boot", *self.first_boot],
            ["canaries", *([file.path, file.mode] for file in self.canaries)],
        )


def _by_kind(held: Mapping[ServiceId, Held]) -> list[list[object]]:
    """What servers hold, kind by kind; Tang's come first, and are counted where there are none."""
    kinds: dict[str, dict[str, list[list[str]]]] = {TANG: {}}
    for service, what in held.items():
        kinds.setdefault(service.kind, {})[service.name] = [[name, data.decode()] for name, data in what.files]
    return [[kind, servers] for kind, servers in kinds.items()]


def _hardware(machine: Machine) -> list[object]:
    tpm = machine.tpm
    return [
        machine.memory_mib,
        machine.vcpus,
        [[disk.bus, disk.serial] for disk in machine.disks],
        [tpm.version, tpm.banks] if tpm else None,
        *([["security key", machine.security_key.pin]] if machine.security_key else []),
    ]
