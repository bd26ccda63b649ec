"""From nodes to values, by the schema of the file's variant.

YAML is read as Butane's own parser reads it (gopkg.in/yaml.v3, decoding into typed fields): any scalar may stand for a
text, ``0644`` is octal, ``yes`` is true only where a flag is expected. An Ignition config is JSON and read as strictly
as JSON is. Both end in the same values under the same keys, those of Butane. The reader is stricter than Butane where
that would lose something: an unknown key, a key twice, a number with a fraction, bytes that are no text.
"""

import difflib
import json
from collections.abc import Iterator
from errno import EFBIG
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.files import read_whole, why_unread
from harness.policy.document import Document, KeyPath, dotted
from harness.policy.nodes import (
    DEEPEST,
    MOST_BYTES,
    MOST_DEVICES,
    MOST_VALUES,
    Mapping,
    Node,
    NotReadableError,
    Sequence,
    compose,
)
from harness.policy.nodes import Scalar as ScalarNode
from harness.policy.other_forms import other_form
from harness.policy.scalars import SCALAR_TAGS, of_json, of_yaml, wrong_value
from harness.policy.schema import ROOT, Items, Key, Kind, Scalar, Section
from harness.policy.variants import NotAPolicyError, Variant, camel, snake, variant_of

_DEVICES = [("storage", kind) for kind in ("disks", "raid", "luks", "filesystems")]
_NULL = {"", "~", "null", "Null", "NULL"}
_STAND_INS: dict[Scalar, str | int | bool] = {Scalar.TEXT: "", Scalar.BYTES: "", Scalar.NUMBER: 0, Scalar.FLAG: False}


def read_document(path: Path) -> Document:
    """Read a policy file by the schema of its variant; mistakes in its values are noted, not raised.

    Raises:
        UsageError: It cannot be read, is no text, no YAML, or no policy file at all.
    """
    document = Document(path, _text(path))
    if not read_values(document):
        document.check()
    return document


def read_values(document: Document) -> bool:
    """Read the text of a document, and note what is wrong with it.

    Returns:
        Whether it is a policy file at all.
    """
    if other := other_form(document.text):
        document.mistake((), *other)
        return False
    try:
        root = compose(document.text)
        document.variant = _variant(document, root)
        assert isinstance(root, Mapping)  # variant_of has seen to it
        if document.ignition:
            _check_json(document)
        document.data = _Reader(document).section(root, ROOT, ())
    except NotReadableError as error:
        document.mistake((), str(error), error.line)
        return False
    except NotAPolicyError:
        return False
    return True


def _variant(document: Document, root: Node | None) -> Variant:
    """The kind of file; one that is not said as it should be is a mistake, and the rest is looked at if it is known.

    Raises:
        NotAPolicyError: It is not known.
    """
    try:
        return variant_of(root)
    except NotAPolicyError as error:
        document.mistake((error.key,) if error.key else (), error.message, error.line)
        if error.meant is None:
            raise
        return error.meant


def _text(path: Path) -> str:
    try:
        return read_whole(path, MOST_BYTES).decode()
    except OSError as error:
        large = "put what is large into files beside it, and name them with local" if error.errno == EFBIG else ""
        raise UsageError(f"cannot read the policy file {path}", why_unread(error), large) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the policy file {path}", f"it is no UTF-8 text: byte {error.start}") from error


