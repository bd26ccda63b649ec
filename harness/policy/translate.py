"""From the values of a Butane file to an Ignition config of spec 3.3.0, as Butane does it.

Butane's own additions are taken out (`inline`, `local`, `contents_local`, `ssh_authorized_keys_local`, `trees`,
`with_mount_unit`); for the rest the two differ only in the spelling of their keys.
"""

import copy
import os
import posixpath
import re
import stat
from pathlib import Path
from typing import Any

from harness.policy import urls
from harness.policy.check_files import resources
from harness.policy.document import Document, KeyPath
from harness.policy.schema import GUEST_IGNITION


def translate(document: Document) -> dict[str, Any]:
    """The Ignition config of a checked document.

    Raises:
        UsageError: A local file or tree cannot be taken in.
    """
    data = copy.deepcopy(document.data)
    for key in ("variant", "version"):
        data.pop(key, None)
    for path, resource in resources(data):
        _take_in(document, path, resource)
    for index, user in enumerate(data.get("passwd", {}).get("users", [])):
        _take_keys(document, ("passwd", "users", index), user)
    for index, unit in enumerate(data.get("systemd", {}).get("units", [])):
        here: KeyPath = ("systemd", "units", index)
        _take_unit(document, here, unit)
        for number, dropin in enumerate(unit.get("dropins", [])):
            _take_unit(document, (*here, "dropins", number), dropin)
    storage = data.get("storage", {})
    _add_trees(document, storage)
    _add_mount_units(data)
    document.check()
    config: dict[str, Any] = _camel(data)
    config["ignition"] = {**config.get("ignition", {}), "version": f"3.{GUEST_IGNITION}.0"}
    return config


def systemd_escape_path(path: str) -> str:
    """A path as it stands in a unit's name, as ``systemd-escape --path`` prints it (systemd-escape(1))."""
    parts = [part for part in path.split("/") if part]
    escaped = "-".join(
        "".join(
            chr(byte) if re.match(rb"[:_.a-zA-Z0-9]", bytes([byte])) else f"\\x{byte:02x}" for byte in part.encode()
        )
        for part in parts
    )
    if escaped.startswith("."):
        escaped = f"\\x2e{escaped[1:]}"
    return escaped or "-"


