"""What is told of a file before any machine is switched on: its first boot would show it after minutes (pure).

Two kinds: mistakes, which would be mistakes on any machine (`check`); and obstacles, which this laboratory's guest puts
in the way of a file that is right (`obstacles`): explaining such a file works, installing it does not.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from harness.policy import urls
from harness.policy.disks import (
    COREOS_BOOT_DISK,
    FLATCAR_ROOT,
    IMAGE_END_MIB,
    IMAGE_PARTITIONS,
    MOST_DISKS,
    WantedDisk,
    disk_names,
    disk_of,
    link_name,
    wanted_disks,
)
from harness.policy.document import CONFIG, Document, KeyPath
from harness.policy.merge import elsewhere
from harness.policy.needs import array, lies_on, mapping, new_root
from harness.policy.pins import Pin, leaves

_MOST_MIB = 2 * 1024 * 1024
"""Of a disk: it is a file that grows as it is written to, and this much no laboratory writes."""

_FORMATS = ("ext4", "xfs", "vfat", "swap", "none")
"""What the guest has both tools and a module for (images/debian-13/recipe.yaml)."""

_LEVELS = ("raid1",)
_ROOT_FORMATS = ("ext4", "xfs")
_MOVED = "the first boot keeps the system for a file system with label: {} and wipe_filesystem: true, else it is gone"
_NOT_WIPED = "is missing: the partition has the system's file system, and Ignition stops at what it is not told to wipe"

_RUN = "write @TANG_URL@ in its place, and the laboratory runs it"
_SAVE = "save that config beside this file, and name it with local"
_SAVE_JSON = "write what it says into this file, or give it as a data URL"
_NO_CA_KEY = (
    "the file brings its CA's certificate, not the key that would sign one for a server here; "
    "and clevis asks by curl, which takes no CA from ignition.security.tls"
)
"""Sources: Ignition, internal/resource/http.go; `tests/real_tools/test_https.py` has clevis."""

_ROOTS = ("root", FLATCAR_ROOT)
"""What Fedora CoreOS and Flatcar call the partition with the system."""

_BY_LABEL = "/dev/disk/by-label/"
_BY_PARTLABEL = "/dev/disk/by-partlabel/"
_BY_PARTUUID = "/dev/disk/by-partuuid/"
_BY_UUID = "/dev/disk/by-uuid/"
_BLANK = (
    "no such device: the laboratory's disks are blank, but for what the file makes (/dev/sda, by-id, by-partlabel, …)"
)
_MD = "/dev/md/"


def check(document: Document, config: dict[str, Any]) -> None:
    """Note what no machine could do: volumes on what is not there, on the system's own partitions, on too much."""
    storage = config.get("storage", {})
    if (named := len(disk_names(storage))) >= MOST_DISKS:
        document.mistake(
            ("storage",), f"names {named:,} disks; a machine here has {MOST_DISKS - 1} beside the system's"
        )
        return
    disks = wanted_disks(config)
    for disk in storage.get("disks", []):
        here = place(document, "disks", "device", disk["device"])
        _check_disk(document, here, disk, disks)
    for kind in ("luks", "filesystems"):
        for item in storage.get(kind, []):
            here = (*place(document, kind, "device", item["device"]), "device")
            if why := _trouble(item["device"], storage, disks, encrypts=kind == "luks"):
                document.mistake(here, why)
    for luks in storage.get("luks", []):
        if _is_root(luks["device"]) and not luks.get("wipeVolume"):
            document.mistake((*place(document, "luks", "name", luks["name"]), "wipe_volume"), _NOT_WIPED)
    for raid in storage.get("raid", []):
        here = place(document, "raid", "name", raid["name"])
        for index, device in enumerate(raid["devices"]):
            if why := _trouble(device, storage, disks, encrypts=True):
                document.mistake((*here, "devices", index), why)


def place(document: Document, kind: str, key: str, value: str) -> KeyPath:
    """Where an item of the config's storage comes from: its place in the file, or what made it."""
    for index, item in enumerate(document.data.get("storage", {}).get(kind, [])):
        if item.get(key) == value:
            return ("storage", kind, index)
    return ("boot_device",) if "boot_device" in document.data else (*CONFIG, f"storage.{kind}[{value}]")


