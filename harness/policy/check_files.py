"""The rules for files, directories, links and what they hold; sources as for `harness.policy.checks` (pure)."""

import posixpath
import re
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from harness.policy import urls
from harness.policy.document import Document, KeyPath

_SCHEMES = ("http", "https", "tftp", "gs", "s3", "data")
_LONGEST_PATH = 4096
"""PATH_MAX of Linux."""


def resources(data: dict[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Every section that names contents: where it stands and what it says."""
    storage = data.get("storage", {})
    for index, file in enumerate(storage.get("files", [])):
        here: KeyPath = ("storage", "files", index)
        if "contents" in file:
            yield (*here, "contents"), file["contents"]
        for number, part in enumerate(file.get("append", [])):
            yield (*here, "append", number), part
    for index, luks in enumerate(storage.get("luks", [])):
        if "key_file" in luks:
            yield ("storage", "luks", index, "key_file"), luks["key_file"]
    ignition = data.get("ignition", {})
    for index, config in enumerate(ignition.get("config", {}).get("merge", [])):
        yield ("ignition", "config", "merge", index), config
    if "replace" in ignition.get("config", {}):
        yield ("ignition", "config", "replace"), ignition["config"]["replace"]
    for index, certificate in enumerate(ignition.get("security", {}).get("tls", {}).get("certificate_authorities", [])):
        yield ("ignition", "security", "tls", "certificate_authorities", index), certificate


def check_once(document: Document, items: Iterable[tuple[KeyPath, Hashable]], what: str) -> None:
    """Note each value that an earlier key has already."""
    first: dict[Hashable, KeyPath] = {}
    for path, value in items:
        if value in first:
            document.mistake(path, f"{what} {value!r} is there twice, first on line {document.line(first[value])}")
        else:
            first[value] = path


def check_path(document: Document, path: KeyPath, value: str) -> None:
    """Note a path that is relative or not in its shortest form."""
    if not value.startswith("/"):
        document.mistake(path, f"expected an absolute path, found {value!r}")
    elif len(value.encode()) > _LONGEST_PATH:
        document.mistake(path, f"a path has at most {_LONGEST_PATH} bytes")
    elif not value.isprintable():
        document.mistake(path, "a path has no newline and no other control character")
    elif (clean := posixpath.normpath(value).replace("//", "/")) != value:
        document.mistake(path, f"write the path as {clean}")


def check_nodes(document: Document, storage: dict[str, Any]) -> None:
    """Note what is wrong with files, directories, links and trees, and where they collide."""
    kinds = ("directories", "files", "links")
    nodes: list[tuple[KeyPath, dict[str, Any]]] = [
        (("storage", kind, index), node) for kind in kinds for index, node in enumerate(storage.get(kind, []))
    ]
    check_once(document, (((*path, "path"), node["path"]) for path, node in nodes), "the path")
    links = [(path, node) for path, node in nodes if path[1] == "links"]
    through = {link["path"]: path for path, link in links}
    directories = {node["path"] for path, node in nodes if path[1] == "directories"}
    for path, node in nodes:
        check_path(document, (*path, "path"), node["path"])
        for owner in ("user", "group"):
            if {"id", "name"} <= node.get(owner, {}).keys():
                document.mistake((*path, owner), "either id or name, not both")
        if "mode" in node:
            _mode(document, (*path, "mode"), node["mode"], directory=path[1] == "directories")
        contents = node.get("contents", {})
        if path[1] == "files" and node.get("overwrite") and not contents.keys() & {"inline", "local", "source"}:
            document.mistake((*path, "overwrite"), "needs contents with inline, local or source")
        if link_path := next((through[above] for above in _above(node["path"]) if above in through), None):
            document.mistake((*path, "path"), f"passes through the link on line {document.line(link_path)}")
    for index, tree in enumerate(storage.get("trees", [])):
        check_path(document, ("storage", "trees", index, "path"), tree.get("path", "/"))
    for path, link in links:
        if link.get("hard") and posixpath.normpath(posixpath.join(link["path"], link["target"])) in directories:
            document.mistake((*path, "target"), "a hard link cannot lead to a directory")


def _above(path: str) -> Iterator[str]:
    """The folders around a path; of one that is too long, none."""
    if len(path) <= _LONGEST_PATH and path.startswith("/"):
        while (path := posixpath.dirname(path)) != "/":
            yield path


def _mode(document: Document, path: KeyPath, mode: int, *, directory: bool) -> None:
    where = document.named(path)
    if not 0 <= mode <= 0o7777:
        document.mistake(path, f"{mode} is not a mode: write it in octal, from 0 to 0777")
    elif _decimal_slip(mode, directory=directory) and not document.ignition:
        document.notes.append(f"{where} is {mode} in decimal, which is 0{mode:o}; was 0{mode} meant?")
    elif mode > 0o777 and document.variant.spec < 6:
        document.notes.append(f"the special bits of {where}, 0{mode:o}, which Ignition drops before spec 3.6.0")


def _decimal_slip(mode: int, *, directory: bool) -> bool:
    """Whether a mode looks as if its leading zero was forgotten, as in ``mode: 644``."""
    digits = str(mode)
    if not re.fullmatch(r"[0-7]{3,4}", digits):
        return False
    return not _typical(mode, directory=directory) and _typical(int(digits, 8), directory=directory)


def _typical(mode: int, *, directory: bool) -> bool:
    """Whether nobody would wonder at a mode: whoever is closer to the owner may do at least as much."""
    other, group, owner = mode & 7, mode >> 3 & 7, mode >> 6 & 7
    nested = other & ~group == 0 and group & ~owner == 0
    readable = all(bits == 0 or bits & 4 for bits in (other, group, owner)) and owner & 4
    usable = not directory or owner & 1
    return bool(nested and readable and usable)


def check_hash(document: Document, path: KeyPath, resource: dict[str, Any], contents: bytes) -> None:
    """Note a hash that is another than that of the contents, which stand unpacked."""
    digest = resource.get("verification", {}).get("hash", "")
    function = digest.partition("-")[0]
    if function in ("sha256", "sha512") and urls.digest(contents, function) != digest.lower():
        document.mistake((*path, "verification", "hash"), "is not the hash of the contents: Ignition would stop")


def check_resource(document: Document, path: KeyPath, resource: dict[str, Any]) -> None:
    """Note what is wrong with a section that names contents."""
    sources = [key for key in ("inline", "local", "source") if key in resource]
    if len(sources) > 1:
        document.broke((*path, sources[-1]), f"only one of inline, local and source, not {' and '.join(sources)}")
    if resource.get("compression", "") not in ("", "gzip"):
        document.mistake((*path, "compression"), f"{resource['compression']!r} is not gzip")
    digest = resource.get("verification", {}).get("hash")
    if digest is not None and digest.startswith("sha256-") and document.variant.spec < 1:
        document.mistake((*path, "verification", "hash"), "sha256 came with Ignition spec 3.1.0; take sha512")
    if digest is not None and not re.fullmatch(r"sha512-[0-9a-fA-F]{128}|sha256-[0-9a-fA-F]{64}", digest):
        document.mistake(
            (*path, "verification", "hash"), "expected sha512- or sha256- and as many hex digits as it has"
        )
    if digest is not None and not sources:
        document.mistake(path, "a hash needs inline, local or source")
    source = resource.get("source", "")
    scheme = urls.parse(source).scheme
    if source and scheme not in (*_SCHEMES, *(("arn",) if document.variant.spec >= 4 else ())):
        document.mistake((*path, "source"), f"expected a url of {', '.join(_SCHEMES)}, found {source!r}")
    elif scheme == "data":
        try:
            contents = urls.decode(source)
            if resource.get("compression"):
                contents = urls.unpack(contents)
            check_hash(document, path, resource, contents)
        except ValueError as error:
            document.mistake((*path, "source"), str(error))
    headers = resource.get("http_headers", [])
    if headers and scheme not in ("http", "https"):
        document.mistake((*path, "http_headers"), "need a source of http or https")
    check_once(document, (((*path, "http_headers", i), h["name"]) for i, h in enumerate(headers)), "the header")
