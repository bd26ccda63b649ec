"""The truth table in a terminal: policies down, conditions across, and below it what the letters and numbers mean.

Columns are numbered, so that twenty of them fit; those that do not fit the width go into a table of their own.
"""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.evidence.terminal import counted
from harness.matrix.cells import MARKS, MEANINGS, NO_CELL, Cell, Matrix
from harness.plain import plain
from harness.unlock import Unlock

_COLOURS = {
    MARKS[Unlock.AUTO]: "green",
    MARKS[Unlock.PASSPHRASE_FALLBACK]: "yellow",
    MARKS[Unlock.LOCKED]: "magenta",
    MARKS[Unlock.REFUSED]: "cyan",
    MARKS[Unlock.NOT_PREDICTED]: "dim",
    NO_CELL: "dim",
}
_WRONG = "bold red"

_NAME = 32
"""Columns that the name of a policy may take."""

_MARK = 2
"""Columns that a mark takes at the least, so that letters do not stick together."""

Numbered = tuple[int, str]
"""A condition, and the number at the head of its column."""


def show(matrix: Matrix, console: Console) -> None:
    """Print the table, its key, each cell that needs attention, and the sum."""
    console.print(Group(*_parts(matrix, console.width)), highlight=False, markup=False, emoji=False)


def summary(matrix: Matrix) -> str:
    """The sum in one line."""
    cells, differ, unjudged = len(matrix.cells), len(matrix.differing), len(matrix.unjudged)
    parts = [counted(cells, "cell")]
    parts += [f"{counted(matrix.boots, 'boot')} ({matrix.boots_per_cell:.2f} boots per cell)"] if matrix.boots else []
    parts.append(f"{differ} {'differs' if differ == 1 else 'differ'} from the prediction")
    parts += [f"{unjudged} without a verdict"] if unjudged else []
    parts += [f"{matrix.seconds / 60:.0f} min"] if matrix.seconds else []
    return ", ".join(parts)


def _parts(matrix: Matrix, width: int) -> Iterator[RenderableType]:
    numbered = list(enumerate(matrix.conditions, 1))
    for stack in matrix.stacks:
        yield Text(plain(stack), "bold")
        for block in _blocks(matrix, stack, numbered, width):
            yield _table(matrix, stack, block)
            yield Text()
    if numbered:
        names = [Text(f"{number:>2} {plain(name)}") for number, name in numbered]
        yield Columns(names, padding=(0, 2), column_first=True)
        yield Text()
    legend = [Text.assemble((mark, _COLOURS.get(mark, _WRONG)), f" {means}") for mark, means in MEANINGS.items()]
    legend.append(Text.assemble(("A≠P", _WRONG), " observed A, predicted P"))
    yield Columns(legend, padding=(0, 3))
    for cell in (*matrix.differing, *matrix.unjudged):
        yield from _attention(cell)
    yield Text("\n" + summary(matrix), "bold")


def _blocks(matrix: Matrix, stack: str, numbered: Sequence[Numbered], width: int) -> Iterator[list[Numbered]]:
    """The columns in as few tables as the width allows; a column that no cell of the stack stands in is left out."""
    present = {cell.condition for cell in matrix.cells if cell.stack == stack}
    differing = {cell.condition for cell in matrix.differing if cell.stack == stack}
    room = width - min(_NAME, max(len(name) for name in matrix.policies(stack)))
    block: list[Numbered] = []
    used = 0
    for number, condition in numbered:
        if condition not in present:
            continue
        needs = (3 if condition in differing else max(_MARK, len(str(number)))) + 1
        if block and used + needs > room:
            yield block
            block, used = [], 0
        block.append((number, condition))
        used += needs
    yield block


def _table(matrix: Matrix, stack: str, block: Sequence[Numbered]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False, header_style="dim")
    table.add_column("", max_width=_NAME, no_wrap=True, overflow="ellipsis")
    for number, _ in block:
        table.add_column(str(number), justify="center", no_wrap=True, min_width=_MARK)
    found = matrix.at
    for policy in matrix.policies(stack):
        cells = [found.get((stack, policy, condition)) for _, condition in block]
        if any(cells):
            table.add_row(Text(plain(policy)), *map(_marked, cells))
    return table


def _marked(cell: Cell | None) -> Text:
    mark = cell.marks if cell else NO_CELL
    return Text(mark, _COLOURS.get(mark, _WRONG))


def _attention(cell: Cell) -> Iterator[RenderableType]:
    """A cell that differs, or has no verdict: what is known about it."""
    yield Text.assemble("\n", (f"{cell.marks} ", _WRONG), plain(f"{cell.policy}, {cell.condition}, on {cell.stack}"))
    lines = {"predicted": f"{cell.predicted.value}: {cell.reason}"}
    observed = (cell.observed.value, cell.seen) if cell.observed else ("no verdict", cell.error)
    lines["observed"] = ": ".join(filter(None, observed))  # a list of verdicts has no reasons
    lines |= {"evidence": cell.evidence} if cell.evidence else {}
    for name, line in lines.items():
        known = Table.grid(padding=(0, 1))
        known.add_row(Text(name), Text(plain(line)))
        yield Padding(known, (0, 0, 0, 4))
