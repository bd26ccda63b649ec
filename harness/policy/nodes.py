"""A file's text as nodes with lines: YAML, and JSON as the part of YAML that it is. Pure.

Bounded, so that no text is slow.

The parser is libyaml's, which hands out events; nodes are made of them here, since PyYAML's own composer recurses as
deep as the text does. What no config needs ends in one mistake: more than `MOST_BYTES`, more than `MOST_VALUES`, deeper
than `DEEPEST`. Aliases and merge keys are kept as references, so the file's own size bounds them; what they expand to
is counted by the reader (`harness.policy.document`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MOST_BYTES = 4 * 1024 * 1024
"""Of a file. What is larger belongs into files beside it, that `local` names."""

MOST_VALUES = 50_000
"""Of a file, keys and values counted, aliases followed."""

MOST_DEVICES = 256
"""Of a file: disks, arrays, volumes, file systems, each."""

DEEPEST = 64
"""Levels of lists and mappings; Butane's own schema has eight."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_JSON = re.compile(r"[\ufeff \t\r\n]*\{")
_SURROGATES = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)


class NotReadableError(Exception):
    """The text is not YAML, or more of it than is read.

    Attributes:
        line: Where, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, eq=False)
class Scalar:
    """A single value.

    Attributes:
        line: From 1.
        text: Without quotes, escapes resolved.
        plain: Whether it stands without quotes.
        tag: The tag that the file gives it, as a URI, or nothing.
    """

    line: int
    text: str
    plain: bool = False
    tag: str = ""


@dataclass(frozen=True, eq=False)
class Sequence:
    """A list, and the line where it begins."""

    line: int
    items: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Mapping:
    """A mapping as it is written, a key twice included, and the line where it begins."""

    line: int
    pairs: list[tuple["Node", "Node"]] = field(default_factory=list)


Node = Scalar | Sequence | Mapping


def compose(text: str) -> Node | None:
    """The one document of a text, or None when there is nothing in it.

    Raises:
        NotReadableError: It is not YAML, has several documents, or is too much.
    """
    if _JSON.match(text):
        # JSON writes a character beyond U+FFFF as two escapes, YAML as one.
        text = _SURROGATES.sub(_one_escape, text)
    try:
        return _Composer().compose(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        marks = [mark for mark in (error.problem_mark, error.context_mark) if mark]
        lines = [mark.line + 1 for mark in marks if mark.line < text.count("\n") + (not text.endswith("\n"))]
        raise NotReadableError(f"not YAML: {error.problem or error.context}", lines[0] if lines else 1) from error
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1  # libyaml counts bytes
        raise NotReadableError(f"not YAML: {error.reason} (character {error.character!r})", line) from error
    except (UnicodeEncodeError, yaml.YAMLError) as error:
        raise NotReadableError(f"not YAML: {error}", 1) from error


def _one_escape(match: re.Match[str]) -> str:
    high, low = int(match[1], 16), int(match[2], 16)
    return f"\\U{0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00:08x}"


class _Composer:
    """Makes nodes of events, without recursion."""

    def __init__(self) -> None:
        self._open: list[Sequence | Mapping] = []
        self._keys: list[Node | None] = []  # of each open mapping: the key that waits for its value
        self._anchors: dict[str, Node] = {}
        self._root: Node | None = None

    def compose(self, events: Iterator[Any]) -> Node | None:
        documents = 0
        for count, event in enumerate(events):
            line = event.start_mark.line + 1
            if count > MOST_VALUES:
                raise NotReadableError(f"more than {MOST_VALUES:,} keys and values", line)
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise NotReadableError("not YAML: a second document begins here; only one is read", line)
                case yaml.ScalarEvent():
                    plain = not event.style
                    self._add(event, Scalar(line, event.value, plain, event.tag or ""))
                case yaml.AliasEvent():
                    if event.anchor not in self._anchors:
                        raise NotReadableError(f"not YAML: found undefined alias {event.anchor!r}", line)
                    self._put(self._anchors[event.anchor])
                case yaml.SequenceStartEvent():
                    self._enter(event, Sequence(line))
                case yaml.MappingStartEvent():
                    self._enter(event, Mapping(line))
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    self._open.pop()
                    self._keys.pop()
        return self._root

    def _enter(self, event: Any, node: Sequence | Mapping) -> None:
        if len(self._open) >= DEEPEST:
            raise NotReadableError(f"lists and mappings nested deeper than {DEEPEST} levels", node.line)
        self._add(event, node)
        self._open.append(node)
        self._keys.append(None)

    def _add(self, event: Any, node: Node) -> None:
        if event.anchor:
            self._anchors[event.anchor] = node
        self._put(node)

    def _put(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        around, key = self._open[-1], self._keys[-1]
        if isinstance(around, Sequence):
            around.items.append(node)
        elif key is None:
            self._keys[-1] = node
        else:
            around.pairs.append((key, node))
            self._keys[-1] = None
