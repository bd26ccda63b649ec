"""A Butane file as values and lines: read by its schema, with every mistake named by file, line and key.

YAML is read as Butane's own parser reads it (gopkg.in/yaml.v3, decoding into typed fields): any scalar may stand for a
text, ``0644`` is octal, ``yes`` is true only where a flag is expected. It is stricter where that parser would lose
something: an unknown key, a key twice, a key without a value, a number with a fraction.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UsageError
from harness.policy.schema import GUEST_IGNITION, NEWEST_MINOR, ROOT, Items, Key, Kind, Scalar, Section

KeyPath = tuple[str | int, ...]
"""Where a value stands: ``("storage", "luks", 0, "name")``."""

_TRUE = {"true", "True", "TRUE", "y", "Y", "yes", "on"}
_FALSE = {"false", "False", "FALSE", "n", "N", "no", "off"}
_NULL = {"", "~", "null", "Null", "NULL"}
_WHOLE = re.compile(r"[-+]?(0[bB][01]+|0[oO]?[0-7]+|0[xX][0-9a-fA-F]+|[1-9][0-9]*|0)")
_SCALAR_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "value")}
_MERGE = "tag:yaml.org,2002:merge"


def dotted(path: KeyPath) -> str:
    """A key path as people write it: ``storage.luks[0].name``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


@dataclass
class Document:
    """A Butane file while it is read: it gathers mistakes until `check` tells them all at once.

    Attributes:
        path: Of the file.
        text: What it holds.
        minor: The minor version of Butane fcos that it says it follows.
        data: Its values: mappings, lists, texts, numbers and flags, by the keys that the file uses.
        lines: The line (from 1) of every key path.
    """

    path: Path
    text: str
    minor: int = NEWEST_MINOR
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    _mistakes: list[tuple[int, str]] = field(default_factory=list)

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest section around it when it is not there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def mistake(self, path: KeyPath, message: str, line: int | None = None) -> None:
        """Note a mistake at a key."""
        where = line if line is not None else self.line(path)
        self._mistakes.append((where, f"{dotted(path)}: {message}" if path else message))

    def check(self) -> None:
        """Tell the mistakes noted so far.

        Raises:
            UsageError: There are some: one line each, with file, line, key, and the line itself.
        """
        if not self._mistakes:
            return
        lines = self.text.splitlines()
        # An alias (`*name`) is read where it is used, so one wrong line can be found twice.
        found = sorted(dict.fromkeys(self._mistakes), key=lambda mistake: mistake[0])
        told = [
            f"{self.path.name}:{line}: {message}\n    {lines[line - 1].strip() if line <= len(lines) else ''}".rstrip()
            for line, message in found
        ]
        if len(told) == 1:
            what, _, detail = told[0].partition("\n")
            raise UsageError(what, detail)
        raise UsageError(f"{self.path.name} has {len(told)} mistakes", "\n".join(told))


def read_document(path: Path) -> Document:
    """Read a Butane file by the schema of its version.

    Raises:
        UsageError: It cannot be read, is not YAML, or does not fit the schema; with file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the policy file {path}", str(error)) from error
    document = Document(path, text)
    root = _compose(document)
    document.minor = _version(document, root)
    document.check()
    document.data = _Reader(document).section(root, ROOT, ())
    document.check()
    return document


def compose(text: str) -> yaml.MappingNode | None:
    """The node tree of a YAML mapping, or None when the text is something else.

    Raises:
        yaml.YAMLError: It is not one YAML document.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return root if isinstance(root, yaml.MappingNode) else None


