"""What became of scenarios in real runs, as CSV: ``docs/suite.csv`` is such a list, and `suite` makes its page of it.

``test,started,result,disks,error``: a line for each run of a scenario that came to its end. ``disks`` is what the disk
did in each boot, and the seconds from power-on to the end of that; where there is no verdict, ``error`` says why. A run
is known by its scenario and its start, so the same evidence can be read twice.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from harness.campaign.repeat import base
from harness.evidence import csv_list
from harness.evidence.record import Document, Result, problem
from harness.plain import plain

_SCENARIOS = "scenarios/"
_ENDED = (Result.PASSED.value, Result.FAILED.value, Result.ERROR.value)
_LENGTH = 160


@dataclass(frozen=True, order=True)
class Run:
    """One run of a scenario.

    Attributes:
        test: Its node id.
        started: When, as in ISO 8601.
        result: A `Result`: ``passed``, ``failed`` or, without a verdict, ``error``.
        disks: What the disk did in each boot, and the seconds that took.
        error: Why there is no verdict.
    """

    test: str
    started: str
    result: str
    disks: str
    error: str

    @property
    def judged(self) -> bool:
        """Whether there is a verdict."""
        return self.result != Result.ERROR.value


_COLUMNS = tuple(field.name for field in fields(Run))


def runs(documents: Iterable[Document]) -> Iterator[Run]:
    """What the evidence says of this project's own scenarios, repeated ones too, but for runs that were cut off."""
    for document in documents:
        if document["test"].startswith(_SCENARIOS) and document["result"] in _ENDED and document.get("started"):
            disks = ", ".join(f"{each['unlock']} {_seconds(each)}" for each in document["boots"] if "unlock" in each)
            yield Run(base(document["test"]), document["started"], document["result"], disks, _error(document))


def _seconds(boot: Document) -> str:
    end = boot["seconds"]["end"]
    return "" if end is None else f"{end:.0f} s"


def _error(document: Document) -> str:
    if document["result"] != Result.ERROR.value:
        return ""
    return textwrap.shorten(plain(problem(document) or "not told"), _LENGTH, placeholder=" …")


def record(found: Iterable[Run], path: Path) -> tuple[Run, ...]:
    """Add runs to a list, atomically, and return all that it then has.

    Args:
        found: What is new.
        path: The list; made if it is not there.

    Raises:
        UsageError: There is something else than such a list.
        HostError: It cannot be written.
    """
    whole = {(run.test, run.started): run for run in (*load(path), *found)}
    ordered = tuple(sorted(whole.values()))
    csv_list.write(path, _COLUMNS, map(astuple, ordered))
    return ordered


def load(path: Path) -> tuple[Run, ...]:
    """Read a list; one that is not there is empty.

    Raises:
        UsageError: It cannot be read, or a line of it is wrong; with its number.
    """
    if not path.exists():
        return ()
    hint = "such a list is what `unlock-lab suite --record` writes"
    return csv_list.read(path, _COLUMNS, _run, what="runs", hint=hint)


def _run(line: Sequence[str]) -> Run:
    test, started, result, disks, error = line
    if result not in _ENDED:
        raise ValueError(f"there is no result {result!r}")
    return Run(test, started, result, disks, error)
