"""What a config needs of an image beyond what every image with Ignition has, and what it makes of the system (pure).

A root that a config makes anew is moved: the initrd of the first boot keeps it in memory while Ignition makes what it
is to lie on. Which file system that is the first boot knows by the label, as on Fedora CoreOS
(ignition-ostree-transposefs). On Flatcar the label is ROOT, and nothing is moved: the system lies in /usr.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from harness.policy.disks import FLATCAR_ROOT, wanted_disks


class Need(StrEnum):
    """Something that a recipe says its image offers (``offers``), and a config may need."""

    SCSI = "scsi"
    """Disks called /dev/sda, /dev/sdb, …"""
    RAID1 = "raid1"
    """Arrays of mdadm(8)."""
    ROOT = "root"
    """A root that the first boot moves."""

    @property
    def asked(self) -> str:
        """What a config that needs it does."""
        return _ASKED[self]


_ASKED = {
    Need.SCSI: "names SCSI disks (/dev/sda)",
    Need.RAID1: "makes RAID arrays",
    Need.ROOT: "makes the root file system anew",
}

_MAPPINGS = ("/dev/mapper/", "/dev/disk/by-id/dm-name-")
_ARRAYS = "/dev/md/"


def needs(config: Mapping[str, Any]) -> frozenset[Need]:
    """What the image must offer."""
    storage = config.get("storage", {})
    found = {
        Need.SCSI: any(disk.node.startswith("/dev/sd") for disk in wanted_disks(dict(config))),
        Need.RAID1: bool(storage.get("raid")),
        Need.ROOT: new_root(storage) is not None,
    }
    return frozenset(need for need, wanted in found.items() if wanted)


def new_root(storage: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The root file system that a config makes anew, or None."""
    filesystems = storage.get("filesystems", [])
    return next((each for each in filesystems if _is_new_root(each, storage)), None)


def _is_new_root(filesystem: Mapping[str, Any], storage: Mapping[str, Any]) -> bool:
    label = filesystem.get("label")
    if filesystem.get("wipeFilesystem"):
        return label in ("root", FLATCAR_ROOT)
    if label != FLATCAR_ROOT:
        return False
    holder = mapping(filesystem["device"])
    return any(luks["name"] == holder and luks.get("wipeVolume") for luks in storage.get("luks", []))


def mapping(device: str) -> str:
    """The name of the mapping that a device path leads to, or nothing."""
    return next((device.removeprefix(prefix) for prefix in _MAPPINGS if device.startswith(prefix)), "")


def array(device: str) -> str:
    """The name of the array that a device path leads to, or nothing."""
    return device.removeprefix(_ARRAYS) if device.startswith(_ARRAYS) else ""


def lies_on(device: str, storage: Mapping[str, Any]) -> tuple[str, ...]:
    """The disks and partitions below a device: through volumes and arrays that the config makes.

    Args:
        device: As the config names it.
        storage: That section of the config.
    """
    found, above = [device], set[str]()
    while below := next((each for each in found if each not in above and _made_of(each, storage)), None):
        above.add(below)
        at = found.index(below)
        found[at : at + 1] = _made_of(below, storage)
    return tuple(found)


def _made_of(device: str, storage: Mapping[str, Any]) -> list[str]:
    if name := mapping(device):
        return [luks["device"] for luks in storage.get("luks", []) if luks["name"] == name]
    if name := array(device):
        return [each for raid in storage.get("raid", []) if raid["name"] == name for each in raid.get("devices", [])]
    return []