def _check_json(document: Document) -> None:
    try:
        json.loads(document.text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise NotReadableError(f"an Ignition config is JSON, and this is not: {error.msg}", error.lineno) from error
    except ValueError as error:  # a number of thousands of digits
        raise NotReadableError(f"not JSON: {error}", 1) from error


class _Reader:
    """Walks nodes and schema side by side. The schema's depth is finite, so a recursive alias ends as a wrong type."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.read = 0
        self.heads = (("ignition", "version"),) if document.ignition else (("variant",), ("version",))

    def value(self, node: Node, kind: Kind, path: KeyPath) -> Any:
        self.count(node)
        if isinstance(kind, Section):
            return self.section(node, kind, path)
        if isinstance(kind, Items):
            return self.items(node, kind, path)
        return self.scalar(node, kind, path)

    def count(self, node: Node) -> None:
        self.read += 1
        if self.read > MOST_VALUES:
            message = f"more than {MOST_VALUES:,} values, with its aliases and merge keys followed"
            raise NotReadableError(message, node.line)

    def section(self, node: Node, section: Section, path: KeyPath) -> dict[str, Any]:
        if not isinstance(node, Mapping):
            self.document.broke(path, f"expected a mapping, found {_found(node)}")
            return dict(_stand_in(section))
        values: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for name_node, value_node in self.pairs(node):
            written = _written(name_node)
            if (*path, written) in self.heads:
                continue
            name = self.spelled(written)
            here = (*path, name)
            if name in seen:
                self.document.mistake(here, f"this key is there twice, first on line {seen[name]}", name_node.line)
                continue
            seen[name] = self.document.lines[here] = name_node.line
            key = section.keys.get(name)
            if key is None:
                self.unknown(written, f"unknown key{self.suggestion(name, section)}", path, name_node.line)
            elif refusal := self.refusal(name, key, here):
                self.document.mistake(here, refusal)
            elif _is_null(value_node):
                self.null(here, key)
            else:
                value = self.value(value_node, key.kind, here)
                if value is not None:
                    values[name] = value
        self.complete(values, seen, section, path)
        return values

    def unknown(self, written: str, told: str, path: KeyPath, line: int) -> None:
        """A key whose name may be anything: it is told as it is written, in JSON too."""
        if self.document.ignition:
            self.document.mistake(path, f"{written}: {told}", line, inside=True)
        else:
            self.document.mistake((*path, written), told)

    def complete(self, values: dict[str, Any], seen: dict[str, int], section: Section, path: KeyPath) -> None:
        for name, key in section.keys.items():
            if not key.required:
                continue
            here = (*path, name)
            if name not in seen:
                self.document.broke(here, f"{name} is missing", at=path)
            elif values.get(name) in ("", []):
                self.document.broke(here, "is empty")
            values.setdefault(name, _stand_in(key.kind))

    def spelled(self, written: str) -> str:
        """A key in Butane's spelling; one that Ignition would not take stays as it is, and unknown."""
        if not self.document.ignition:
            return written
        name = snake(written)
        return name if camel(name) == written else f"{written} "

    def refusal(self, name: str, key: Key, path: KeyPath) -> str:
        """Why this kind of file does not have a key that others have, or nothing."""
        variant = self.document.variant
        bare = ".".join(part for part in path if isinstance(part, str))
        if name in variant.lacks or bare in variant.lacks:
            return f"{variant.title} has no such key{'' if variant.is_ignition else '; variant: fcos has it'}"
        if key.since > variant.keys:
            if variant.is_ignition:
                return f"came with a later spec than {variant.title}"
            return f"came with Butane fcos 1.{key.since}.0; this file is {variant.title}"
        return ""

    def null(self, path: KeyPath, key: Key) -> None:
        if key.required or "luks" in path:
            self.document.broke(path, "has no value; give it one or take the key out")
        else:
            self.document.notes.append(f"{self.document.named(path)} has no value, which is the same as no such key")

    def items(self, node: Node, kind: Items, path: KeyPath) -> list[Any]:
        if not isinstance(node, Sequence):
            self.document.broke(path, f"expected a list, found {_found(node)}")
            return []
        if path in _DEVICES and len(node.items) > MOST_DEVICES:
            raise NotReadableError(
                f"{dotted(path)} has {len(node.items):,} items, and {MOST_DEVICES} are read", node.line
            )
        values = []
        for index, item in enumerate(node.items):
            here = (*path, index)
            self.document.lines[here] = item.line
            if _is_null(item):
                self.document.broke(here, "has no value; give it one or take the item out")
                values.append(_stand_in(kind.of))
            else:
                value = self.value(item, kind.of, here)
                values.append(_stand_in(kind.of) if value is None else value)
        return values

    def scalar(self, node: Node, kind: Scalar, path: KeyPath) -> str | int | bool | None:
        value = None
        if isinstance(node, ScalarNode):
            value = of_json(node, kind) if self.document.ignition else of_yaml(node, kind)
        if value is None:
            self.document.broke(path, f"expected {kind}, found {_found(node)}")
        elif why := wrong_value(value, kind):
            self.document.broke(path, why)
            return None
        return value

    def suggestion(self, name: str, section: Section) -> str:
        if self.document.crowded or len(name) > 64:
            return ""
        known = sorted(key for key in section.keys if key not in self.document.variant.lacks)
        spelled = {(camel(key) if self.document.ignition else key): key for key in known}
        near = difflib.get_close_matches(snake(name.strip()), known)
        if near:
            return f"; did you mean {next(key for key, snaked in spelled.items() if snaked == near[0])}?"
        return f"; known here: {', '.join(spelled)}"

    def pairs(self, node: Mapping, around: tuple[Mapping, ...] = ()) -> Iterator[tuple[Node, Node]]:
        """Keys and values, with merge keys (``<<: *name``) resolved: what the mapping itself says goes first."""
        if len(around) > DEEPEST:
            raise NotReadableError(f"merge keys chained deeper than {DEEPEST} levels", node.line)
        seen: set[str] = set()
        merges = []
        for key, value in node.pairs:
            self.count(key)
            if _is_merge(key) and not self.document.ignition:
                merges.append((key, value))
            else:
                seen.add(_written(key))
                yield key, value
        for key, value in merges:
            for merged in value.items if isinstance(value, Sequence) else [value]:
                if not isinstance(merged, Mapping) or merged in (*around, node):
                    yield key, value  # told as an unknown key
                    return
                for inner_key, inner_value in self.pairs(merged, (*around, node)):
                    if _written(inner_key) not in seen:
                        seen.add(_written(inner_key))
                        yield inner_key, inner_value


def _stand_in(kind: Kind) -> Any:
    """A value for what is missing or wrong, so that the rest can be looked at."""
    if isinstance(kind, Section):
        return {name: _stand_in(key.kind) for name, key in kind.keys.items() if key.required}
    return [] if isinstance(kind, Items) else _STAND_INS[kind]


def _is_merge(node: Node) -> bool:
    return isinstance(node, ScalarNode) and (
        node.tag == "tag:yaml.org,2002:merge" or (node.plain and node.text == "<<")
    )


def _written(key: Node) -> str:
    """A key in a word; one that is no text is a mistake in any case."""
    return key.text if isinstance(key, ScalarNode) else _found(key)


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.plain and node.tag in SCALAR_TAGS and node.text in _NULL


def _found(node: Node) -> str:
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.tag not in SCALAR_TAGS:
        return f"the tag {node.tag}"
    shown = node.text if len(node.text) <= 40 else node.text[:37] + "..."
    return repr(shown) if node.plain else f"the text {shown!r}"
