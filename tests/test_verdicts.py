"""The list of verdicts, and the oracle against the one that real boots left: ``make matrix ARGS='--record LIST'``."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.matrix import command, verdicts
from harness.matrix.cells import Cell, Matrix, Place
from harness.matrix.command import shares
from harness.matrix.conditions import all_conditions
from harness.matrix.verdicts import Verdict
from harness.policy.oracle import Prediction, predict
from harness.unlock import Unlock

SEEN = verdicts.load(Path(__file__).parent / "verdicts.csv")


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
        place: (seen.observed, said.unlock, said.reason)
        for place, seen in SEEN.items()
        if seen.observed is not (said := predicted[place]).unlock
    }
    assert not differing


def test_only_pins_that_the_oracle_expects_to_fail_did(predicted: dict[Place, Prediction]) -> None:
    more = {
        place: (seen.failed_pins, predicted[place].failed_pins)
        for place, seen in SEEN.items()
        if not seen.failed_pins <= predicted[place].failed_pins
    }
    assert not more


# The list.

HEAD = "stack,policy,condition,observed,failed_pins"
OPENS, ASKS = Verdict(Unlock.AUTO), Verdict(Unlock.PASSPHRASE_FALLBACK, frozenset({"two", "tpm2"}))


def test_it_has_a_line_for_each_cell(tmp_path: Path) -> None:
    cell = Cell("tpm2", "debian-13", "control", Unlock.AUTO, Unlock.AUTO, "tpm2 answers")
    asks = replace(cell, policy='a, "b"', observed=ASKS.observed, failed_pins=ASKS.failed_pins)
    broken = replace(cell, policy="tang", observed=None, error="RigError: a panic")
    found = verdicts.verdicts(Matrix((cell, asks, broken)))
    verdicts.save(found, tmp_path / "list.csv")
    assert (tmp_path / "list.csv").read_text().splitlines() == [
        HEAD,
        "debian-13,tpm2,control,auto-unlock,",
        'debian-13,"a, ""b""",control,passphrase-fallback,tpm2 two',
        "debian-13,tang,control,,",
    ]
    assert verdicts.load(tmp_path / "list.csv") == found


def test_what_is_recorded_replaces_its_own_place_and_loses_no_other(tmp_path: Path) -> None:
    here, there, mine, elsewhere = (("s", policy, "c") for policy in ("here", "there", "mine", "elsewhere"))
    path = tmp_path / "list.csv"
    verdicts.record({mine: OPENS, there: OPENS}, path, [])
    verdicts.record({there: ASKS, here: OPENS, mine: Verdict(None)}, path, [here, there, elsewhere])
    assert list(verdicts.load(path).items()) == [(here, OPENS), (there, ASKS), (mine, OPENS)]


def test_the_command_records_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("tpm2", "debian-13", "present", Unlock.AUTO, Unlock.AUTO, "tpm2 answers")
    monkeypatch.setattr(command, "fill", lambda _: (Matrix((cell,)), ()))
    path, artifacts = tmp_path / "list.csv", tmp_path / "artifacts"
    artifacts.mkdir()
    verdicts.save({("debian-13", "tpm2", "tpm-absent"): ASKS}, path)
    assert command.main(["--only", "present", "--artifacts", str(artifacts), "--record", str(path)]) == 0
    assert list(verdicts.load(path)) == [cell.place, ("debian-13", "tpm2", "tpm-absent")]
    assert verdicts.load(artifacts / "matrix.csv") == {cell.place: OPENS}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "line 1"),
        ("stack,policy\n", "line 1"),
        (f"{HEAD}\na,b,c,auto-unlock,\na,b,c,opened,\n", "line 3: 'opened'"),
        (f"{HEAD}\na,b,c\n", "line 2"),
        (f'{HEAD}\n"a', "line 2"),
    ],
)
def test_what_is_no_list_is_left_alone_and_says_where(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        verdicts.record({("s", "p", "c"): OPENS}, path, [])
    assert caught.value.detail.startswith(where)
    assert path.read_text() == text
