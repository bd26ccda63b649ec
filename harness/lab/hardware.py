"""The hardware that a policy is installed on: disks as its file names them, a TPM with the banks that its pins need."""

from pathlib import Path

from harness.lab.places import places_of, smbios_names
from harness.machine.spec import Bus, Disk, Firmware, Machine, SecurityKey, Tpm, TpmVersion
from harness.policy.disks import DevicePlace, place_of
from harness.policy.needs import lies_on
from harness.policy.pins.systemd_fido2 import SECURITY_KEY
from harness.policy.policy import Policy

DISK_BYTES = 24 * 2**30
"""Room for a root of 15,000 MiB, as the seed has it, and something to encrypt; the file on this host is sparse."""

DATA_DISK_BYTES = 4 * 2**30
"""Of a disk beside the one with the system."""

_BUSES = {"/dev/nvme": Bus.NVME, "/dev/vd": Bus.VIRTIO, "/dev/sd": Bus.SCSI}


def machine_for(policy: Policy, firmware: Firmware, folder: Path) -> Machine:
    """The machine, with its files in a folder; they need not be there yet."""
    return Machine(
        name=policy.name,
        firmware=firmware,
        nvram=folder / "nvram.fd",
        disks=tuple(_disks(policy, folder)),
        tpm=Tpm(folder / "tpm", TpmVersion(policy.tpm_version), policy.pcr_banks),
        smbios_oem_strings=smbios_names(places_of(policy).values()),
        security_key=_security_key(policy, folder / "security-key.json"),
    )


def volume_place(policy: Policy, volume: str) -> DevicePlace:
    """Where a volume is made: its first disk or partition, where it lies on an array of several."""
    found = next(v for v in policy.volumes if v.name == volume)
    if found.mount_point == "/" and not policy.disks:  # that of an image, which is known by its UUID
        return DevicePlace(0, "root")
    return place_of(lies_on(found.device, policy.config.get("storage", {}))[0], policy.disks)


def disk_sizes(policy: Policy) -> tuple[int, ...]:
    """Bytes of each disk of the machine: as usual, or as much as the file's partitions need."""
    needed = [wanted.mib * 2**20 for wanted in policy.disks] or [0]
    return (max(DISK_BYTES, needed[0]), *(max(DATA_DISK_BYTES, size) for size in needed[1:]))


def _disks(policy: Policy, folder: Path) -> list[Disk]:
    """The disk with the system, and those that the policy names beside it."""
    beside = [
        Disk(folder / f"disk{number}.qcow2", _bus(wanted.node), wanted.serial or f"lab{number}")
        for number, wanted in enumerate(policy.disks[1:], 1)
    ]
    return [Disk(folder / "disk.qcow2", _bus(policy.disk)), *beside]


def _bus(node: str) -> Bus:
    return next(bus for start, bus in _BUSES.items() if node.startswith(start))


def _security_key(policy: Policy, state: Path) -> SecurityKey | None:
    """A security key if the policy has one; with a PIN only if one is typed, else systemd-cryptenroll asks for it."""
    leaves = [leaf for leaf in policy.leaves if leaf.service == SECURITY_KEY]
    pin = next((leaf.typed for leaf in leaves if leaf.typed), None)
    return SecurityKey(state, pin) if leaves else None
