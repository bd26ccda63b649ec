"""The rules for systemd units and drop-ins (pure).

Sources: as for `harness.policy.checks`, and go-systemd's unit parser.
"""

import re
from collections.abc import Iterator
from typing import Any

from harness.policy.check_files import check_once
from harness.policy.document import Document, KeyPath

_UNIT_NAME = re.compile(r"[^/\s]+\.(service|socket|device|mount|automount|swap|target|path|timer|snapshot|slice|scope)")
_LONGEST_LINE = 2048
"""systemd's LINE_MAX, which Ignition holds units to."""


def check_units(document: Document, storage: dict[str, Any]) -> None:
    """Note what is wrong with units, and where they collide with files."""
    units = document.data.get("systemd", {}).get("units", [])
    check_once(document, ((("systemd", "units", i, "name"), unit["name"]) for i, unit in enumerate(units)), "the unit")
    written = dict(_written(units))
    for kind in ("files", "directories", "links"):
        for index, node in enumerate(storage.get(kind, [])):
            if unit := written.get(node["path"]):
                document.mistake(("storage", kind, index, "path"), f"systemd.units writes {unit} to this path")
    for index, unit in enumerate(units):
        here: KeyPath = ("systemd", "units", index)
        if not _UNIT_NAME.fullmatch(unit["name"]):
            document.mistake(
                (*here, "name"), "a unit name ends in its type: .service, .mount, .timer, … (systemd.unit(5))"
            )
        dropins = unit.get("dropins", [])
        check_once(document, (((*here, "dropins", i, "name"), d["name"]) for i, d in enumerate(dropins)), "the drop-in")
        for number, dropin in enumerate(dropins):
            if not re.fullmatch(r"[^/\s]+\.conf", dropin["name"]):
                document.mistake((*here, "dropins", number, "name"), "a drop-in's name ends in .conf")
        texts = [(here, unit), *(((*here, "dropins", number), dropin) for number, dropin in enumerate(dropins))]
        for path, section in texts:
            if {"contents", "contents_local"} <= section.keys():
                document.mistake((*path, "contents_local"), "either contents or contents_local, not both")
            if why := trouble(section.get("contents", "")):
                document.mistake((*path, "contents"), why)


def _written(units: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for unit in units:
        if unit.get("contents"):
            yield f"/etc/systemd/system/{unit['name']}", unit["name"]
        for dropin in unit.get("dropins", []):
            if dropin.get("contents"):
                yield f"/etc/systemd/system/{unit['name']}.d/{dropin['name']}", dropin["name"]


def trouble(contents: str) -> str:
    """What Ignition would not take of a unit's text, or nothing."""
    read = contents if contents.startswith(("#", ";")) else "".join(contents.partition("[")[1:])
    lines = iter(read.splitlines())
    for line in lines:
        if len(line.encode()) >= _LONGEST_LINE:
            return f"a line of a unit has less than {_LONGEST_LINE} bytes (systemd.unit(5))"
        text = line.strip()
        if not text:
            continue
        if text.startswith("["):
            if not re.fullmatch(r"\[[^\]]*\]", text):
                return f"a section is one word in brackets, found {text[:40]!r}"
        elif text.startswith(("#", ";")):
            _skip(text, lines)
        elif "=" not in line:
            return f"expected NAME=value, found {text[:40]!r}"
        else:
            _skip(line, lines)
    return ""


def _skip(line: str, lines: Iterator[str]) -> None:
    """Go past what a backslash at the end of a line continues."""
    while line.endswith("\\"):
        line = next(lines, "")