def _compose(document: Document) -> yaml.MappingNode:
    try:
        root = compose(document.text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.mistake((), f"not YAML: {error.problem or error.context}", mark.line + 1 if mark else 1)
    except yaml.reader.ReaderError as error:
        line = document.text.count("\n", 0, error.position) + 1
        document.mistake((), f"not YAML: {error.reason} (character {error.character!r})", line)
    else:
        if root is not None:
            return root
        document.mistake((), "a Butane file is a mapping that begins with variant and version")
    document.check()
    raise AssertionError("unreachable")  # pragma: no cover


def _version(document: Document, root: yaml.MappingNode) -> int:
    head = {key.value: value for key, value in root.value if key.value in ("variant", "version")}
    said = {name: str(value.value) for name, value in head.items()}
    lines = {name: value.start_mark.line + 1 for name, value in head.items()}
    if (variant := said.get("variant")) != "fcos":
        message = f"{variant!r} is not supported, only fcos" if variant else "missing; write variant: fcos"
        document.mistake(("variant",), message, lines.get("variant", 1))
    version = said.get("version", "")
    match = re.fullmatch(r"1\.(\d+)\.0", version)
    if match and int(match[1]) <= NEWEST_MINOR:
        return int(match[1])
    message = f"{version!r} is not one of 1.0.0 to 1.{NEWEST_MINOR}.0" if version else "missing; write version: 1.6.0"
    if re.fullmatch(r"1\.[0-6]", version):
        message += f"; write version: {version}.0"
    elif match:
        message += f": its output needs an Ignition newer than the guest's 3.{GUEST_IGNITION}; write version: 1.6.0"
    document.mistake(("version",), message, lines.get("version", 1))
    return NEWEST_MINOR


class _Reader:
    """Walks nodes and schema side by side. The schema's depth is finite, so a recursive alias ends as a wrong type."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def value(self, node: yaml.Node, kind: Kind, path: KeyPath) -> Any:
        if isinstance(kind, Section):
            return self.section(node, kind, path)
        if isinstance(kind, Items):
            return self.items(node, kind, path)
        return self.scalar(node, kind, path)

    def section(self, node: yaml.Node, section: Section, path: KeyPath) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            self.document.mistake(path, f"expected a mapping, found {_found(node)}")
            return {}
        values: dict[str, Any] = {}
        seen: set[str] = set()
        for name_node, value_node in _pairs(node):
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else _found(name_node)
            line = name_node.start_mark.line + 1
            here = (*path, name)
            if name in seen:
                self.document.mistake(here, f"this key is there twice, first on line {self.document.lines[here]}", line)
                continue
            seen.add(name)
            self.document.lines[here] = line
            key = section.keys.get(name)
            if key is None:
                self.document.mistake(here, f"unknown key{_suggestion(name, section)}")
            elif message := _refusal(key, self.document.minor):
                self.document.mistake(here, message)
            elif _is_null(value_node):
                self.document.mistake(here, "has no value; give it one or take the key out")
            else:
                values[name] = self.value(value_node, key.kind, here)
        for name, key in section.keys.items():
            if key.required and name not in seen:
                self.document.mistake(path, f"{name} is missing")
            elif key.required and values.get(name) == "":
                self.document.mistake((*path, name), "is empty")
        return values

    def items(self, node: yaml.Node, kind: Items, path: KeyPath) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode):
            self.document.mistake(path, f"expected a list, found {_found(node)}")
            return []
        values = []
        for index, item in enumerate(node.value):
            here = (*path, index)
            self.document.lines[here] = item.start_mark.line + 1
            if _is_null(item):
                self.document.mistake(here, "has no value; give it one or take the item out")
            else:
                values.append(self.value(item, kind.of, here))
        return values

    def scalar(self, node: yaml.Node, kind: Scalar, path: KeyPath) -> str | int | bool | None:
        text = str(node.value)
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALAR_TAGS:
            if kind is Scalar.TEXT:
                return text
            if kind is Scalar.FLAG and plain and text in _TRUE | _FALSE:
                return text in _TRUE
            if kind is Scalar.NUMBER and plain and _WHOLE.fullmatch(text.replace("_", "")):
                return _whole(text.replace("_", ""))
        self.document.mistake(path, f"expected {kind}, found {_found(node)}")
        return None


def _refusal(key: Key, minor: int) -> str:
    if key.ignition > GUEST_IGNITION:
        return (
            f"needs Ignition spec 3.{key.ignition}.0 (Butane fcos 1.{key.since}.0); "
            f"the guest's Ignition takes 3.{GUEST_IGNITION}"
        )
    if key.since > minor and not key.refusal:
        return f"came with Butane fcos 1.{key.since}.0; this file says 1.{minor}.0"
    return key.refusal


def _suggestion(name: str, section: Section) -> str:
    snake = re.sub(r"(MiB|[A-Z])", r"_\1", name).lower().replace("-", "_")
    if near := difflib.get_close_matches(snake, section.keys, n=1):
        return f"; did you mean {near[0]}?"
    return f"; known here: {', '.join(sorted(section.keys))}"


def _pairs(node: yaml.MappingNode, around: tuple[yaml.Node, ...] = ()) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Keys and values, with merge keys (``<<: *name``) resolved: what the mapping itself says goes first."""
    own = [(key, value) for key, value in node.value if key.tag != _MERGE]
    yield from own
    seen: set[object] = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
    for key, value in node.value:
        if key.tag != _MERGE:
            continue
        for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(merged, yaml.MappingNode) or merged in (*around, node):
                yield key, value  # told as an unknown key
                return
            for inner_key, inner_value in _pairs(merged, (*around, node)):
                name = inner_key.value if isinstance(inner_key, yaml.ScalarNode) else id(inner_key)
                if name not in seen:
                    seen.add(name)
                    yield inner_key, inner_value


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULL


def _found(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if node.tag not in _SCALAR_TAGS:
        return f"the tag {node.tag}"
    text = str(node.value)
    shown = text if len(text) <= 40 else text[:37] + "..."
    quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
    return f"the text {shown!r}" if quoted else repr(shown)


def _whole(text: str) -> int:
    # strconv.ParseInt with base 0, as yaml.v3 calls it: a leading zero means octal.
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.lstrip("+"))
    if re.fullmatch(r"0[0-7]+", digits):
        return sign * int(digits, 8)
    return sign * int(digits, 0)
