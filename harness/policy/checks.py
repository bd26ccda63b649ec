"""The rules of Butane and Ignition that no single key shows: what collides, needs what, is no path (pure).

Source: the Validate functions of Butane 0.29 (base/v0_7, config/fcos/v1_7) and of Ignition 2.26 (config/v3_6/types).
What they only warn about, and what cannot change how a disk is unlocked, is noted and not refused.
"""

import re
from itertools import combinations
from typing import Any

from harness.policy import urls
from harness.policy.check_boot_device import check_advertisements, check_boot_device
from harness.policy.check_files import check_nodes, check_once, check_path, check_resource, resources
from harness.policy.check_units import check_units
from harness.policy.document import Document, KeyPath
from harness.policy.pins.placeholders import PLACEHOLDER

MOST_PARTITIONS = 128
"""Of a disk: what sgdisk(8) makes room for."""

_GUID = re.compile(r"|[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_LABEL_LIMITS: dict[str | None, int] = {"ext4": 16, "btrfs": 256, "xfs": 12, "swap": 15, "vfat": 11}
_FORMATS = ("ext4", "btrfs", "xfs", "swap", "vfat", "none")
_RAID_LEVELS = {
    *("linear", "raid0", "0", "stripe", "raid1", "1", "mirror", "raid4", "4", "raid5", "5", "raid6", "6"),
    *("raid10", "10"),
}


def check(document: Document) -> None:
    """Note every broken rule in the document."""
    storage = document.data.get("storage", {})
    check_boot_device(document)
    _disks(document, storage.get("disks", []))
    _raid(document, storage.get("raid", []))
    _luks(document, storage.get("luks", []))
    _filesystems(document, storage)
    check_nodes(document, storage)
    check_units(document, storage)
    _users(document, document.data.get("passwd", {}))
    _kernel_arguments(document)
    _proxies(document)
    _other_configs(document)
    for path, resource in resources(document.data):
        check_resource(document, path, resource)
    _placeholders(document, document.data, ())


def _placed(kind: str, items: list[dict[str, Any]]) -> list[tuple[KeyPath, dict[str, Any]]]:
    """Items of the section storage, each with its place."""
    return [(("storage", kind, index), item) for index, item in enumerate(items)]


def _guid(document: Document, path: KeyPath, item: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if not _GUID.fullmatch(item.get(key, "")):
            document.mistake((*path, key), f"{item[key]!r} is not of the form 01234567-89ab-cdef-0123-456789abcdef")


def _disks(document: Document, disks: list[dict[str, Any]]) -> None:
    placed = _placed("disks", disks)
    check_once(document, (((*path, "device"), disk["device"]) for path, disk in placed), "the disk")
    for here, disk in placed:
        check_path(document, (*here, "device"), disk["device"])
        partitions = disk.get("partitions", [])
        both = [((*here, "partitions", number), partition) for number, partition in enumerate(partitions)]
        for path, partition in both:
            _partition(document, path, partition)
        check_once(document, (((*p, "number"), part["number"]) for p, part in both if part.get("number")), "the number")
        check_once(document, (((*p, "label"), part["label"]) for p, part in both if "label" in part), "the label")
        if len(partitions) > MOST_PARTITIONS:
            document.mistake((*here, "partitions"), f"a disk has at most {MOST_PARTITIONS} partitions")
            continue
        for (_, one), (path, other) in combinations(both, 2):
            if _overlap(one, other):
                document.mistake(path, "overlaps an earlier partition")
        gone = [path for path, part in both if part.get("should_exist") is False]
        if gone and any(not part.get("number") for part in partitions):
            document.mistake(gone[0], "should_exist: false needs a number on every partition of the disk")


def _partition(document: Document, path: KeyPath, partition: dict[str, Any]) -> None:
    if not partition.get("number") and "label" not in partition:
        document.mistake(path, "a partition needs a number or a label")
    if not 0 <= partition.get("number", 0) <= MOST_PARTITIONS:
        document.mistake((*path, "number"), f"a partition number is 1 to {MOST_PARTITIONS}, or 0 for the next one")
    for key in ("size_mib", "start_mib"):
        if partition.get(key, 0) < 0:
            document.mistake((*path, key), "cannot be negative; 0 means what is left")
    if partition.get("should_exist") is False:
        for key in ("label", "type_guid", "guid", "start_mib", "size_mib"):
            if key in partition and not (key in ("type_guid", "guid") and not partition[key]):
                document.mistake((*path, key), "cannot stand beside should_exist: false")
    if len((label := partition.get("label", "")).encode()) > 36 or ":" in label:
        document.mistake((*path, "label"), "a partition label has at most 36 characters and no colon")
    check_one_line(document, (*path, "label"), label)
    _guid(document, path, partition, "guid", "type_guid")


def check_one_line(document: Document, path: KeyPath, value: str) -> None:
    """Note a name that a line of crypttab(5), a unit or a console cannot hold."""
    if not value.isprintable():
        document.mistake(path, "a name has no newline and no other control character")


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    def span(partition: dict[str, Any]) -> tuple[int, int] | None:
        start, size = partition.get("start_mib"), partition.get("size_mib")
        return None if not start or size is None else (start, start + max(size - 1, 0))

    first, second = span(one), span(other)
    return bool(first and second and first[0] <= second[1] and second[0] <= first[1])


def _raid(document: Document, arrays: list[dict[str, Any]]) -> None:
    both = _placed("raid", arrays)
    check_once(document, (((*path, "name"), raid["name"]) for path, raid in both), "the name")
    for path, raid in both:
        check_one_line(document, (*path, "name"), raid["name"])
        if raid["level"] not in _RAID_LEVELS:
            document.mistake((*path, "level"), f"{raid['level']!r} is no level that mdadm makes: raid0, raid1, …")
        elif raid["level"] in ("linear", "raid0", "0", "stripe") and raid.get("spares"):
            document.mistake((*path, "spares"), f"{raid['level']} has no spares")
        devices = raid["devices"]
        check_once(document, (((*path, "devices", i), device) for i, device in enumerate(devices)), "the device")
        for index, device in enumerate(devices):
            check_path(document, (*path, "devices", index), device)


def _luks(document: Document, volumes: list[dict[str, Any]]) -> None:
    both = _placed("luks", volumes)
    check_once(document, (((*path, "name"), luks["name"]) for path, luks in both), "the name")
    check_once(document, (((*path, "device"), luks["device"]) for path, luks in both), "the device")
    for path, luks in both:
        name = luks["name"]
        if "/" in name:
            document.mistake((*path, "name"), "a name under /dev/mapper has no slash")
        elif not re.fullmatch(r"[\x21-\x7e]{0,127}", name):
            document.mistake((*path, "name"), "a name under /dev/mapper has no blank and 127 ASCII characters at most")
        if len(luks.get("label", "").encode()) > 47:
            document.mistake((*path, "label"), "a LUKS label has at most 47 characters")
        check_path(document, (*path, "device"), luks["device"])
        _guid(document, path, luks, "uuid")
        key_file, options = luks.get("key_file", {}), luks.get("open_options", [])
        check_once(document, (((*path, "open_options", i), option) for i, option in enumerate(options)), "the option")
        check_advertisements(document, (*path, "clevis"), luks.get("clevis", {}))
        if luks.get("cex", {}).get("enabled"):
            if luks.get("clevis"):
                document.mistake((*path, "cex"), "cannot stand beside clevis")
            if key_file.keys() & {"inline", "local", "source"}:
                document.mistake((*path, "cex"), "cannot stand beside key_file")
        if key_file.get("inline") == "" or key_file.get("source") == "data:,":
            document.mistake((*path, "key_file"), "the key is empty, and cryptsetup takes none of no bytes")


def _filesystems(document: Document, storage: dict[str, Any]) -> None:
    placed = _placed("filesystems", storage.get("filesystems", []))
    check_once(document, (((*path, "device"), fs["device"]) for path, fs in placed), "the device")
    for path, fs in placed:
        device, mount_point, form = fs["device"], fs.get("path"), fs.get("format")
        check_path(document, (*path, "device"), device)
        if mount_point:
            check_path(document, (*path, "path"), mount_point)
        if form and form not in _FORMATS:
            document.mistake((*path, "format"), f"{form!r} is not one of {', '.join(_FORMATS)}")
        elif form == "none" and document.variant.spec < 3:
            document.mistake(
                (*path, "format"), f"none came with Ignition spec 3.3.0; this file is {document.variant.title}"
            )
        elif not form and any(fs.get(key) for key in fs.keys() - {"device", "with_mount_unit"}):
            document.mistake(path, "format is missing")
        if len(fs.get("label", "").encode()) > (limit := _LABEL_LIMITS.get(form, 256)):
            document.mistake((*path, "label"), f"a label of {form or 'a file system'} has at most {limit} bytes")
        check_one_line(document, (*path, "label"), fs.get("label", ""))
        _guid(document, path, fs, "uuid") if form != "vfat" else None
        if fs.get("with_mount_unit"):
            _mount_unit(document, path, mount_point, form)


def _mount_unit(document: Document, path: KeyPath, mount_point: str | None, form: str | None) -> None:
    here, keys = (*path, "with_mount_unit"), document.variant.keys
    if not form:
        document.mistake(here, "needs a format")
    elif form == "swap" and keys < 4:
        document.mistake(here, f"for swap it came with Butane fcos 1.4.0; this file is {document.variant.title}")
    elif form != "swap" and not mount_point:
        document.mistake(here, "needs a path")
    elif (
        mount_point and keys >= 6 and "fcos" in document.variant.title and not re.match(r"/(etc|var)(/|$)", mount_point)
    ):
        document.mistake((*path, "path"), "must be under /etc or /var beside with_mount_unit, since Butane fcos 1.6.0")


def _users(document: Document, passwd: dict[str, Any]) -> None:
    for kind in ("users", "groups"):
        items = passwd.get(kind, [])
        check_once(document, ((("passwd", kind, i, "name"), item["name"]) for i, item in enumerate(items)), "the name")
        for index, item in enumerate(items):
            # Ignition hands it to useradd or groupadd, which refuse such a name (useradd(8), CAVEATS).
            if not re.fullmatch(r"[^\s:/,\x00-\x1f]{0,32}", item["name"]):
                document.mistake(("passwd", kind, index, "name"), "no name that useradd(8) would take")
            for key in ("ssh_authorized_keys", "groups"):
                here = ("passwd", kind, index, key)
                check_once(document, (((*here, i), value) for i, value in enumerate(item.get(key, []))), "the entry")


def _kernel_arguments(document: Document) -> None:
    said = document.data.get("kernel_arguments", {})
    arguments = [
        (("kernel_arguments", key, index), argument)
        for key in ("should_exist", "should_not_exist")
        for index, argument in enumerate(said.get(key, []))
    ]
    check_once(document, arguments, "the argument")


def _proxies(document: Document) -> None:
    proxies = document.data.get("ignition", {}).get("proxy", {})
    for key in proxies.keys() & {"http_proxy", "https_proxy"}:
        if urls.parse(proxies[key]).scheme not in ("http", "https"):
            document.mistake(("ignition", "proxy", key), f"expected an http or https url, found {proxies[key]!r}")


def _other_configs(document: Document) -> None:
    for index, named in enumerate(document.data.get("ignition", {}).get("config", {}).get("merge", [])):
        if not (named.keys() & {"inline", "local"} or named.get("source")):
            document.mistake(("ignition", "config", "merge", index), "needs inline, local or source")


def _placeholders(document: Document, value: Any, path: KeyPath) -> None:
    if "clevis" in path or path in (("boot_device", "luks"), ("ignition", "config")):
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            _placeholders(document, inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _placeholders(document, inner, (*path, index))
    elif isinstance(value, str) and "@TANG_" in value and (match := PLACEHOLDER.search(value)):
        document.mistake(path, f"{match[0]} is filled only in a clevis section, not in {document.named(path)}")
