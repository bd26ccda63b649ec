"""The list of verdicts, and the oracle against the one that real boots left: ``make matrix ARGS='--record LIST'``."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HostError, UsageError
from harness.matrix import command, verdicts
from harness.matrix.cells import Cell, Matrix
from harness.matrix.command import machine_plans, recorded
from harness.matrix.picture import write_svg
from harness.matrix.verdicts import Verdict
from harness.unlock import Unlock

LIST = Path(__file__).parents[2] / "docs/truth-table.csv"
SEEN = verdicts.load(LIST)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return recorded(machine_plans([], [], [], tmp_path_factory.mktemp("artifacts"), "tcg"), SEEN)


def test_each_place_is_one_of_the_table(table: Matrix) -> None:
    assert SEEN
    assert set(SEEN) <= set(table.at)


def test_the_oracle_says_what_was_seen(table: Matrix) -> None:
    listed = [cell for cell in table.cells if cell.place in SEEN]
    assert {cell.place: (cell.observed, cell.predicted, cell.reason) for cell in listed if not cell.agrees} == {}


def test_only_pins_that_the_oracle_expects_to_fail_did(table: Matrix) -> None:
    more = {cell.place: (cell.failed_pins, cell.predicted_failed_pins) for cell in table.cells}
    assert {place: pins for place, pins in more.items() if not pins[0] <= pins[1]} == {}


def test_the_picture_in_the_docs_is_that_of_the_list(table: Matrix, tmp_path: Path) -> None:
    """What makes it: ``python -m harness matrix --draw docs/truth-table.csv``."""
    write_svg(table, tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_text() == LIST.with_suffix(".svg").read_text()


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
    monkeypatch.setattr(command, "boot_cells", lambda _: (Matrix((cell,)), ()))
    path, artifacts = tmp_path / "list.csv", tmp_path / "artifacts"
    artifacts.mkdir()
    verdicts.save({("debian-13", "tpm2", "tpm-absent"): ASKS}, path)
    assert command.main(["--only", "present", "--artifacts", str(artifacts), "--record", str(path)]) == 0
    assert list(verdicts.load(path)) == [cell.place, ("debian-13", "tpm2", "tpm-absent")]
    assert verdicts.load(artifacts / "matrix.csv") == {cell.place: OPENS}


def test_a_list_is_drawn_beside_it_and_nothing_is_booted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "boot_cells", None)
    present, absent = (("debian-13", "headless", column) for column in ("present", "tpm-absent"))
    path = tmp_path / "list.csv"
    asked = ["--draw", str(path), "--machine", "headless", "--only", "present"]
    verdicts.save({present: OPENS}, path)
    assert command.main(asked) == 0
    assert "1 cell, 0 differ from the prediction\n" in capsys.readouterr().out
    assert "headless, present" in path.with_suffix(".svg").read_text()
    assert command.main([*asked, "--only", "tpm-absent"]) == 1, "what the list lacks has no verdict"
    assert "no boot of it is in the list" in capsys.readouterr().out
    verdicts.save({present: ASKS, absent: Verdict(Unlock.LOCKED)}, path)
    assert command.main(asked) == 1, "it differs; the picture of before is replaced"
    path.with_suffix(".svg").write_text("<svg>a drawing of someone</svg>")
    with pytest.raises(UsageError, match="not ours to replace"):
        command.main(asked)
    assert path.with_suffix(".svg").read_text() == "<svg>a drawing of someone</svg>"
    out = capsys.readouterr().out
    assert "P≠A headless, present" in out
    assert "observed passphrase-fallback\n" in re.sub(" +\n", "\n", out)


def test_a_machine_that_a_list_does_not_know_is_left_out(tmp_path: Path) -> None:
    found = {("debian-13", "headless", "present"): OPENS}
    matrix = recorded(machine_plans([], [], [], tmp_path, "tcg"), found)
    assert {cell.policy for cell in matrix.cells} == {"headless"}
    assert [cell.observed for cell in matrix.cells if cell.condition == "present"] == [Unlock.AUTO]
    verdicts.save(found, tmp_path / "list.csv")
    with pytest.raises(UsageError, match="says nothing of these machines"):
        command.main(["--draw", str(tmp_path / "list.csv"), "--machine", "no-fallback-slot"])


def test_what_is_no_list_is_told_before_anything_is_booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "boot_cells", None)
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n")
    with pytest.raises(UsageError, match=r"notes\.txt is no list of verdicts"):
        command.main(["--record", str(path)])
    with pytest.raises(UsageError, match=r"nowhere\.csv cannot be read"):
        command.main(["--draw", str(tmp_path / "nowhere.csv")])


def test_a_list_that_cannot_be_read_is_told_without_the_number_of_an_error(tmp_path: Path) -> None:
    (tmp_path / "noise.csv").write_bytes(b"\xff\n")
    for name, why in (
        ("nowhere.csv", "No such file or directory"),
        (".", "Is a directory"),
        ("noise.csv", "it is no text: byte 0 is not UTF-8"),
    ):
        with pytest.raises(UsageError) as refused:
            command.main(["--draw", str(tmp_path / name)])
        assert refused.value.detail == why


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--record", "/proc/nowhere/list.csv"], "/proc/nowhere is no folder"),
        (["--artifacts", "/proc/nowhere"], "/proc/nowhere cannot be made"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_booted(
    options: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "boot_cells", None)
    with pytest.raises(HostError) as refused:
        command.main(["--artifacts", str(tmp_path / "artifacts"), *options])
    assert told in str(refused.value)


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
