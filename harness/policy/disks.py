"""The disks that a config names, and what lies on them: what a machine must have for it (pure).

The first disk is the one with the system, as the guest's image makes it. Which one the file means by that: Fedora
CoreOS's own name for it; else the disk that has a partition 4 or one called root (of a mirror, root-1); else the first
that has partitions; else, when the file names only others, the first disk of the same kind.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

COREOS_BOOT_DISK = "/dev/disk/by-id/coreos-boot-disk"
"""What Fedora CoreOS calls the disk that it started from."""

FLATCAR_ROOT = "ROOT"
"""What Flatcar calls the partition and the file system that Fedora CoreOS calls root."""

IMAGE_PARTITIONS = {1: "BIOS-BOOT", 2: "EFI-SYSTEM", 3: "boot", 4: "root"}
"""What is on the first disk before the file is applied (images/guest/build), numbered as on Fedora CoreOS."""

IMAGE_END_MIB = 1218
"""Where the last of them ends before it is resized."""

MOST_DISKS = 26
"""Of a machine: as many as there are letters."""

_ROOM_MIB = 4096
"""For a partition that takes what is left."""

_ROOTS = ("root", "root-1")
_FLATCAR_ROOTS = (f"/dev/disk/by-partlabel/{FLATCAR_ROOT}", f"/dev/disk/by-label/{FLATCAR_ROOT}")
_PLAIN_IN_LINKS = "#+-.:=@_"
_NVME = "nvme(?:1?[0-9]|2[0-5])n1"
_NODE = re.compile(rf"/dev/(sd[a-z]|vd[a-z]|{_NVME})")
_PART = re.compile(rf"(/dev/sd[a-z]|/dev/vd[a-z]|/dev/{_NVME}(?=p))p?([0-9]+)")
_BY_ID = re.compile(r"(/dev/disk/by-id/.+?)(?:-part([0-9]+))?")
_KINDS = {"nvme": "/dev/nvme{number}n1", "vd": "/dev/vd{letter}", "sd": "/dev/sd{letter}"}


@dataclass(frozen=True)
class WantedDisk:
    """A disk that a machine must have.

    Attributes:
        node: The device node that the guest gives it.
        name: What the file calls it: the node, or a name below /dev/disk/by-id.
        mib: The size that the file needs, at least.
        partitions: Those that the file makes on it, as it has them.
    """

    node: str
    name: str
    mib: int = 0
    partitions: tuple[dict[str, Any], ...] = field(default=(), compare=False)

    @property
    def serial(self) -> str:
        """The serial number of a virtio disk that the file names by it, or nothing."""
        return self.name.removeprefix("/dev/disk/by-id/virtio-") if "/virtio-" in self.name else ""

    def numbers(self, *, boot: bool) -> dict[int, dict[str, Any]]:
        """The partitions by number; one that leaves its number open gets the next that is free, as from sgdisk(8)."""
        kept = [part for part in self.partitions if part.get("shouldExist") is not False]
        found = {part["number"]: part for part in kept if part.get("number")}
        labels = {label: number for number, label in IMAGE_PARTITIONS.items()} if boot else {}
        taken = set(found) | set(labels.values())
        for part in kept:
            if part.get("number"):
                continue
            number = labels.get(part.get("label", "")) or next(free for free in count(1) if free not in taken)
            taken.add(number)
            found[number] = part
        return found


def disk_of(device: str) -> tuple[str, int]:
    """The disk that a device path leads to and the number of the partition, 0 for the whole; else two empty values."""
    if _NODE.fullmatch(device):
        return device, 0
    if match := _PART.fullmatch(device):
        return match[1], int(match[2])
    if match := _BY_ID.fullmatch(device):
        return ("", 0) if match[1].startswith("/dev/disk/by-id/dm-") else (match[1], int(match[2] or 0))
    return "", 0


def disk_names(storage: dict[str, Any]) -> list[str]:
    """The disks that the section storage of a config names, each once, those with partitions first."""
    listed = [disk["device"] for disk in storage.get("disks", [])]
    return list(dict.fromkeys([*listed, *(disk for device in _devices(storage) if (disk := disk_of(device)[0]))]))


def wanted_disks(config: dict[str, Any]) -> tuple[WantedDisk, ...]:
    """The disks of a config, at most `MOST_DISKS`, the one with the system first."""
    storage = config.get("storage", {})
    listed = {disk["device"]: tuple(disk.get("partitions", [])) for disk in storage.get("disks", [])}
    names = disk_names(storage)
    boot = _boot_name(names, listed)
    others_kind = "vd" if any("/virtio-" in name for name in names) else "nvme"
    kind = next((_kind(name) for name in (boot, *names) if _NODE.fullmatch(name)), others_kind)
    node, mine = boot if _NODE.fullmatch(boot) else _node(kind, 0), listed.get(boot, ())
    if boot == COREOS_BOOT_DISK:
        mine += listed.get(node, ())  # the file may call it by its node, too
        names = [name for name in names if name != node]
    elif node != boot and node in names:  # another name, another disk
        node = next((free for each in _KINDS if (free := _node(each, 0)) not in names), node)
    others = [name for name in names if name != boot]
    used = {node, *(name for name in others if _NODE.fullmatch(name))}
    disks = [WantedDisk(node, boot, _needed(mine, boot=True), mine)]
    for name in others:
        if not _NODE.fullmatch(name):
            own = "vd" if "/virtio-" in name else kind
            found = next(free for number in range(MOST_DISKS) if (free := _node(own, number)) not in used)
            used.add(found)
        else:
            found = name
        parts = listed.get(name, ())
        disks.append(WantedDisk(found, name, _needed(parts, boot=False), parts))
    return (*disks[:1], *sorted(_filled(disks), key=_order))


@dataclass(frozen=True)
class DevicePlace:
    """Where a device of a policy lies.

    Attributes:
        disk: Which of the machine's disks, from 0.
        partition: The label of the partition, or its number; 0 for the whole disk.
    """

    disk: int
    partition: str | int


def place_of(device: str, disks: tuple[WantedDisk, ...]) -> DevicePlace:
    """Where a device path leads. What is named in no other way is a label on the first disk."""
    name, number = disk_of(device)
    called = device.rpartition("/")[2]
    for index, wanted in enumerate(disks):
        if name in (wanted.node, wanted.name):
            return DevicePlace(index, number)
        made = {} if name else wanted.numbers(boot=not index)
        for at, part in made.items():
            if link_name(part.get("label", "")) == called:
                return DevicePlace(index, part["label"])
            if part.get("guid", "").lower() == called.lower():
                return DevicePlace(index, at)
    return DevicePlace(0, called)


def link_name(label: str) -> str:
    r"""What a label is called below /dev/disk/by-partlabel: a blank is ``\x20`` (systemd, encode_devnode_name)."""
    plain = (
        char if char.isalnum() or ord(char) > 127 or char in _PLAIN_IN_LINKS else f"\\x{ord(char):02x}"
        for char in label
    )
    return "".join(plain)


def own_node(device: str, disks: tuple[WantedDisk, ...]) -> str:
    """What a device path is called in the machine: a by-id name that its disks cannot have is that of their node.

    Flatcar's ROOT is the image's root, unless the file makes a partition of that name.
    """
    disk, number = disk_of(device)
    for wanted in disks:
        if disk == wanted.name != wanted.node and not wanted.serial:
            between = "p" if "nvme" in wanted.node and number else ""
            return f"{wanted.node}{between}{number or ''}"
    if device in _FLATCAR_ROOTS and not any(
        part.get("label") == FLATCAR_ROOT for each in disks for part in each.partitions
    ):
        return f"{device.removesuffix(FLATCAR_ROOT)}root"
    return device


def _filled(disks: list[WantedDisk]) -> Iterator[WantedDisk]:
    """The disks after the first, and those that a kernel must have found before it comes to them."""
    nodes = {disk.node for disk in disks}
    for disk in disks[1:]:
        yield disk
        kind = _kind(disk.node)
        number = next(number for number in range(MOST_DISKS) if _node(kind, number) == disk.node)
        for before in (_node(kind, earlier) for earlier in range(number)):
            if before not in nodes:
                nodes.add(before)
                yield WantedDisk(before, before)


def _order(disk: WantedDisk) -> tuple[str, int, str]:
    """That in which a kernel finds the disks of a kind: nvme2n1 before nvme10n1."""
    return _kind(disk.node), len(disk.node), disk.node


def _devices(storage: dict[str, Any]) -> Iterator[str]:
    for kind in ("luks", "filesystems"):
        yield from (item.get("device", "") for item in storage.get(kind, []))
    for raid in storage.get("raid", []):
        yield from raid.get("devices", [])


def _boot_name(names: list[str], listed: dict[str, tuple[dict[str, Any], ...]]) -> str:
    if COREOS_BOOT_DISK in names:
        return COREOS_BOOT_DISK
    for name, partitions in listed.items():
        if any(part.get("number") == 4 or part.get("label") in _ROOTS for part in partitions):
            return name
    firsts = [name for name in names if name in {_node(kind, 0) for kind in _KINDS}]
    with_partitions = [name for name in firsts if listed.get(name)]
    if with_partitions or firsts:
        return (with_partitions or firsts)[0]
    nodes = [name for name in names if _NODE.fullmatch(name)]
    if nodes:
        return _node(_kind(nodes[0]), 0)
    return _node("vd" if any("/virtio-" in name for name in names) else "nvme", 0)


def _kind(node: str) -> str:
    return next(kind for kind in _KINDS if node.startswith(f"/dev/{kind}"))


def _node(kind: str, number: int) -> str:
    return _KINDS[kind].format(number=number, letter=chr(ord("a") + number))


def _needed(partitions: tuple[dict[str, Any], ...], *, boot: bool) -> int:
    """MiB that the partitions need on their disk."""
    end = IMAGE_END_MIB if boot else 1
    rest = any(not part.get("sizeMiB") and part.get("shouldExist") is not False for part in partitions)
    for part in partitions:
        size = part.get("sizeMiB") or 0
        if boot and (part.get("number") == 4 or part.get("label") == "root"):
            end += max(size - 1024, 0)
        else:
            end = max(end, part.get("startMiB") or 0) + size
    return end + (_ROOM_MIB if rest else 0) + 1
