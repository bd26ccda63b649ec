"""What real boots said of volumes like those of a policy: the kept lists, read by shape.

``docs/truth-table.csv`` has the verdicts of the truth table, ``docs/attacks.csv`` those of attacks. A row of either is
named after a policy of this project, whose shape is looked up here, so that a stranger's file finds its like.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from harness.attack.grants import Grant
from harness.evidence import attack_list
from harness.explain.answer import AttackVerdicts, Granted, Recorded, Verdicts
from harness.explain.shape import Shape, nameless, numbered, shape
from harness.matrix.table_rows import TableRow
from harness.matrix.verdicts import load
from harness.policy.policy import Volume
from harness.policy.world import Stack
from harness.unlock import agrees


def of_truth_table(rows: Iterable[TableRow], shapes: Collection[Shape], path: Path) -> Verdicts:
    """The verdicts of a truth table by stack, shape and condition.

    Args:
        rows: Of the table.
        shapes: Those asked about; to predict the cells of all others takes most of a second.
        path: The list.

    Raises:
        UsageError: It is no such list.
    """
    verdicts = load(path)
    found: dict[tuple[Stack, Shape, str], Counter[bool]] = defaultdict(Counter)
    for row in rows:
        shaped = shape(row.volume)
        for condition in row.conditions if shaped in shapes else ():
            verdict = verdicts.get(row.place(condition))
            if verdict and verdict.observed:
                key = (row.stack, shaped, nameless(condition.name, numbered(row.volume)))
                found[key][agrees(verdict.observed, row.predicted(condition))] += 1
    return {key: Recorded(count[True], count[False]) for key, count in found.items()}


def of_attacks(volumes: Mapping[str, Volume], path: Path) -> AttackVerdicts:
    """The verdicts of attacks by shape and attack.

    Args:
        volumes: What guards are called in the list, and the volumes that they are.
        path: The list; one that is not there says nothing.

    Raises:
        UsageError: It is no such list.
    """
    found: dict[tuple[Shape, str, Granted], Counter[bool]] = defaultdict(Counter)
    for verdict in attack_list.load(path):
        if verdict.guard in volumes:
            granted = Grant.NETWORK in verdict.grants, Grant.TPM_STATE in verdict.grants
            found[shape(volumes[verdict.guard]), verdict.attack, granted][verdict.extracted] += 1
    return found
