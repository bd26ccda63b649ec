"""The truth table as a page, and as a picture.

`write_page` makes an HTML page that stands by itself: no script, no font, no request. Each cell shows what was observed
and what was predicted, says why when it is pointed at, and leads to the boot's console with one click. `write_svg`
makes the same grid as one SVG image, for places where a page cannot go.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.evidence import artifacts
from harness.evidence.html import href, template
from harness.evidence.record import OUTCOME
from harness.matrix.cells import MARKS, MEANINGS, Cell, Matrix
from harness.matrix.table import summary
from harness.ownership import require_own_file

PAGE = "matrix.html"

_SVG_SIGN = ".page { fill: #fff; } .title {"
"""What tells an image of ours from another file: from its template."""

_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
"""What may be a boot's folder: it was read from a file, so it may only lead to a place below the page."""

Links = Mapping[str, str]
"""Where the files of a boot's evidence are, by their names."""


@dataclass(frozen=True)
class Square:
    """A place of the grid.

    Attributes:
        cell: What was booted there; None where nothing was, be it since the condition does not apply to the policy.
        links: Files of its evidence that are there.
    """

    cell: Cell | None
    links: Links


@dataclass(frozen=True)
class MachineSection:
    """The rows of one stack.

    Attributes:
        stack: Their guest image.
        above: Lines of the grid above it: the rows and headings of other sections.
        rows: The squares of each policy, one a condition.
    """

    stack: str
    above: int
    rows: Mapping[str, tuple[Square, ...]]


def write_page(matrix: Matrix, folder: Path) -> Path:
    """Write `PAGE` into the folder that the evidence lies below, atomically.

    Raises:
        HostError: It cannot be written.
    """
    artifacts.save(folder, {PAGE: _render("matrix.html.j2", matrix, folder)}, 0o644)
    return folder / PAGE


def write_svg(matrix: Matrix, path: Path) -> None:
    """Write the grid as an SVG image, atomically.

    Raises:
        UsageError: There is a file that is no such image.
        HostError: It cannot be written.
    """
    require_own_file(path, _SVG_SIGN)
    artifacts.write_named(path, _render("matrix.svg.j2", matrix), 0o644)


def _render(name: str, matrix: Matrix, folder: Path | None = None) -> str:
    return template("harness.matrix", name).render(
        matrix=matrix,
        summary=summary(matrix),
        sections=_sections(matrix, folder),
        marks={unlock.value: mark for unlock, mark in MARKS.items()},
        meanings=MEANINGS,
        colours={mark: unlock.value for unlock, mark in MARKS.items()},
    )


def _sections(matrix: Matrix, folder: Path | None) -> list[MachineSection]:
    found = matrix.at
    sections: list[MachineSection] = []
    above = 0
    for stack in matrix.stacks:
        rows = {}
        for policy in matrix.policies(stack):
            cells = (found.get((stack, policy, condition)) for condition in matrix.conditions)
            rows[policy] = tuple(Square(cell, _links(cell, folder) if cell and folder else {}) for cell in cells)
        sections.append(MachineSection(stack, above, rows))
        above += 1 + len(rows)
    return sections


def _links(cell: Cell, folder: Path) -> Links:
    """The console comes first: it is what a click on the cell opens."""
    if not _FOLDER.fullmatch(cell.evidence):
        return {}
    place = folder / cell.evidence
    # A boot's folder lies in that of a test, whose outcome tells of all its boots; without a boot it is that folder.
    files = (place / artifacts.CONSOLE, place / artifacts.JOURNAL, place.parent / OUTCOME, place / OUTCOME)
    return {file.name: href(file, folder) for file in files if file.is_file()}
