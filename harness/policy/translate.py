"""From the values of a policy file to an Ignition config, as Butane does it.

Butane's own additions are taken out (`inline`, `local`, `contents_local`, `ssh_authorized_keys_local`, `trees`,
`with_mount_unit`, `boot_device`, `grub`); for the rest the two differ only in the spelling of their keys. An Ignition
config stays as it is.
"""

import copy
import json
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.files import read_whole, why_unread
from harness.policy import sugar, urls
from harness.policy.check_files import check_hash, resources
from harness.policy.document import Document, KeyPath
from harness.policy.merge import merge
from harness.policy.variants import camel

_LONGEST_NAME, _KEPT = 140, 60
"""Characters of a file's name that a mistake has room for (`Document.mistake`), and those kept of each end."""


def translate(document: Document) -> dict[str, Any]:
    """The Ignition config of a document, of the spec that its variant translates to.

    A local file or tree that cannot be taken in is a mistake of the document. One that has mistakes already is
    translated as far as it goes, for the mistakes that show only then.
    """
    if document.ignition and document.sound:
        config: dict[str, Any] = _without_nulls(json.loads(document.text.removeprefix("\ufeff")))
        return config
    data = copy.deepcopy(document.data)
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
    generated = [
        sugar.mount_units(storage),
        sugar.boot_device(data.pop("boot_device", {})),
        sugar.grub(data.pop("grub", {}).get("users")),
    ]
    for filesystem in storage.get("filesystems", []):
        filesystem.pop("with_mount_unit", None)
    config = _camel(data)
    for config_below in generated:
        config = merge(config_below, config)
    config["ignition"] = {**config.get("ignition", {}), "version": f"3.{document.variant.spec}.0"}
    return config


def _without_nulls(value: Any) -> Any:
    """What has no value is the same as no such key, to Ignition."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _camel(value: Any) -> Any:
    """Keys in Ignition's spelling; what says nothing (an empty list or section) is left out."""
    if isinstance(value, dict):
        inner = {camel(key): _camel(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in ({}, [])}
    if isinstance(value, list):
        return [_camel(item) for item in value]
    return value


def _read(document: Document, path: KeyPath, name: str) -> bytes:
    """A file beside the policy file; nothing outside that folder."""
    folder = document.path.parent.resolve()
    wanted = Path(os.path.normpath(folder / name.lstrip("/")))
    if not wanted.is_relative_to(folder):
        document.mistake(path, f"{name!r} lies outside the folder of the policy file")
        return b""
    try:
        return read_whole(wanted, urls.MOST_BYTES)
    except OSError as error:
        document.mistake(path, _unread(str(wanted), error))
    return b""


def _unread(name: str, error: OSError) -> str:
    """That a file cannot be read, with why: a name that leaves no room for that loses its middle."""
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:_KEPT]}…{name[-_KEPT:]}"
    return f"cannot read {shown}: {why_unread(error)}"


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
        contents = resource.pop("inline").encode(errors="surrogateescape")
    else:
        return
    try:
        check_hash(document, path, resource, urls.unpack(contents) if resource.get("compression") else contents)
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
    kinds = ("files", "directories", "links")
    nodes = {node["path"]: (kind, node) for kind in kinds for node in storage.get(kind, [])}
    for index, tree in enumerate(storage.pop("trees", [])):
        here: KeyPath = ("storage", "trees", index)
        folder = document.path.parent.resolve()
        top = Path(os.path.normpath(folder / tree["local"].lstrip("/")))
        if not top.is_relative_to(folder):
            document.mistake((*here, "local"), f"{tree['local']!r} lies outside the folder of the policy file")
            continue
        try:
            if not top.is_dir():
                document.mistake((*here, "local"), f"{top} is not a folder")
            else:
                for found in _walk(top):
                    target = posixpath.join(tree.get("path") or "/", found.relative_to(top).as_posix())
                    _add_node(nodes, storage, tree, found, posixpath.normpath(target))
        except OSError as error:
            document.mistake(here, _unread(str(error.filename), error))
        except ValueError as error:
            document.mistake(here, str(error))


def _walk(top: Path) -> Iterator[Path]:
    """A folder and what is in it, in the order of Go's filepath.Walk: by name, a folder before what it holds."""
    left = [top]
    while left:
        path = left.pop()
        yield path
        if path.is_dir() and not path.is_symlink():
            left += sorted(path.iterdir(), key=lambda inner: os.fsencode(inner.name), reverse=True)


def _add_node(
    nodes: dict[str, tuple[str, dict[str, Any]]],
    storage: dict[str, Any],
    tree: dict[str, Any],
    found: Path,
    target: str,
) -> None:
    """One node of a tree: a new one, or what the node of that path still lacks.

    Args:
        nodes: Those that there are, by path: their kind and what they say.
        storage: Where a new one goes.
        tree: The section that names the tree.
        found: The file, folder or link on this host.
        target: Its path in the guest.

    Raises:
        ValueError: It cannot be taken in.
    """
    mode = found.lstat().st_mode
    owners = {owner: tree[owner] for owner in ("user", "group") if tree.get(owner)}
    if stat.S_ISDIR(mode):
        kind = "directories"
        if not owners and "dir_mode" not in tree:
            return
    elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
        kind = "files" if stat.S_ISREG(mode) else "links"
    else:
        raise ValueError(f"{found} is neither a file, a folder nor a link")
    known, node = nodes.get(target, (kind, {"path": target, **owners}))
    whole = kind == "directories" or node.get("contents", {}).get("source") or node.get("target")
    if known != kind or (target in nodes and whole):
        raise ValueError(f"{target} is in storage.{known} already")
    if target not in nodes:
        nodes[target] = (kind, node)
        storage.setdefault(kind, []).append(node)
    if kind == "directories":
        node["mode"] = tree.get("dir_mode", 0o755)
    elif kind == "links":
        node["target"] = str(found.readlink())
    else:
        _set_contents(node.setdefault("contents", {}), read_whole(found, urls.MOST_BYTES))
        node.setdefault("mode", tree.get("file_mode", 0o755 if mode & 0o111 else 0o644))
