"""What was observed, as CSV: what a spreadsheet reads, and what is left of a boot when its evidence is gone.

``stack,policy,condition,observed,failed_pins``: a line for each cell, its pins apart by a blank; where there is no
verdict, nothing is observed. ``docs/truth-table.csv`` is such a list, and what `policy.oracle` is held to.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.evidence import csv_list
from harness.matrix.cells import Cell, Matrix, Place
from harness.unlock import Unlock

_COLUMNS = ("stack", "policy", "condition", "observed", "failed_pins")


@dataclass(frozen=True)
class Verdict:
    """What a boot said of a cell.

    Attributes:
        observed: What the disk did, or None when there is no verdict.
        failed_pins: Those that are proved to have failed.
    """

    observed: Unlock | None
    failed_pins: frozenset[str] = frozenset()


Verdicts = Mapping[Place, Verdict]


def verdicts(matrix: Matrix) -> Verdicts:
    """Those of a table."""
    return {cell.place: Verdict(cell.observed, cell.failed_pins) for cell in matrix.cells}


def filled_from(found: Verdicts, blank: Iterable[Cell]) -> Iterator[Cell]:
    """Cells that nobody has booted yet, with what a list knows of them; what their boots cost is in no list."""
    for cell in blank:
        verdict = found.get(cell.place, Verdict(None))
        error = "" if verdict.observed else "no boot of it is in the list"
        yield replace(
            cell, observed=verdict.observed, failed_pins=verdict.failed_pins, boots=0, how="recorded", error=error
        )


def record(found: Verdicts, path: Path, order: Iterable[Place]) -> None:
    """Add verdicts to a list, in place of those that it had of the same places, atomically.

    Args:
        found: What is new; where nothing was observed, what the list had stays.
        path: The list; made if it is not there.
        order: Of its lines; those that are not in it come last.

    Raises:
        UsageError: There is something else than such a list.
        HostError: It cannot be written.
    """
    known = dict(held(path))
    known |= {place: verdict for place, verdict in found.items() if verdict.observed}
    save({place: known[place] for place in (*order, *known) if place in known}, path)


def held(path: Path) -> Verdicts:
    """What a list holds already: nothing if it is not there.

    Raises:
        UsageError: There is something else than such a list.
    """
    return load(path) if path.exists() else {}


def save(found: Verdicts, path: Path) -> None:
    """Write a list, atomically.

    Raises:
        HostError: It cannot be written.
    """
    lines = (
        (*place, verdict.observed and verdict.observed.value, " ".join(sorted(verdict.failed_pins)))
        for place, verdict in found.items()
    )
    csv_list.write(path, _COLUMNS, lines)


def load(path: Path) -> Verdicts:
    """Read a list.

    Raises:
        UsageError: It cannot be read, or a line of it is wrong; with its number.
    """
    hint = "such a list is what `make matrix` writes as artifacts/matrix.csv"
    return dict(csv_list.read(path, _COLUMNS, _cell, what="verdicts", hint=hint))


def _cell(line: Sequence[str]) -> tuple[Place, Verdict]:
    stack, policy, condition, observed, failed_pins = line
    return (stack, policy, condition), Verdict(Unlock(observed) if observed else None, frozenset(failed_pins.split()))