def _check_disk(document: Document, here: KeyPath, disk: dict[str, Any], disks: tuple[WantedDisk, ...]) -> None:
    (found,) = (wanted for wanted in disks if wanted.name == disk["device"])
    boot = found is disks[0]
    if not disk_of(disk["device"])[0]:
        document.mistake((*here, "device"), "no disk that a machine can have: /dev/sda, /dev/vda, /dev/nvme0n1, by-id")
    mirrored = disk["device"] in document.data.get("boot_device", {}).get("mirror", {}).get("devices", [])
    if boot and disk.get("wipeTable") and not mirrored:
        document.mistake((*here, "wipe_table"), "would take the system away: this is the disk that the machine starts")
    if found.mib > _MOST_MIB:
        document.mistake(
            (*here, "partitions"),
            f"needs a disk of {found.mib / 2**20:.1f} TiB; here one has {_MOST_MIB // 2**20} at most",
        )
    if boot and not mirrored:
        for index, part in enumerate(disk.get("partitions", [])):
            _check_partition(document, (*here, "partitions", index), part)


def _check_partition(document: Document, path: KeyPath, part: dict[str, Any]) -> None:
    """Note what one partition would do to those of the system, on whose disk it is."""
    label, number, start = part.get("label"), part.get("number") or 0, part.get("startMiB") or 0
    if number in (1, 2, 3) or (label in IMAGE_PARTITIONS.values() and label != "root"):
        document.mistake(path, f"is one of the system's own partitions: {_own()}")
    elif number != 4 and 0 < start < IMAGE_END_MIB:
        document.mistake((*path, "start_mib"), f"starts inside the system's partitions, which end at {IMAGE_END_MIB}")
    elif (number == 4 or label == "root") and 0 < (part.get("sizeMiB") or 0) < 1024:
        document.mistake((*path, "size_mib"), "the system's root has 1024 MiB and does not shrink")


def _own() -> str:
    return ", ".join(f"{number} {label}" for number, label in IMAGE_PARTITIONS.items())


def _trouble(device: str, storage: dict[str, Any], disks: tuple[WantedDisk, ...], *, encrypts: bool) -> str:
    """Why a volume or a file system cannot be made on a device, or nothing."""
    if device.startswith(_BY_PARTLABEL):
        return _label_trouble(device.removeprefix(_BY_PARTLABEL), disks, encrypts=encrypts)
    if device.startswith(_MD):
        names = [raid["name"] for raid in storage.get("raid", [])]
        return "" if device.removeprefix(_MD) in names else "storage.raid makes no such array"
    if device.startswith(_BY_PARTUUID):
        known = {part["guid"].lower() for found in disks for part in found.partitions if part.get("guid")}
        return "" if device.removeprefix(_BY_PARTUUID).lower() in known else "storage.disks makes no such partition"
    if (name := mapping(device)) and name not in [luks["name"] for luks in storage.get("luks", [])]:
        return "storage.luks has no volume of this name"
    disk, number = disk_of(device)
    if not disk:
        return ""  # a mapping, a label: what lies below it is looked at by itself
    found = next(wanted for wanted in disks if disk in (wanted.name, wanted.node))
    return (
        _number_trouble(number, found, boot=found is disks[0]) if number else _whole_trouble(found, found is disks[0])
    )


def _whole_trouble(disk: WantedDisk, boot: bool) -> str:
    if boot:
        return "is the whole disk that the machine starts from, the system with it"
    return "has partitions, and cannot be taken as a whole" if disk.partitions else ""


def _number_trouble(number: int, disk: WantedDisk, *, boot: bool) -> str:
    if boot and number in (1, 2, 3):
        return f"is one of the system's own partitions: {_own()}"
    known = number in disk.numbers(boot=boot) or (boot and number == 4)
    return "" if known else "storage.disks makes no such partition"


def _label_trouble(label: str, disks: tuple[WantedDisk, ...], *, encrypts: bool) -> str:
    made = [part.get("label", "") for disk in disks for part in disk.partitions if part.get("shouldExist") is not False]
    if label in IMAGE_PARTITIONS.values() and label != "root":
        return f"is one of the system's own partitions: {_own()}" if encrypts or label not in made else ""
    if label in map(link_name, made) or label in _ROOTS:
        return ""
    if label in made:
        return f"is called {link_name(label)} there"
    labels = ", ".join(filter(None, made))
    return f"storage.disks makes no partition of this label{f'; it makes {labels}' if labels else ''}"


def obstacles(document: Document, config: dict[str, Any], trees: Sequence[Pin | None]) -> tuple[str, ...]:
    """Why the laboratory's guest cannot have what the file says, each with file, line and key; nothing if it can.

    Args:
        document: The file.
        config: What it means.
        trees: The pins of the config's volumes, in order.
    """
    found = (*_obstacles(document, config), *_out_of_reach(document, config, trees))
    return tuple(f"{document.path.name}:{document.line(path)}: {document.named(path)}: {why}" for path, why in found)


