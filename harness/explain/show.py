"""An answer in a terminal: warnings first, then each volume's tree, conditions and attackers, those alike together."""

from collections.abc import Iterable, Iterator

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
_Line = ConditionAnswer | AttackerAnswer
_Outcome = tuple[str, str]
"""In words, and its style."""

_STANDINGS = {"differ": "bold red", "agree": "", "": "dim"}


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
    return _alike("it does", "when, and why", ((line, (line.unlock.value, _COLOURS[line.unlock])) for line in lines))


def _attackers(lines: tuple[AttackerAnswer, ...]) -> Table:
    said = {True: ("extracted", "bold red"), False: ("resisted", "green")}
    return _alike("result", "attacker, and why", ((line, said[line.extracted]) for line in lines))


def _alike(does: str, what: str, lines: Iterable[tuple[_Line, _Outcome]]) -> Table:
    """Lines that come to the same for the same reason stand together, in the order of the first of them."""
    groups: dict[tuple[_Outcome, str, str], list[_Line]] = {}
    for line, outcome in lines:
        groups.setdefault((outcome, line.reason, _standing(line.recorded)), []).append(line)
    table = Table(does, what, box=SIMPLE_HEAD, pad_edge=False, expand=True)
    table.columns[1].ratio = 1
    for (outcome, reason, standing), alike in groups.items():
        boots = sum(line.recorded.contradicted or line.recorded.confirmed for line in alike)
        table.add_row(
            Text(*outcome),
            Text.assemble(
                plain(" · ".join(line.about for line in alike)),
                (f"\nbecause {plain(reason)} ", "dim"),
                (f"({_counted(boots, standing)})", _STANDINGS[standing]),
            ),
        )
    return table


def _standing(recorded: Recorded) -> str:
    return "differ" if recorded.contradicted else "agree" if recorded.confirmed else ""


def _counted(boots: int, standing: str) -> str:
    if not boots:
        return "no boot yet"
    return f"1 boot {standing}s" if boots == 1 else f"{boots} boots {standing}"
