"""The whole suite's page: of real runs' evidence, whole or in part."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import runs, suite
from harness.campaign.durations import Durations, Installed
from harness.campaign.runs import Run
from harness.campaign.schedule import Job
from harness.errors import UsageError

A, B, C = "scenarios/test_x.py::test_a", "scenarios/test_x.py::test_b[p|q]", "scenarios/test_y.py::test_c"
JOBS = [Job(A, "m"), Job(B, "m"), Job(C, "n")]
KNOWN = Durations(1.0, {A: 60.0, B: 70.0}, {"m": Installed(100.0, "")})


def document(test: str, started: str, result: str = "passed", *boots: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "test": test,
        "started": f"2026-11-{started}T08:00:00+00:00",
        "result": result,
        "boots": list(boots),
        **more,
    }


def boot(unlock: str, end: float) -> dict[str, Any]:
    return {"unlock": unlock, "seconds": {"end": end}}


def error(what: str) -> dict[str, str]:
    return {"kind": "RigError", "what": what, "detail": "", "hint": ""}


def told(*documents: dict[str, Any]) -> list[Run]:
    return list(runs.runs(documents))


def test_a_run_tells_what_each_disk_did_and_when_or_why_there_is_no_verdict() -> None:
    assert told(
        document(A, "01", "passed", boot("auto-unlock", 33.6), boot("locked", 55.0)),
        document(B, "02", "error", error=error("the guest\ndied")),
        document(C, "03", "error", {"error": error("QEMU ended")}, error=None),
    ) == [
        Run(A, "2026-11-01T08:00:00+00:00", "passed", "auto-unlock 34 s, locked 55 s", ""),
        Run(B, "2026-11-02T08:00:00+00:00", "error", "", "RigError: the guest died"),
        Run(C, "2026-11-03T08:00:00+00:00", "error", "", "RigError: QEMU ended"),
    ]


def test_what_was_cut_off_or_is_not_ours_is_no_run() -> None:
    others = (document(A, "01", "unfinished"), document("install::m", "01"), document("test_mine.py::test_m", "01"))
    assert told(*others, {"test": A, "result": "passed", "boots": []}) == []


def test_repeated_runs_are_runs_of_one_scenario() -> None:
    first, second = document(A + "[run-1]", "01"), document(A + "[run-2]", "02")
    assert [run.test for run in told(first, second)] == [A, A]


def test_the_newest_run_with_a_verdict_counts() -> None:
    first, second, third = told(document(A, "01", "failed"), document(A, "02"), document(A, "03", "error"))
    assert suite.verdict([first]) == "failed"
    assert suite.verdict([first, second, third]) == "passed"
    assert suite.verdict([third]) == "no verdict"
    assert suite.verdict([]) == "no run"


def test_the_page_says_what_has_not_run_what_broke_and_how_long_it_takes() -> None:
    found = told(
        document(A, "02", "passed", boot("auto-unlock", 34.0)),
        document(A, "01", "failed", boot("locked", 34.0)),
        document(B, "01", "error", error=error("the | guest")),
        document("scenarios/test_x.py::test_gone", "01"),
    )
    page = suite.page(JOBS, found, KNOWN)
    assert (
        "3 scenarios in 2 machines: 1 passed, 0 failed, 1 no verdict, 1 no run. 3 runs, 1 of them without a verdict."
        in page
    )
    assert "2 of 3 scenarios and 1 of 2 installations; of the others" in page
    assert "| `test_a` | passed | auto-unlock 34 s | 2026-11-02 | 2 | 60 s |" in page
    assert "| `test_b[p\\|q]` | **no verdict** |  | 2026-11-01 | 1 | 70 s |" in page
    assert "| `test_c` | **no run** |  |  |  |  |" in page
    assert "| `test_b[p\\|q]` | 2026-11-01 | RigError: the \\| guest |" in page
    assert "| m | 2 | 2 min |" in page
    assert "| n | 1 |  |" in page
    assert "test_gone" not in "\n".join(page)


def test_in_a_few_lines_what_did_not_pass_is_named() -> None:
    found = told(
        document(A, "01", "failed", boot("locked", 34.0)),
        document(B, "01", "error", error=error("the guest died")),
        document(A, "02", "error", error=error("QEMU ended")),
        document(C, "01", "failed"),
    )
    assert suite.summary(JOBS, found)[1:] == [
        "  failed: test_a: locked 34 s",
        "  no verdict: test_b[p|q]: RigError: the guest died",
        "  failed: test_c",
    ]


def test_the_same_evidence_is_counted_once(tmp_path: Path) -> None:
    path, (first, second) = tmp_path / "suite.csv", told(document(A, "01"), document(A, "02", "failed"))
    assert runs.record([second], path) == (second,)
    assert runs.record([first, second], path) == (first, second)
    assert runs.load(path) == (first, second)


@pytest.mark.parametrize("text", ["", "a,b\n", "test,started,result,disks,error\na,b,fine,,\n"])
def test_what_is_no_list_is_told_with_its_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "suite.csv").write_text(text)
    with pytest.raises(UsageError, match="no list of runs") as refused:
        suite.main(["--record", str(tmp_path / "suite.csv")])
    assert "line " in refused.value.detail


def test_without_evidence_there_is_nothing_to_tell() -> None:
    with pytest.raises(UsageError, match="no evidence"):
        suite.main([])


def test_the_page_lies_beside_its_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "collected", lambda _: JOBS)
    folder = tmp_path / "artifacts" / "a"
    folder.mkdir(parents=True)
    (folder / "outcome.json").write_text(json.dumps({"schema": 1, **document(A, "01")}))
    assert suite.main(["--record", str(tmp_path / "suite.csv"), str(folder.parent)]) == 0
    assert "| `test_a` | passed |" in (tmp_path / "suite.md").read_text()
    assert suite.main([str(folder.parent)]) == 0
    assert capsys.readouterr().out == (
        "3 scenarios in 2 machines: 1 passed, 0 failed, 0 no verdict, 2 no run. 1 runs, 0 of them without a verdict.\n"
    )


def test_a_page_of_another_beside_the_list_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "collected", lambda _: JOBS)
    (tmp_path / "notes.md").write_text("mine\n")
    with pytest.raises(UsageError, match=r"notes.md is not ours to replace"):
        suite.main(["--record", str(tmp_path / "notes.csv")])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.md"]
    assert (tmp_path / "notes.md").read_text() == "mine\n"
    with pytest.raises(UsageError, match="where the page goes"):
        suite.main(["--record", str(tmp_path / "new.md")])


def test_a_page_that_it_wrote_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "collected", lambda _: JOBS)
    for _ in range(2):
        assert suite.main(["--record", str(tmp_path / "suite.csv")]) == 0