def _out_of_reach(
    document: Document, config: dict[str, Any], trees: Sequence[Pin | None]
) -> Iterator[tuple[KeyPath, str]]:
    """What the first boot would wait for, and never reach: a guest sees the laboratory alone."""
    storage = config.get("storage", {})
    authorities = config["ignition"].get("security", {}).get("tls", {}).get("certificateAuthorities")
    for luks, tree in zip(storage.get("luks", []), trees, strict=True):
        here = place(document, "luks", "name", luks["name"])
        for leaf in leaves(tree):
            if leaf.address and leaf.not_run:
                why = _NO_CA_KEY if authorities and leaf.address.startswith("https:") else leaf.not_run
                yield here, f"no guest reaches {leaf.address}: {why}; {_RUN}"
        if urls.is_elsewhere(source := luks.get("keyFile", {}).get("source")):
            yield (*here, "key_file"), f"no guest reaches {source}; put the key into a file beside this one: local"
    for source in elsewhere(config):
        yield CONFIG, f"no guest reaches {source}; {_SAVE_JSON if document.ignition else _SAVE}"


def _obstacles(document: Document, config: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    storage, disks = config.get("storage", {}), wanted_disks(config)
    if not disks[0].node.endswith(("a", "nvme0n1")):
        here = place(document, "disks", "device", disks[0].name)
        yield (*here, "device"), "the disk with the system is the first of its kind here"
    for raid in storage.get("raid", []):
        if raid.get("level") not in _LEVELS:
            here = place(document, "raid", "name", raid["name"])
            yield (*here, "level"), f"the guest makes arrays of the level {_LEVELS[0]} alone"
    for luks in storage.get("luks", []):
        here = place(document, "luks", "name", luks["name"])
        if luks.get("cex", {}).get("enabled"):
            yield here, "cex needs the crypto card of an s390x machine"
        if any(map(_is_root, lies_on(luks["device"], storage))) and not _holds_root(luks["name"], storage):
            yield here, f"root is not moved into it: {_moved(document)}"
        if re.search(r"--type[ =]luks1|-M ?luks1", " ".join(luks.get("options", []))):
            yield (*here, "options"), "a LUKS1 header: the laboratory reads those of LUKS2 alone"
        if not _has_device(luks["device"], storage):
            yield (*here, "device"), _BLANK
    for filesystem in storage.get("filesystems", []):
        here = place(document, "filesystems", "device", filesystem["device"])
        yield from (((*here, *key), why) for key, why in _filesystem_obstacles(document, filesystem, storage))


def _filesystem_obstacles(
    document: Document, filesystem: dict[str, Any], storage: dict[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    form, below = filesystem.get("format") or "none", lies_on(filesystem["device"], storage)
    if not _has_device(filesystem["device"], storage):
        yield ("device",), _BLANK
    if form not in _FORMATS:
        yield ("format",), f"the guest has neither tools nor a module for {form}"
    elif filesystem is not new_root(storage):
        if filesystem.get("wipeFilesystem") and any(map(_is_root, below)):
            yield (), f"root is not moved to it: {_moved(document)}"
    elif form not in _ROOT_FORMATS:
        yield ("format",), f"the guest's root is one of {', '.join(_ROOT_FORMATS)}"
    elif not all(map(_is_root, below)) and not document.data.get("boot_device", {}).get("mirror"):
        yield (), "root is moved to where it was, or to a mirror by boot_device.mirror, and to no other place"


def _moved(document: Document) -> str:
    return _MOVED.format(FLATCAR_ROOT if document.variant.is_flatcar else "root")


def _has_device(device: str, storage: dict[str, Any]) -> bool:
    """Whether the machine has a device, or the file makes it: by the name of a disk, a mapping, an array, a label."""
    if disk_of(device)[0] or mapping(device) or array(device) or device.startswith((_BY_PARTLABEL, _BY_PARTUUID)):
        return True
    made = [each for each in (*storage.get("luks", []), *storage.get("filesystems", [])) if each["device"] != device]
    labels = {*_ROOTS, *IMAGE_PARTITIONS.values(), *(each.get("label") for each in made)}
    return (device.startswith(_BY_LABEL) and device.removeprefix(_BY_LABEL) in labels) or (
        device.startswith(_BY_UUID) and device.removeprefix(_BY_UUID) in {each.get("uuid") for each in made}
    )


def _holds_root(volume: str, storage: dict[str, Any]) -> bool:
    root = new_root(storage)
    return root is not None and mapping(root["device"]) == volume


def _is_root(device: str) -> bool:
    disk, number = disk_of(device)
    boot = disk in (COREOS_BOOT_DISK, "/dev/sda", "/dev/vda", "/dev/nvme0n1")
    names = (f"{by}{root}" for by in (_BY_PARTLABEL, _BY_LABEL) for root in _ROOTS)
    return device in names or (boot and number == 4)
