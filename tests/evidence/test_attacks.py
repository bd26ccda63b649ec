"""The matrix of attacks: what was observed, test by test, put side by side."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.evidence import artifacts, report, terminal
from harness.evidence.attacks import Attack, Attempt, attack_rows, guards
from harness.evidence.record import Result, Scenario, document


def scenario(test: str, *tries: Attempt) -> Scenario:
    granted = tuple(sorted({grant for attempt in tries for grant in attempt.grants}))
    return Scenario(f"scenarios/test_attack.py::{test}", Result.PASSED, attack=Attack(granted, tries))


NEAR = ("disk", "network")
CLONE = scenario(
    "test_disk_clone[trixie]",
    Attempt("tang", NEAR, True, "attacker-shell.log"),
    Attempt("tpm2", NEAR, False, "boot-1"),
    Attempt("tang", ("disk",), False, "attacker-shell.log"),
)
OTHER_BUILD = scenario("test_disk_clone[bookworm]", Attempt("tang", NEAR, False, "../foreign-file"))
DUMP = scenario("test_ram_dump", Attempt("tang", (), True, ""))
NO_ATTACK = Scenario("scenarios/test_tang.py::test_tang_down", Result.PASSED)
DOCUMENTS = [document(each) for each in (DUMP, NO_ATTACK, CLONE, OTHER_BUILD)]


def test_a_line_is_an_attack_with_its_grants_and_a_cell_holds_all_tries() -> None:
    lines = attack_rows(DOCUMENTS)
    assert [(line.attack, line.grants) for line in lines] == [
        ("disk-clone", ("disk",)),
        ("disk-clone", NEAR),
        ("ram-dump", ()),
    ]
    cells = {guard: [mark.letter for mark in marks] for guard, marks in lines[1].cells.items()}
    assert cells == {"tang": ["X", "R"], "tpm2": ["R"]}
    assert guards(lines) == ("tang", "tpm2")


@pytest.mark.parametrize("result", [Result.FAILED, Result.ERROR, Result.UNFINISHED])
def test_what_stayed_shut_in_a_test_that_did_not_pass_did_not_resist(result: Result) -> None:
    """Its control may be what failed: a server that was out of reach, say. What was printed is proof all the same."""
    (far, near) = attack_rows([document(replace(CLONE, result=result))])
    assert {guard: [mark.letter for mark in marks] for guard, marks in near.cells.items()} == {
        "tang": ["X"],
        "tpm2": ["?"],
    }
    assert (near.guards(extracted=True), near.guards(extracted=False)) == (["tang"], [])
    assert far.cells["tang"][0].meaning == "nothing was printed, and the test did not pass"


def test_what_nobody_attacked_has_no_matrix() -> None:
    assert attack_rows([document(NO_ATTACK)]) == ()
    assert "attacks" not in terminal.summary([document(NO_ATTACK)])


def test_the_terminal_says_what_fell_and_what_stood() -> None:
    text = terminal.summary(DOCUMENTS)
    assert "attacks: X extracted, R resisted" in text
    rows = [line.split() for line in text.splitlines() if line.strip().startswith("disk-clone")]
    assert rows == [
        ["disk-clone:", "disk", "R", "tang"],
        ["disk-clone:", "disk,", "network", "X", "tang", "R", "tang,", "tpm2"],
    ]
    assert all(len(line) <= 80 for line in text.splitlines())


def test_each_mark_of_the_page_leads_to_what_shows_it_and_nowhere_else(tmp_path: Path) -> None:
    artifacts.claimed_root(tmp_path)
    (tmp_path / "foreign-file").write_text("of another user")
    for each in (DUMP, CLONE, OTHER_BUILD):
        folder = artifacts.open_folder(tmp_path, each.test)
        artifacts.save(folder, {"attacker-shell.log": "said"})
        artifacts.save_boot(folder, "boot-1", {artifacts.CONSOLE: "said"})
        artifacts.save_outcome(folder, each)
    page = report.render(tmp_path, tmp_path)
    marks = [part.partition("</")[0] for part in page.split('class="mark ')[1:]]
    assert [mark[0] for mark in marks] == ["R", "R", "X", "R", "X"]
    assert [("attacker-shell.log" in mark, "boot-1/console.log" in mark) for mark in marks] == [
        (True, False),
        (False, False),
        (True, False),
        (False, True),
        (False, False),
    ]
    assert "foreign-file" not in page


REPLAY = scenario(
    "test_pcr_reset_replay",
    Attempt("tpm2-pcr7", ("machine", "tpm-bus"), False, "attacker-shell.log", control=True),
    Attempt("tpm2-pcr7", ("machine", "tpm-bus"), True, "attacker-shell.log"),
)


def test_an_attempt_without_the_attack_is_its_control_and_is_shown_as_that() -> None:
    (line,) = attack_rows([document(REPLAY)])
    assert (line.guards(extracted=True), line.guards(extracted=False), line.controls) == (
        ["tpm2-pcr7"],
        [],
        ["tpm2-pcr7"],
    )
    assert [mark.letter for mark in line.cells["tpm2-pcr7"]] == ["C", "X"]
    assert line.cells["tpm2-pcr7"][0].meaning == "control: without the attack it stayed shut"
    words = " ".join(terminal.summary([document(REPLAY)]).split())
    assert "X tpm2-pcr7 C tpm2-pcr7" in words
    assert "R tpm2-pcr7" not in words


def test_a_control_is_no_try_of_the_attack() -> None:
    opened = Attempt("pin", (), True, "", control=True)
    assert Attack((), (opened,)).extracted is None
    assert Attack((), (opened, Attempt("pin", (), False, ""))).extracted is False


def test_a_document_of_before_has_no_controls() -> None:
    old = document(CLONE)
    for attempt in old["attack"]["tries"]:
        del attempt["control"]
    assert not any(line.controls for line in attack_rows([old]))
