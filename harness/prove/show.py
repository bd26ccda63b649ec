"""What the rules said and what was booted, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.errors import ControlError
from harness.evidence.record import Document
from harness.explain.answer import Answer
from harness.matrix.cells import Cell, Matrix
from harness.plain import plain
from harness.prove.attacks import AttackLine
from harness.prove.plan import CONTROL, Step
from harness.unlock import Unlock, agrees

_INDENT = (0, 0, 0, 2)


@dataclass(frozen=True)
class Line:
    """One condition and one volume.

    Attributes:
        volume: Its name.
        condition: What was booted.
        stands_for: The other conditions of its class.
        predicted: By the rules.
        observed: By a boot, or None when there is no verdict.
        why: What the judge, or the error, says of it.
        evidence: Its folder.
    """

    volume: str
    condition: str
    stands_for: tuple[str, ...]
    predicted: Unlock
    observed: Unlock | None
    why: str
    evidence: str

    @property
    def agrees(self) -> bool:
        """Whether the disk did what the rules say, or anything where they say nothing."""
        return agrees(self.observed, self.predicted)


def lines_of(answer: Answer, steps: Sequence[Step], rows: Sequence[str], matrix: Matrix) -> Iterator[Line]:
    """What each step told of each volume.

    Args:
        answer: What the rules say.
        steps: One that takes no boot is the control, in which all opened by itself: else there were no sealed machine.
        rows: What the volumes are called in the table of what was booted.
        matrix: That table.
    """
    cells: dict[tuple[str, str], Cell] = {(cell.policy, cell.condition): cell for cell in matrix.cells}
    for step in steps:
        for number, volume in enumerate(answer.volumes):
            predicted = next(line.unlock for line in volume.conditions if line.condition == step.condition)
            if not step.boots:
                opened = "it opened by itself, or it would not have been installed"
                yield Line(volume.name, step.condition, step.stands_for, predicted, Unlock.AUTO, opened, "")
            elif cell := cells.get((rows[number], step.condition)):
                said = cell.seen or cell.error
                yield Line(volume.name, step.condition, step.stands_for, predicted, cell.observed, said, cell.evidence)


def show(answer: Answer, lines: Sequence[Line], attacked: Sequence[AttackLine], console: Console) -> int:
    """Print both; returns 0 when they agree everywhere."""
    table = _table("when", "volume", "the rules", "the boot")
    for line in lines:
        observed = line.observed.value if line.observed else "no verdict"
        mark = "" if line.agrees else "bold red"
        table.add_row(line.condition, plain(line.volume), line.predicted.value, Text(observed, mark))
    console.print(table)
    for part in _reasons(lines):
        console.print(part)
    if attacked:
        console.print(_attack_table(attacked))
    wrong = [line for line in lines if not line.agrees]
    beaten = [line for line in attacked if not line.agrees]
    places = [(line.volume, line.condition, line.evidence) for line in wrong]
    places += [(line.volume, line.attacker, line.evidence) for line in beaten]
    for volume, subject, evidence in places:
        console.print(Text(f"✗ {plain(volume)}, {subject}: see {evidence}", "red"))
    told = len({name for line in lines for name in (line.condition, *line.stands_for)})
    console.print(
        f"{answer.policy}: {told} conditions told, {len(wrong)} of {len(lines)} lines otherwise than the rules; "
        f"{len(attacked)} attackers played, {len(beaten)} otherwise"
    )
    return 1 if wrong or beaten else 0


def _table(*heads: str) -> Table:
    """One whose verdicts are whole on a narrow terminal."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold" if head == "volume" else "ellipsis", no_wrap=head != "volume")
    return table


def _reasons(lines: Sequence[Line]) -> Iterator[RenderableType]:
    """Each boot with the conditions that it stands for, and what the judge says of each volume."""
    for condition, told in groupby(lines, lambda line: line.condition):
        of_volumes = list(told)
        yield Text.assemble(
            (condition, "bold"), *[(f" ({each.evidence})", "dim") for each in of_volumes[:1] if each.evidence]
        )
        if stands_for := of_volumes[0].stands_for:
            yield Padding(Text(f"and so {', '.join(stands_for)}", "dim"), _INDENT)
        for line in of_volumes:
            yield Padding(Text(f"{plain(line.volume)}: {plain(line.why)}"), _INDENT)
    yield Text("")


def _attack_table(attacked: Sequence[AttackLine]) -> Table:
    table = _table("attacker", "volume", "the rules", "the attack")
    for line in attacked:
        observed = Text("extracted" if line.observed else "resisted", "" if line.agrees else "bold red")
        table.add_row(line.attacker, plain(line.volume), "extracted" if line.predicted else "resisted", observed)
    return table


def never_opens(answer: Answer, error: ControlError, document: Document, console: Console) -> int:
    """Print what became of a file that does not open by itself; returns 0 when the rules say the same.

    Args:
        answer: What the rules say.
        error: Why there is no sealed machine.
        document: The evidence of the installation, the control boot last.
        console: Where to print.
    """
    boot = document["boots"][-1]
    same = True
    table = _table("volume", "the rules", "the control boot")
    reasons = []
    for volume in answer.volumes:
        predicted = next(line.unlock for line in volume.conditions if line.condition == CONTROL)
        seen = boot["volumes"].get(volume.name, boot)
        as_predicted = agrees(Unlock(seen["unlock"]), predicted)
        same &= as_predicted
        observed = Text(seen["unlock"], "" if as_predicted else "bold red")
        table.add_row(plain(volume.name), predicted.value, observed)
        reasons.append(Text(f"{plain(volume.name)}: {plain(seen['reason'])}"))
    console.print(table)
    for reason in reasons:
        console.print(reason)
    console.print(f"{answer.policy} never opens by itself; nothing else was booted, since it would show nothing.")
    console.print(f"The evidence: {error.evidence}", highlight=False)
    return 0 if same else 1
