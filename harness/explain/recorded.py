"""What real boots said of volumes like those of a policy: the kept lists, read by shape.

``docs/truth-table.csv`` has the verdicts of the truth table, ``docs/attacks.csv`` those of attacks. A row of either is
named after a policy of this project, whose shape is looked up here, so that a stranger's file finds its like.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from harness.evidence import attack_list
from harness.explain.answer import AttackVerdicts, Recorded, Verdicts
from harness.explain.shape import Shape, nameless, numbered, shape
from harness.matrix.run import MachinePlan
from harness.matrix.verdicts import load
from harness.policy.policy import Volume
from harness.policy.world import Stack


def of_truth_table(plans: Iterable[MachinePlan], shapes: Collection[Shape], path: Path) -> Verdicts:
    """The verdicts of a truth table by stack, shape and condition.

    Args:
        plans: The machines of the table.
        shapes: Those asked about; to predict the cells of all others takes most of a second.
        path: The list.

    Raises:
        UsageError: It is no such list.
    """
    verdicts = load(path)
    found: dict[tuple[Stack, Shape, str], Counter[bool]] = defaultdict(Counter)
    for plan in plans:
        of_row = {plan.row(volume): volume for volume in plan.policy.volumes if shape(volume) in shapes}
        for condition in plan.conditions if of_row else ():
            for _, cell in plan.predicted(condition):
                volume, verdict = of_row.get(cell.policy), verdicts.get(cell.place)
                if volume is None or verdict is None or verdict.observed is None:
                    continue
                key = (plan.stack, shape(volume), nameless(condition.name, numbered(volume)))
                found[key][verdict.observed is cell.predicted] += 1
    return {key: Recorded(count[True], count[False]) for key, count in found.items()}


def of_attacks(volumes: Mapping[str, Volume], path: Path) -> AttackVerdicts:
    """The verdicts of attacks by shape and attack.

    Args:
        volumes: What guards are called in the list, and the volumes that they are.
        path: The list; one that is not there says nothing.

    Raises:
        UsageError: It is no such list.
    """
    found: dict[tuple[Shape, str], Counter[bool]] = defaultdict(Counter)
    for verdict in attack_list.load(path):
        if verdict.guard in volumes:
            found[shape(volumes[verdict.guard]), verdict.attack][verdict.extracted] += 1
    return found
