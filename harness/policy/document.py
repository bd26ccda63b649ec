"""A policy file while it is read: its values, where each stands, and the mistakes in it, all told in one round (pure).

Reading goes on after a mistake: what is missing or wrong gets a stand-in, and what is said later about the same place
is not said again.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.policy.variants import NEWEST, Variant, camel

KeyPath = tuple[str | int, ...]
"""Where a value stands: ``("storage", "luks", 0, "name")``."""

CONFIG: KeyPath = ("ignition", "config")
"""Where a file names other configs, and where what comes from them shows."""

MOST_MISTAKES = 20
"""That are told of one file."""

_TEMPLATE = re.compile(r"\{\{|\{%|<%")
"""Of Jinja (Ansible), Go and ERB; an inline file of a sound policy may hold such signs, too."""

_LONGEST = 300
"""Characters of one mistake, its line of the file included."""


def dotted(path: KeyPath) -> str:
    """A key path as people write it: ``storage.luks[0].name``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


@dataclass
class Document:
    """A policy file while it is read: it gathers mistakes until `check` tells them all at once.

    Attributes:
        path: Of the file.
        text: What it holds.
        variant: Which kind of file it is.
        data: Its values: mappings, lists, texts, numbers and flags, by Butane's keys. Bytes that are no text stand in
            a text as `surrogateescape` writes them.
        lines: The line (from 1) of every key path.
        mistakes: Line and wording of each, in the order in which it was found.
        notes: What was taken and does not matter here, or was left as it is, in the order in which it was found.
    """

    path: Path
    text: str
    variant: Variant = NEWEST
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    mistakes: dict[tuple[int, str], None] = field(default_factory=dict)
    _broken: set[KeyPath] = field(default_factory=set)
    _told: set[KeyPath] = field(default_factory=set)

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest section around it when it is not there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def named(self, path: KeyPath) -> str:
        """A key path in the file's own spelling."""
        return dotted(tuple(camel(part) if isinstance(part, str) else part for part in path) if self.ignition else path)

    @property
    def ignition(self) -> bool:
        """Whether it is an Ignition config."""
        return self.variant.is_ignition

    @property
    def sound(self) -> bool:
        """Whether no mistake was noted yet: rules about several keys at once ask for it."""
        return not self.mistakes

    @property
    def crowded(self) -> bool:
        """Whether more mistakes were noted than are told."""
        return len(self.mistakes) > MOST_MISTAKES

    def mistake(self, path: KeyPath, message: str, line: int | None = None, *, inside: bool = False) -> None:
        """Note a mistake at a key, unless one is noted there, or a section around it has no value of its own.

        Args:
            path: The key.
            message: What is wrong.
            line: Where it shows, if not at the key.
            inside: Whether it is one of several mistakes inside the key's value.
        """
        if self._broken and any(path[:end] in self._broken for end in range(1, len(path) + 1)):
            return
        if path and not inside:
            if path in self._told:
                return
            self._told.add(path)
        where = line if line is not None else self.line(path)
        self.mistakes[(where, f"{self.named(path)}: {message}" if path else message)] = None

    def broke(self, path: KeyPath, message: str, at: KeyPath | None = None) -> None:
        """Note a mistake at a key, or at `at`, that leaves the key without a value of its own."""
        self.mistake(path if at is None else at, message, inside=at is not None)
        self._broken.add(path)

    def take_over(self, other: "Document", path: KeyPath, called: str) -> None:
        """Note the mistakes of a document that stands at a key of this one.

        Args:
            other: That document.
            path: The key.
            called: The name of its file, or nothing if it is in this one.
        """
        for line, message in other.mistakes:
            where = f"{called}:{line}" if called else f"line {line} of it"
            self.mistake(path, f"{where}: {message}", inside=True)

    def broken(self, path: KeyPath) -> bool:
        """Whether something at a key, or below it, is a stand-in."""
        return any(found[: len(path)] == path for found in self._broken)

    def check(self) -> None:
        """Tell the mistakes noted so far.

        Raises:
            UsageError: There are some: at most 20, of at most 300 characters, each with file, line and key; the hint
                says where they look like those of a template.
        """
        if not self.mistakes:
            return
        lines = self.text.splitlines()
        found = sorted(self.mistakes, key=lambda mistake: mistake[0])
        told = [self._shown(line, message, lines) for line, message in found[:MOST_MISTAKES]]
        if len(found) > MOST_MISTAKES:
            told.append(f"and {len(found) - MOST_MISTAKES:,} more")
        hint = self._template([line for line, _ in found[:MOST_MISTAKES]], lines)
        if len(told) == 1:
            what, _, detail = told[0].partition("\n")
            raise UsageError(what, detail, hint)
        raise UsageError(f"{self.path.name} has {len(found):,} mistakes", "\n".join(told), hint)

    def _template(self, mistaken: list[int], lines: list[str]) -> str:
        """That the file looks like a template where it is mistaken, or before that if no value of it could be read."""
        for number, line in enumerate(lines, 1):
            concerned = number in mistaken if self.data else number <= mistaken[0]
            if concerned and (sign := _TEMPLATE.search(line)):
                return f"it looks like a template: {sign[0]} on line {number}. Render it first, and name what comes out"
        return ""

    def _shown(self, line: int, message: str, lines: list[str]) -> str:
        head = _cut(f"{self.path.name}:{line}: {message}", _LONGEST - 60)
        room = _LONGEST - len(head) - 5
        shown = _cut(lines[line - 1].strip(), room) if line <= len(lines) else ""
        return f"{head}\n    {shown}".rstrip()


def _cut(text: str, length: int) -> str:
    """A text that can be printed on one line of that length."""
    text = text[: length + 1]
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return text if len(text) <= length else f"{text[: length - 1]}…"
