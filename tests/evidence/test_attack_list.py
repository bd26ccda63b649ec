"""The list of what attackers got: which tries are lines of it, and that a run replaces what it tried again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.evidence import attack_list, command
from harness.evidence.attack_list import AttackVerdict
from harness.evidence.attacks import Attack, Attempt
from harness.evidence.record import OUTCOME, Result, Scenario, document

NEAR = ("disk", "network")
CLONE = Scenario(
    "scenarios/test_attack_disk.py::test_disk_clone[trixie]",
    Result.PASSED,
    attack=Attack(
        NEAR,
        (
            Attempt("tang", NEAR, True, "boot-1"),
            Attempt("tpm2", NEAR, False, "boot-1"),
            Attempt("tang", NEAR, True, "boot-1", control=True),
        ),
    ),
)
TANG, TPM2 = (AttackVerdict("disk-clone", NEAR, name, name == "tang") for name in ("tang", "tpm2"))


def of(*scenarios: Scenario) -> list[AttackVerdict]:
    return list(attack_list.verdicts(map(document, scenarios)))


def test_each_try_is_a_line_and_a_control_is_none() -> None:
    assert of(CLONE) == [TANG, TPM2]


@pytest.mark.parametrize("result", [Result.FAILED, Result.ERROR, Result.UNFINISHED])
def test_what_stayed_shut_counts_only_where_the_test_passed(result: Result) -> None:
    assert of(replace(CLONE, result=result)) == [TANG]


def test_what_is_no_scenario_of_ours_is_no_line() -> None:
    assert of(replace(CLONE, test="prove::disk-clone[tang-debian-13-1]"), replace(CLONE, attack=None)) == []


def run(root: Path, scenario: Scenario) -> None:
    folder = root / scenario.test.rpartition("::")[2]
    folder.mkdir(parents=True)
    (folder / OUTCOME).write_text(json.dumps(document(scenario)))


def test_a_run_replaces_what_it_tried_again_and_leaves_the_rest(tmp_path: Path) -> None:
    path, first, second = tmp_path / "attacks.csv", tmp_path / "first", tmp_path / "second"
    run(first, CLONE)
    run(second, replace(CLONE, attack=Attack(NEAR, (Attempt("tpm2", NEAR, True, "boot-1"),))))
    (second / "cut-off").mkdir()
    (second / "cut-off" / OUTCOME).write_text("{")
    assert command.main([str(first), "--record", str(path)]) == 0
    assert attack_list.load(path) == (TANG, TPM2)
    for _ in range(2):
        assert command.main([str(second), "--record", str(path)]) == 0
    assert attack_list.load(path) == (TANG, replace(TPM2, extracted=True))
    assert command.main([str(second), "--record", str(tmp_path / ".hidden.csv")]) == 0
    assert path.read_text().splitlines()[:2] == ["attack,grants,guard,extracted", "disk-clone,disk network,tang,X"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a,b\n", 1), ("attack,grants,guard,extracted\na,b,c,Y\n", 2), ("attack,grants,guard,extracted\na\n", 2)],
)
def test_what_is_no_list_is_told_with_its_line_and_left_as_it_is(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "attacks.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match="is no list of attacks") as caught:
        command.main([str(tmp_path), "--record", str(path)])
    assert f"line {line}" in caught.value.detail
    assert path.read_text() == text


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        command.main([str(tmp_path / "none"), "--record", str(tmp_path / "attacks.csv")])
    assert not (tmp_path / "attacks.csv").exists()