def _camel(value: Any) -> Any:
    """Keys in Ignition's spelling; what says nothing (an empty list or section) is left out."""
    if isinstance(value, dict):
        inner = {_camel_key(key): _camel(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in ({}, [])}
    if isinstance(value, list):
        return [_camel(item) for item in value]
    return value


def _camel_key(key: str) -> str:
    if key.endswith("_mib"):
        return key.removesuffix("_mib") + "MiB"
    return re.sub(r"_(.)", lambda match: match[1].upper(), key)


def _read(document: Document, path: KeyPath, name: str) -> bytes:
    """A file beside the policy file; nothing outside that folder."""
    folder = document.path.parent.resolve()
    wanted = Path(os.path.normpath(folder / name.lstrip("/")))
    if not wanted.is_relative_to(folder):
        document.mistake(path, f"{name!r} lies outside the folder of the policy file")
        return b""
    try:
        return wanted.read_bytes()
    except OSError as error:
        document.mistake(path, f"cannot read {wanted}: {error.strerror}")
        return b""


def _text(document: Document, path: KeyPath, name: str) -> str:
    try:
        return _read(document, path, name).decode()
    except UnicodeDecodeError:
        document.mistake(path, f"{name!r} is not UTF-8 text")
        return ""


def _take_in(document: Document, path: KeyPath, resource: dict[str, Any]) -> None:
    if "local" in resource:
        contents = _read(document, (*path, "local"), resource.pop("local"))
    elif "inline" in resource:
        contents = resource.pop("inline").encode()
    else:
        return
    if resource.get("compression"):
        try:
            urls.unpack(contents)
        except ValueError as error:
            document.mistake((*path, "compression"), str(error))
    _set_contents(resource, contents)


def _set_contents(resource: dict[str, Any], contents: bytes) -> None:
    compressed = bool(resource.get("compression"))
    resource["source"], compression = urls.encode(contents, compressed=compressed)
    if not compressed:
        resource["compression"] = compression


def _take_unit(document: Document, path: KeyPath, section: dict[str, Any]) -> None:
    if name := section.pop("contents_local", None):
        section["contents"] = _text(document, (*path, "contents_local"), name)


def _take_keys(document: Document, path: KeyPath, user: dict[str, Any]) -> None:
    for index, name in enumerate(user.pop("ssh_authorized_keys_local", [])):
        lines = re.split(r"\r?\n", _text(document, (*path, "ssh_authorized_keys_local", index), name))
        user.setdefault("ssh_authorized_keys", []).extend(line for line in lines if line)


def _add_trees(document: Document, storage: dict[str, Any]) -> None:
    for index, tree in enumerate(storage.pop("trees", [])):
        here: KeyPath = ("storage", "trees", index)
        folder = document.path.parent.resolve()
        top = Path(os.path.normpath(folder / tree["local"].lstrip("/")))
        if not top.is_relative_to(folder):
            document.mistake((*here, "local"), f"{tree['local']!r} lies outside the folder of the policy file")
        elif not top.is_dir():
            document.mistake((*here, "local"), f"{top} is not a folder")
        else:
            for found in sorted(top.rglob("*")):
                target = posixpath.normpath(posixpath.join(tree.get("path", "/"), found.relative_to(top).as_posix()))
                _add_node(document, here, storage, found, target)


def _add_node(document: Document, path: KeyPath, storage: dict[str, Any], found: Path, target: str) -> None:
    """One file or link of a tree: a new node, or what the node of that path still lacks."""
    mode = found.lstat().st_mode
    if stat.S_ISDIR(mode):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        document.mistake(path, f"{found} is neither a file, a folder nor a link")
        return
    kind = "files" if stat.S_ISREG(mode) else "links"
    nodes = {node["path"]: (name, node) for name in ("files", "directories", "links") for node in storage.get(name, [])}
    known, node = nodes.get(target, (kind, {"path": target}))
    if known != kind or node.get("contents", {}).get("source") or node.get("target"):
        document.mistake(path, f"{target} is in storage.{known} already")
        return
    if target not in nodes:
        storage.setdefault(kind, []).append(node)
    if kind == "links":
        node["target"] = str(found.readlink())
        return
    _set_contents(node.setdefault("contents", {}), found.read_bytes())
    node.setdefault("mode", 0o755 if mode & 0o111 else 0o644)


def _add_mount_units(data: dict[str, Any]) -> None:
    storage = data.get("storage", {})
    remote = {
        device
        for luks in storage.get("luks", [])
        if luks.get("clevis", {}).get("tang")
        for device in (f"/dev/mapper/{luks['name']}", f"/dev/disk/by-id/dm-name-{luks['name']}")
    }
    units = [
        _mount_unit(filesystem, remote=filesystem["device"] in remote)
        for filesystem in storage.get("filesystems", [])
        if filesystem.pop("with_mount_unit", False)
    ]
    if not units:
        return
    own = data.setdefault("systemd", {}).setdefault("units", [])
    by_name = {unit["name"]: unit for unit in own}
    generated = {unit["name"] for unit in units}
    # A unit of the same name in the file goes over the generated one, key by key.
    merged = [{**unit, **by_name.get(unit["name"], {})} for unit in units]
    data["systemd"]["units"] = merged + [unit for unit in own if unit["name"] not in generated]


def _mount_unit(filesystem: dict[str, Any], *, remote: bool) -> dict[str, Any]:
    """A mount or swap unit, word for word as Butane generates it.

    A volume behind a Tang pin is remote: it waits for the network and for remote-fs.target. One behind a custom pin is
    not, since Butane does not look into it.
    """
    device = filesystem["device"]
    options = [*filesystem.get("mount_options", []), *(["_netdev"] if remote else [])]
    option_lines = [f"Options={','.join(options)}"] if options else []
    if filesystem["format"] == "swap":
        name = f"{systemd_escape_path(device)}.swap"
        lines = ["[Swap]", f"What={device}", *option_lines, "", "[Install]", "RequiredBy=swap.target"]
    else:
        name = f"{systemd_escape_path(filesystem['path'])}.mount"
        check = f"systemd-fsck@{systemd_escape_path(device)}.service"
        lines = ["[Unit]", f"Requires={check}", f"After={check}", "", "[Mount]", f"Where={filesystem['path']}"]
        lines += [f"What={device}", f"Type={filesystem['format']}", *option_lines, "", "[Install]"]
        lines += [f"RequiredBy={'remote' if remote else 'local'}-fs.target"]
    return {"name": name, "enabled": True, "contents": "\n".join(["# Generated by Butane", *lines])}
