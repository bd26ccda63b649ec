"""An answer in a terminal: warnings first, then each volume's tree, conditions and attackers."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from harness.explain.advice import Advice
from harness.explain.answer import Answer, AttackerAnswer, ConditionAnswer, Recorded, VolumeAnswer
from harness.explain.tree import Branch
from harness.plain import plain
from harness.unlock import Unlock

_COLOURS = {
    Unlock.AUTO: "green",
    Unlock.PASSPHRASE_FALLBACK: "yellow",
    Unlock.LOCKED: "magenta",
    Unlock.REFUSED: "cyan",
    Unlock.NOT_PREDICTED: "dim",
}


def show(given: Answer, console: Console) -> None:
    """Print an answer."""
    for part in _parts(given):
        console.print(part, highlight=False, markup=False, emoji=False)


def _parts(given: Answer) -> Iterator[RenderableType]:
    yield Text(f"{plain(given.policy)}, opened by {given.stack.value}", "bold")
    yield Text("From the rules; nothing was booted.", "dim")
    for fact in given.facts:
        yield Text(plain(fact), "dim")
    if given.advice:
        yield _advice(given.advice)
    for volume in given.volumes:
        yield Text("")
        yield _tree(volume)
        if volume.withheld:
            yield Text(f"Nothing is predicted: {plain(volume.withheld)}", "bold yellow")
            continue
        for made_of in volume.measured:
            yield Text(f"PCR {made_of.pcr} changes with any of: {plain('; '.join(made_of.subjects))}")
        yield _conditions(volume.conditions)
        yield _attackers(volume.attackers)


def _advice(warnings: tuple[Advice, ...]) -> Table:
    lines = Table.grid("", "", padding=(0, 1))
    for each in warnings:
        what = Text.assemble((f"{plain(each.volume)}: ", "bold"), plain(each.text), (f"  [{each.source}]", "dim"))
        lines.add_row(Text("!", "bold yellow"), what)
    return lines


def _tree(volume: VolumeAnswer) -> Tree:
    where = f" on {volume.mount_point}" if volume.mount_point else ""
    root = Tree(Text(plain(f"volume {volume.name}{where}"), "bold"))
    _grow(root, volume.tree)
    return root


def _grow(node: Tree, branch: Branch) -> None:
    inner = node.add(Text(plain(branch.text)))
    for child in branch.children:
        _grow(inner, child)


def _conditions(lines: tuple[ConditionAnswer, ...]) -> Table:
    table = Table("when", "it does", "because", "boots", box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for line in lines:
        outcome = Text(line.unlock.value, _COLOURS[line.unlock])
        table.add_row(line.about, outcome, Text(plain(line.reason)), _recorded(line.recorded))
    return table


def _attackers(lines: tuple[AttackerAnswer, ...]) -> Table:
    table = Table("attacker", "gets the key", "because", "boots", box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for line in lines:
        outcome = Text("extracted", "bold red") if line.extracted else Text("resisted", "green")
        table.add_row(line.about, outcome, Text(plain(line.reason)), _recorded(line.recorded))
    return table


def _recorded(recorded: Recorded) -> Text:
    if recorded.contradicted:
        return Text(f"{recorded.contradicted} differ", "bold red")
    return Text(
        f"{recorded.confirmed} agree" if recorded.confirmed else "none yet", "" if recorded.confirmed else "dim"
    )
