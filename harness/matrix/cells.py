"""The truth table as a value, and as a file: ``artifacts/matrix.json``.

The document (`matrix.schema.json` beside this file is the contract; readers ignore keys that they do not know)::

    {"boots": 21, "started": "2025-03-01T12:00:00+00:00" | null, "seconds": 1330.5,
     "cells": [
       {"policy": "tpm2-and-tang", "stack": "debian-13", "condition": "tang refused",
        "observed": "passphrase-fallback" | … | null,   what the disk did; null: no verdict, and `error` says why
        "predicted": "passphrase-fallback" | …,         by `policy.oracle`, with its reason
        "reason": text, "seen": text,                   the judge's
        "failed_pins": ["tang"], "predicted_failed_pins": ["tang"],
        "evidence": "matrix-1f3a9c2b/boot-3",           the boot's folder, relative to this file
        "seconds": 55.1 | null, "how": "cold boot", "boot": "…",     cells of one boot name the same
        "boots": 2, "took": 96.3,                       what that boot cost: power-ons, with its maintenance's; seconds
        "inputs": hash of all that the cell depends on, "error": text}
     ]}

A run that was interrupted goes on where it stopped: a cell whose `inputs` are the same is not booted again.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.evidence import artifacts
from harness.evidence.record import mismatch, parse_json
from harness.files import read_whole, why_unread
from harness.unlock import Unlock, agrees

MATRIX = "matrix.json"

MARKS = {
    Unlock.AUTO: "A",
    Unlock.PASSPHRASE_FALLBACK: "P",
    Unlock.LOCKED: "E",
    Unlock.REFUSED: "B",
    Unlock.NOT_PREDICTED: "?",
}
"""What stands in a cell: a letter, which `MEANINGS` explains."""

NO_VERDICT, NO_CELL = "!", "·"

MEANINGS = {
    "A": "opens by itself",
    "P": "a person must type",
    "E": "stays shut",
    "B": "boot refused",
    NO_VERDICT: "no verdict",
    NO_CELL: "not booted here",
}

Place = tuple[str, str, str]
"""Stack, policy and condition."""


@dataclass(frozen=True)
class Cell:
    """One policy on one stack under one condition.

    Attributes:
        policy: The row.
        stack: The guest image.
        condition: The column.
        observed: What the disk did, or None when there is no verdict.
        predicted: What the oracle says.
        reason: Why the oracle says so.
        seen: Why the judge says so.
        failed_pins: Those that are proved to have failed.
        predicted_failed_pins: Those that the oracle expects to fail, if the boot waits for them.
        evidence: The boot's folder, relative to the matrix's.
        seconds: From power-on to the end of the boot.
        how: In what way it was booted, such as ``cold boot``.
        boot: Which power-on answered; cells of one boot name the same.
        boots: Power-ons that it took, with that of its maintenance and those that were repeated.
        took: Seconds from the copy of the machine to the verdict.
        inputs: Hash of all that the cell depends on.
        error: Why there is no verdict.
    """

    policy: str
    stack: str
    condition: str
    observed: Unlock | None
    predicted: Unlock
    reason: str
    evidence: str = ""
    seen: str = ""
    failed_pins: frozenset[str] = frozenset()
    predicted_failed_pins: frozenset[str] = frozenset()
    seconds: float | None = None
    how: str = "cold boot"
    boot: str = ""
    boots: int = 1
    took: float = 0.0
    inputs: str = ""
    error: str = ""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.stack, self.policy, self.condition

    @property
    def agrees(self) -> bool:
        """Whether the disk did what the oracle says, or anything where it says nothing."""
        return agrees(self.observed, self.predicted)

    @property
    def differs(self) -> bool:
        """Whether the disk did something else: a bug found, or a rule to correct. No verdict is neither."""
        return self.observed is not None and not self.agrees

    @property
    def mark(self) -> str:
        """What was observed, in one letter."""
        return MARKS[self.observed] if self.observed else NO_VERDICT

    @property
    def marks(self) -> str:
        """The letter, and where the prediction is another, that too."""
        return f"{self.mark}≠{MARKS[self.predicted]}" if self.differs else self.mark


@dataclass(frozen=True)
class Matrix:
    """The table.

    Attributes:
        cells: In the order of the rows and columns.
        started: When, with a time zone.
    """

    cells: tuple[Cell, ...] = ()
    started: datetime | None = None

    @property
    def boots(self) -> int:
        """Power-ons behind its cells."""
        return sum(cell.boots for cell in self._one_a_boot)

    @property
    def seconds(self) -> float:
        """How long they took, one after the other."""
        return sum(cell.took for cell in self._one_a_boot)

    @property
    def _one_a_boot(self) -> Iterable[Cell]:
        # Where nothing was kept, a cell stands for a boot of its own.
        return {cell.boot or cell.place: cell for cell in self.cells}.values()

    @property
    def stacks(self) -> tuple[str, ...]:
        """Each once, in order."""
        return tuple(dict.fromkeys(cell.stack for cell in self.cells))

    @property
    def conditions(self) -> tuple[str, ...]:
        """The columns, in order."""
        return tuple(dict.fromkeys(cell.condition for cell in self.cells))

    def policies(self, stack: str) -> tuple[str, ...]:
        """The rows of a stack, in order."""
        return tuple(dict.fromkeys(cell.policy for cell in self.cells if cell.stack == stack))

    @property
    def at(self) -> dict[Place, Cell]:
        """The cells by their places."""
        return {cell.place: cell for cell in self.cells}

    @property
    def differing(self) -> tuple[Cell, ...]:
        """Cells whose disk did something else than predicted."""
        return tuple(cell for cell in self.cells if cell.differs)

    @property
    def unjudged(self) -> tuple[Cell, ...]:
        """Cells without a verdict."""
        return tuple(cell for cell in self.cells if cell.observed is None)

    @property
    def boots_per_cell(self) -> float:
        """What a cell cost."""
        return self.boots / len(self.cells) if self.cells else 0.0

    def known(self, place: Place, inputs: str) -> Cell | None:
        """The cell at a place, if it has a verdict that still counts: nothing it depends on has changed."""
        cell = self.at.get(place)
        return cell if cell and cell.observed and cell.inputs == inputs else None

    def joined(self, cells: Iterable[Cell]) -> "Matrix":
        """The table with these cells in place of those that stood there before."""
        found = self.at | {cell.place: cell for cell in cells}
        return replace(self, cells=tuple(found.values()))

    def ordered(self, places: Iterable[Place]) -> "Matrix":
        """The table of just these places, in this order; cells that no run asks for any more are dropped."""
        found = self.at
        return replace(self, cells=tuple(found[place] for place in places if place in found))


def save(matrix: Matrix, folder: Path) -> Path:
    """Write `MATRIX` into a folder, atomically.

    Raises:
        HostError: It cannot be written.
    """
    text = json.dumps(document(matrix), indent=1, ensure_ascii=False) + "\n"
    artifacts.save(folder, {MATRIX: text}, 0o644)
    return folder / MATRIX


def load(folder: Path) -> Matrix:
    """Read `MATRIX` of a folder.

    Raises:
        UsageError: There is none, or it is not what the schema says; with the place in it.
    """
    path = folder / MATRIX
    try:
        text = read_whole(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read", why_unread(error), "run `make matrix`") from error
    value: Any = parse_json(text, MATRIX)
    problem = mismatch(value, _schema())
    if problem is not None:
        raise _unreadable(path, f"{problem.json_path}: {problem.message[:400]}")
    try:
        started = datetime.fromisoformat(value["started"]) if value.get("started") else None
    except ValueError as error:
        raise _unreadable(path, f"$.started: {error}") from error
    return Matrix(tuple(map(_cell, value["cells"])), started)


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} is no matrix", why, "remove it, and run `make matrix`")


def document(matrix: Matrix) -> dict[str, Any]:
    """The document, ready for `json.dumps`."""
    return {
        "boots": matrix.boots,
        "started": matrix.started.isoformat(timespec="seconds") if matrix.started else None,
        "seconds": round(matrix.seconds, 3),
        "cells": [_entry(cell) for cell in matrix.cells],
    }


def _entry(cell: Cell) -> dict[str, Any]:
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in vars(cell).items()}


def _cell(entry: dict[str, Any]) -> Cell:
    known = {name: value for name, value in entry.items() if name in Cell.__dataclass_fields__}
    pins = {name: frozenset(known.get(name, ())) for name in ("failed_pins", "predicted_failed_pins")}
    observed = Unlock(entry["observed"]) if entry["observed"] else None
    return Cell(**{**known, **pins, "observed": observed, "predicted": Unlock(entry["predicted"])})


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((resources.files(__package__) / "matrix.schema.json").read_bytes())
    return found
