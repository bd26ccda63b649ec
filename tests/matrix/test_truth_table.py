"""The truth table as scenarios use it: what is predicted there is what the table itself predicts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import UsageError
from harness.matrix import truth_table
from harness.matrix.command import machine_plans


@pytest.mark.parametrize("machine", ["by-butane", "in-initramfs"])
def test_a_scenario_is_told_what_the_table_predicts_of_each_volume(machine: str, tmp_path: Path) -> None:
    """Maintenance included: what a volume is bound to once its binding was edited, or is gone."""
    (plan,) = machine_plans([], [], [machine], tmp_path, "tcg")
    sealed: Any = SimpleNamespace(
        policy=plan.policy,
        context=SimpleNamespace(asked=dict.fromkeys(plan.policy.provided), image=SimpleNamespace(stack=plan.stack)),
    )
    for condition in plan.conditions:
        cells = {volume.name: cell.predicted for volume, cell in plan.predicted(condition)}
        assert truth_table.predicted(sealed, condition.name) == cells, condition.name


def test_a_condition_that_there_is_not_is_named() -> None:
    with pytest.raises(UsageError, match="no condition 'nowhere'"):
        truth_table.predicted(SimpleNamespace(), "nowhere")  # type: ignore[arg-type]
