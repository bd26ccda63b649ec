"""What was observed, as CSV: what a spreadsheet reads, and what is left of a boot when its evidence is gone.

``stack,policy,condition,observed,failed_pins``: a line for each cell that has a verdict, its pins apart by a blank.
``tests/verdicts.csv`` is such a list, and what `policy.oracle` is held to.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from harness.errors import UsageError
from harness.evidence import artifacts
from harness.matrix.cells import Matrix, Place
from harness.unlock import Unlock

_COLUMNS = ("stack", "policy", "condition", "observed", "failed_pins")


@dataclass(frozen=True)
class Verdict:
    """What a boot said of a cell.

    Attributes:
        observed: What the disk did.
        failed_pins: Those that are proved to have failed.
    """

    observed: Unlock
    failed_pins: frozenset[str] = frozenset()


Verdicts = Mapping[Place, Verdict]


def verdicts(matrix: Matrix) -> Verdicts:
    """Those of a table; a cell without one is left out."""
    return {cell.place: Verdict(cell.observed, cell.failed_pins) for cell in matrix.cells if cell.observed}


def record(found: Verdicts, path: Path, order: Iterable[Place]) -> None:
    """Add verdicts to a list, in place of those that it had of the same places, atomically.

    Args:
        found: What is new.
        path: The list; made if it is not there.
        order: Of its lines; those that are not in it come last.

    Raises:
        UsageError: There is something else than such a list.
        HostError: It cannot be written.
    """
    known = {**(load(path) if path.exists() else {}), **found}
    save({place: known[place] for place in (*order, *known) if place in known}, path)


def save(found: Verdicts, path: Path) -> None:
    """Write a list, atomically.

    Raises:
        HostError: It cannot be written.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for place, verdict in found.items():
        writer.writerow((*place, verdict.observed.value, " ".join(sorted(verdict.failed_pins))))
    artifacts.save(path.parent, {path.name: text.getvalue()})


def load(path: Path) -> Verdicts:
    """Read a list.

    Raises:
        UsageError: It cannot be read, or a line of it is wrong; with its number.
    """
    hint = "name another file to record them in"
    try:
        reader = csv.reader(StringIO(path.read_text()), strict=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read", str(error), hint) from error
    found: dict[Place, Verdict] = {}
    try:
        if tuple(next(reader, ())) != _COLUMNS:
            raise ValueError(f"it should read {','.join(_COLUMNS)}")
        for stack, policy, condition, observed, failed_pins in reader:
            found[stack, policy, condition] = Verdict(Unlock(observed), frozenset(failed_pins.split()))
    except (ValueError, csv.Error) as error:
        detail = f"line {max(reader.line_num, 1)}: {error}"
        raise UsageError(f"{path} is no list of verdicts", detail, hint) from error
    return found
