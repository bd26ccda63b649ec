"""What the rules said and what the tools did, side by side: of one image, or of several beside each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.plain import plain
from harness.real_tools.trial import ONLY_A_BOOT

_WORDS = {True: "opens", False: "stays shut", None: "no verdict"}
_LONGEST = 600
"""Of what the tools said, its end, in characters."""


@dataclass(frozen=True)
class Line:
    """One cell: what the rules say, and what the tools of one image did.

    Attributes:
        volume: Its name.
        condition: Of the truth table.
        predicted: By the rules: whether some binding yields a key.
        opened: By the tools; None when they gave no verdict.
        said: What they said, or why there is no verdict.
        seconds: How long it took.
        image: Whose tools.
    """

    volume: str
    condition: str
    predicted: bool
    opened: bool | None
    said: str
    seconds: float
    image: str

    @property
    def agrees(self) -> bool:
        """Whether both opened it, or neither did."""
        return self.opened is self.predicted


def show(lines: Sequence[Line], versions: Mapping[str, str], console: Console, seconds: float) -> None:
    """Print the cells, each difference with what the tools said, and what was not tried.

    Args:
        lines: Of all images.
        versions: What each image's tools are, in words, by its name and in order.
        console: Where to print.
        seconds: How long it took in all.
    """
    for image, words in versions.items():
        console.print(Text(f"{image}: {words}", "dim"))
    console.print(_table(lines, tuple(versions)))
    for line in lines:
        if not line.agrees:
            what = f"✗ {line.volume}, {line.condition}, on {line.image}: {plain(line.said)[-_LONGEST:]}"
            console.print(Text(what, "red"))
    console.print(_summary(lines, seconds))
    if len(versions) > 1:
        console.print(_between(lines))
    console.print(Text(f"not tried, since only a boot can tell: {', '.join(ONLY_A_BOOT)}", "dim"))


def _table(lines: Sequence[Line], images: Sequence[str]) -> Table:
    """A row for each volume and condition, a column for each image; of one image the time of each cell, too."""
    alone = len(images) == 1
    table = Table("volume", "condition", "the rules", box=SIMPLE_HEAD, pad_edge=False)
    for head in ("the tools", "seconds") if alone else images:
        table.add_column(head)
    for (volume, condition), cells in _by_place(lines).items():
        seen = [Text("not tried", "dim") if image not in cells else _verdict(cells[image]) for image in images]
        first = next(iter(cells.values()))
        times = [f"{first.seconds:.1f}"] if alone else []
        table.add_row(volume, condition, _WORDS[first.predicted], *seen, *times)
    return table


def _verdict(line: Line) -> Text:
    return Text(_WORDS[line.opened], "" if line.agrees else "bold red")


def _by_place(lines: Sequence[Line]) -> Mapping[tuple[str, str], Mapping[str, Line]]:
    """The cells of each volume and condition, by image."""
    found: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        found.setdefault((line.volume, line.condition), {})[line.image] = line
    return found


def _summary(lines: Sequence[Line], seconds: float) -> str:
    each = f", {sum(line.seconds for line in lines) / len(lines):.2f} s a cell" if lines else ""
    silent = sum(line.opened is None for line in lines)
    differ = sum(not line.agrees for line in lines) - silent
    return f"{len(lines)} cells{each}, {seconds:.0f} s in all; {differ} differ from the rules" + (
        f", {silent} have no verdict" if silent else ""
    )


def _between(lines: Sequence[Line]) -> str:
    """What the images' tools do otherwise than each other's."""
    shared = {place: cells for place, cells in _by_place(lines).items() if len(cells) > 1}
    differ = [place for place, cells in shared.items() if len({line.opened for line in cells.values()}) > 1]
    named = "".join(f"\n  {volume}, {condition}" for volume, condition in differ)
    return f"{len(shared)} cells on several images; {len(differ)} differ between them{named}"
