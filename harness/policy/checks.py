"""The rules of Butane and Ignition that no single key shows: what collides, what needs what, what a path must be.

Source: the Validate functions of Butane (base/v0_6/validate.go, config/fcos/v1_6/validate.go) and of Ignition 2.14 (its
config/v3_3/types), whose warnings about what it would drop or misread are mistakes here.
"""

import re
from itertools import combinations
from typing import Any

from harness.policy import urls
from harness.policy.check_files import check_nodes, check_once, check_path, check_resource, resources
from harness.policy.document import Document, KeyPath, dotted
from harness.policy.pins import PLACEHOLDER

DISKS = ("/dev/nvme0n1", "/dev/vda")
"""The device nodes that a machine can give its disk: NVMe or virtio."""

_GUID = re.compile(r"|[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_LABEL_LIMITS = {"ext4": 16, "btrfs": 256, "xfs": 12, "swap": 15, "vfat": 11}
_FORMATS = ("ext4", "btrfs", "xfs", "swap", "vfat", "none")
_UNIT_NAME = re.compile(r".+\.(service|socket|device|mount|automount|swap|target|path|timer|snapshot|slice|scope)")


def check(document: Document) -> None:
    """Note every broken rule in the document."""
    storage = document.data.get("storage", {})
    _disks(document, storage.get("disks", []))
    _luks(document, storage.get("luks", []))
    _filesystems(document, storage)
    check_nodes(document, storage)
    _units(document, document.data.get("systemd", {}).get("units", []))
    _users(document, document.data.get("passwd", {}))
    _kernel_arguments(document)
    _proxies(document)
    for path, resource in resources(document.data):
        check_resource(document, path, resource)
    _placeholders(document, document.data, ())


def _guid(document: Document, path: KeyPath, item: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if not _GUID.fullmatch(item.get(key, "")):
            document.mistake((*path, key), f"{item[key]!r} is not of the form 01234567-89ab-cdef-0123-456789abcdef")


def _disks(document: Document, disks: list[dict[str, Any]]) -> None:
    for index, disk in enumerate(disks):
        here: KeyPath = ("storage", "disks", index)
        if index > 0:
            document.mistake(here, "not supported: the machine has one disk")
        if disk["device"] not in DISKS:
            document.mistake((*here, "device"), f"the machine's disk is one of {', '.join(DISKS)}")
        partitions = disk.get("partitions", [])
        paths = [(*here, "partitions", number) for number in range(len(partitions))]
        for path, partition in zip(paths, partitions, strict=True):
            _partition(document, path, partition)
        both = list(zip(paths, partitions, strict=True))
        check_once(document, (((*p, "number"), part["number"]) for p, part in both if part.get("number")), "the number")
        check_once(document, (((*p, "label"), part["label"]) for p, part in both if "label" in part), "the label")
        for (_, one), (path, other) in combinations(both, 2):
            if _overlap(one, other):
                document.mistake(path, "overlaps an earlier partition")
        gone = [path for path, part in both if part.get("should_exist") is False]
        if gone and any(not part.get("number") for part in partitions):
            document.mistake(gone[0], "should_exist: false needs a number on every partition of the disk")


def _partition(document: Document, path: KeyPath, partition: dict[str, Any]) -> None:
    if not partition.get("number") and "label" not in partition:
        document.mistake(path, "a partition needs a number or a label")
    if not 0 <= partition.get("number", 0) <= 128:
        document.mistake((*path, "number"), "a partition number is 1 to 128, or 0 for the next one")
    for key in ("size_mib", "start_mib"):
        if partition.get(key, 0) < 0:
            document.mistake((*path, key), "cannot be negative; 0 means what is left")
    if partition.get("should_exist") is False:
        for key in ("label", "type_guid", "guid", "start_mib", "size_mib"):
            if key in partition:
                document.mistake((*path, key), "cannot stand beside should_exist: false")
    if len(label := partition.get("label", "")) > 36 or ":" in label:
        document.mistake((*path, "label"), "a partition label has at most 36 characters and no colon")
    _guid(document, path, partition, "guid", "type_guid")


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    def span(partition: dict[str, Any]) -> tuple[int, int] | None:
        start, size = partition.get("start_mib"), partition.get("size_mib")
        return None if not start or size is None else (start, start + max(size - 1, 0))

    first, second = span(one), span(other)
    return bool(first and second and first[0] <= second[1] and second[0] <= first[1])


def _luks(document: Document, volumes: list[dict[str, Any]]) -> None:
    paths: list[KeyPath] = [("storage", "luks", index) for index in range(len(volumes))]
    both = list(zip(paths, volumes, strict=True))
    check_once(document, (((*path, "name"), luks["name"]) for path, luks in both), "the name")
    check_once(document, (((*path, "device"), luks["device"]) for path, luks in both), "the device")
    for path, luks in both:
        if "/" in luks["name"]:
            document.mistake((*path, "name"), "a name under /dev/mapper has no slash")
        if len(luks.get("label", "")) > 47:
            document.mistake((*path, "label"), "a LUKS label has at most 47 characters")
        check_path(document, (*path, "device"), luks["device"])
        _guid(document, path, luks, "uuid")


def _filesystems(document: Document, storage: dict[str, Any]) -> None:
    filesystems = storage.get("filesystems", [])
    mappings = {f"/dev/mapper/{luks['name']}" for luks in storage.get("luks", [])}
    paths: list[KeyPath] = [("storage", "filesystems", index) for index in range(len(filesystems))]
    check_once(
        document, (((*p, "device"), fs["device"]) for p, fs in zip(paths, filesystems, strict=True)), "the device"
    )
    for path, fs in zip(paths, filesystems, strict=True):
        device, mount_point, form = fs["device"], fs.get("path", ""), fs.get("format", "")
        check_path(document, (*path, "device"), device)
        if mount_point:
            check_path(document, (*path, "path"), mount_point)
        if device.startswith("/dev/mapper/") and device not in mappings:
            document.mistake((*path, "device"), "storage.luks has no volume of this name")
        if form and form not in _FORMATS:
            document.mistake((*path, "format"), f"{form!r} is not one of {', '.join(_FORMATS)}")
        elif form == "none" and document.minor < 4:
            document.mistake(
                (*path, "format"), f"none came with Butane fcos 1.4.0; this file says 1.{document.minor}.0"
            )
        elif not form and fs.keys() - {"device", "with_mount_unit"}:
            document.mistake(path, "format is missing")
        if len(fs.get("label", "").encode()) > (limit := _LABEL_LIMITS.get(form, 256)):
            document.mistake((*path, "label"), f"a label of {form or 'a file system'} has at most {limit} bytes")
        if fs.get("with_mount_unit"):
            _mount_unit(document, path, mount_point, form)


def _mount_unit(document: Document, path: KeyPath, mount_point: str, form: str) -> None:
    here = (*path, "with_mount_unit")
    if not form:
        document.mistake(here, "needs a format")
    elif form == "swap" and document.minor < 4:
        document.mistake(here, f"for swap it came with Butane fcos 1.4.0; this file says 1.{document.minor}.0")
    elif form != "swap" and not mount_point:
        document.mistake(here, "needs a path")
    elif mount_point and document.minor >= 6 and not re.match(r"/(etc|var)(/|$)", mount_point):
        document.mistake((*path, "path"), "must be under /etc or /var beside with_mount_unit, since Butane fcos 1.6.0")


def _units(document: Document, units: list[dict[str, Any]]) -> None:
    check_once(document, ((("systemd", "units", i, "name"), unit["name"]) for i, unit in enumerate(units)), "the unit")
    for index, unit in enumerate(units):
        here: KeyPath = ("systemd", "units", index)
        if not _UNIT_NAME.fullmatch(unit["name"]):
            document.mistake(
                (*here, "name"), "a unit name ends in its type: .service, .mount, .timer, … (systemd.unit(5))"
            )
        dropins = unit.get("dropins", [])
        check_once(document, (((*here, "dropins", i, "name"), d["name"]) for i, d in enumerate(dropins)), "the drop-in")
        for number, dropin in enumerate(dropins):
            if not dropin["name"].endswith(".conf"):
                document.mistake((*here, "dropins", number, "name"), "a drop-in's name ends in .conf")
        texts = [(here, unit), *(((*here, "dropins", number), dropin) for number, dropin in enumerate(dropins))]
        for path, section in texts:
            if {"contents", "contents_local"} <= section.keys():
                document.mistake((*path, "contents_local"), "either contents or contents_local, not both")


def _users(document: Document, passwd: dict[str, Any]) -> None:
    for kind in ("users", "groups"):
        items = passwd.get(kind, [])
        check_once(document, ((("passwd", kind, i, "name"), item["name"]) for i, item in enumerate(items)), "the name")
        for index, item in enumerate(items):
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


def _placeholders(document: Document, value: Any, path: KeyPath) -> None:
    if "clevis" in path:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            _placeholders(document, inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _placeholders(document, inner, (*path, index))
    elif isinstance(value, str) and (match := PLACEHOLDER.search(value)):
        document.mistake(path, f"{match[0]} is filled only in a clevis section, not in {dotted(path)}")
