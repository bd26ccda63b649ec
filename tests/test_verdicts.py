"""The oracle against what real boots did: `verdicts.csv` is the ``artifacts/matrix.csv`` that ``make matrix`` wrote."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.matrix.cells import Place
from harness.matrix.command import shares
from harness.matrix.conditions import all_conditions
from harness.policy.oracle import Prediction, predict

with (Path(__file__).parent / "verdicts.csv").open(newline="") as file:
    SEEN = {(row["stack"], row["policy"], row["condition"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> dict[Place, Prediction]:
    return dict(predictions(tmp_path_factory.mktemp("artifacts")))


def predictions(artifacts: Path) -> Iterator[tuple[Place, Prediction]]:
    conditions = {condition.name: condition for condition in all_conditions()}
    for share in shares(None, [], [], artifacts, "tcg"):
        for column in share.columns:
            world = conditions[column].world_of(share.policy.tang_servers)
            for volume in conditions[column].becomes(share.policy.volumes):
                yield (share.image, share.row(volume), column), predict(volume, world, share.stack)


def test_each_place_is_one_of_the_table(predicted: dict[Place, Prediction]) -> None:
    assert SEEN
    assert set(SEEN) <= set(predicted)


def test_the_oracle_says_what_was_seen(predicted: dict[Place, Prediction]) -> None:
    differing = {
        place: (row["observed"], said.unlock.value, said.reason)
        for place, row in SEEN.items()
        if row["observed"] != (said := predicted[place]).unlock.value
    }
    assert not differing


def test_only_pins_that_the_oracle_expects_to_fail_did(predicted: dict[Place, Prediction]) -> None:
    more = {
        place: (failed, predicted[place].failed_pins)
        for place, row in SEEN.items()
        if not (failed := set(row["failed_pins"].split())) <= predicted[place].failed_pins
    }
    assert not more
