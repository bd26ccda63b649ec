"""An answer in a terminal: what comes to the same stands together, and nothing of it is lost."""

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

from rich.console import Console

from harness.defaults import IMAGE
from harness.explain.answer import Answer, Recorded
from harness.explain.command import explained
from harness.explain.show import show

SEED = Path(__file__).parents[2] / "scenarios" / "policies" / "seed-000.bu"


def shown(answer: Answer) -> str:
    console = Console(file=StringIO(), width=4000)
    show(answer, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_every_condition_and_attacker_stands_there_once() -> None:
    answer = explained(SEED, IMAGE)
    (volume,) = answer.volumes
    said = [each.strip() for line in shown(answer).splitlines() for each in re.split(r" · | {2,}", line)]
    for about in [each.about for each in volume.conditions] + [each.about for each in volume.attackers]:
        assert said.count(about) == 1, about


def test_boots_are_counted_together_but_for_those_that_differ() -> None:
    answer = explained(SEED, IMAGE)
    (volume,) = answer.volumes
    recorded = {
        "present": Recorded(2),
        "boot-entry": Recorded(3),
        "dbx-updated": Recorded(5, 1),
        "key-enrolled": Recorded(),
    }
    conditions = tuple(
        replace(line, recorded=recorded[line.condition]) for line in volume.conditions if line.condition in recorded
    )
    text = shown(replace(answer, volumes=(replace(volume, conditions=conditions, attackers=()),)))
    words = " ".join(text.split())
    assert "nothing is changed · one more boot entry because tpm2 and tang answer (5 boots agree)" in words
    assert "one more hash in dbx because tpm2 and tang answer (1 boot differs)" in words
    assert "one more key in db because tpm2 and tang answer (no boot yet)" in words
