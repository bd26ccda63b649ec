"""The rows that `explain` reads are those that the table's machines carry."""

from harness.explain.shape import shape
from harness.matrix.command import machine_plans
from harness.matrix.table_rows import table_rows
from harness.paths import DOCS


def test_each_row_is_of_the_shape_of_its_machines_volume_and_predicted_alike() -> None:
    plans = machine_plans([], [], [], DOCS, "auto")
    volumes = {(plan.image, plan.row(each)): each for plan in plans for each in plan.policy.volumes}
    cells = {
        cell.place: cell.predicted
        for plan in plans
        for condition in plan.conditions
        for _, cell in plan.predicted(condition)
    }
    rows = list(table_rows())
    assert {(row.image, row.name): shape(row.volume) for row in rows} == {
        place: shape(volume) for place, volume in volumes.items()
    }
    assert {row.place(each): row.predicted(each) for row in rows for each in row.conditions} == cells
