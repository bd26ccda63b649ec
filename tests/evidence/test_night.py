"""Two nights: the jobs of each merged, and what has changed between them."""

import json
import os
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.evidence import night
from harness.evidence.command import main
from harness.evidence.jobs import gather
from harness.evidence.night import Change


def job(folder: Path, tests: dict[str, tuple[str, ...]], versions: dict[str, str], cells: str = "") -> Path:
    """The artifacts of a job.

    Args:
        folder: Is made.
        tests: What each boot of a test was; a test that ends with "!" failed, one that ends with "?" has no verdict.
        versions: Of what took part.
        cells: Lines of matrix.csv.
    """
    for number, (test, unlocks) in enumerate(tests.items()):
        place = folder / f"test-{number}"
        place.mkdir(parents=True)
        result = {"!": "failed", "?": "error"}.get(test[-1], "passed")
        boots = [boot(unlock) for unlock in unlocks]
        document = {"schema": 1, "test": test.rstrip("!?"), "result": result, "boots": boots}
        (place / "outcome.json").write_text(json.dumps(document))
        (place / "versions.json").write_text(json.dumps(versions))
    folder.mkdir(exist_ok=True)
    if cells:
        (folder / "matrix.csv").write_text(f"stack,policy,condition,observed,failed_pins\n{cells}")
        (folder / "matrix-junit.xml").write_text("<testsuites/>")
    return folder


def boot(unlock: str) -> dict[str, object]:
    common: dict[str, object] = {"label": "boot", "machine": "m", "evidence": "boot-1"}
    if not unlock:
        return common | {"canary": None, "error": {"kind": "RigError", "what": "died", "detail": "", "hint": ""}}
    return common | {
        "unlock": unlock,
        "reason": "",
        "unlocked_by": [],
        "keyslot": None,
        "token": None,
        "failed_pins": [],
        "failures": [],
        "proofs": [],
        "prompts": 0,
        "typed_bytes": 0,
        "seconds": {"prompt": None, "unlock": None, "end": None},
        "pcrs": {},
        "canary": False,
        "volumes": {},
    }


AUTO, LOCKED = ("auto-unlock",), ("locked",)
QEMU = {"accelerator": "kvm: firmware boots under KVM", "clevis": "20-1"}


def test_shards_of_one_kind_are_one_variant(tmp_path: Path) -> None:
    found = gather(
        [
            job(tmp_path / "scenarios-debian-13-shard-1", {"a": AUTO}, QEMU),
            job(tmp_path / "scenarios-debian-13-shard-12", {"b": AUTO}, QEMU | {"clevis": "21-1"}),
            job(tmp_path / "scenarios-debian-12-shard-1", {"a": LOCKED}, QEMU),
        ]
    )
    assert list(found.variants) == ["scenarios-debian-13", "scenarios-debian-12"]
    assert found.variants["scenarios-debian-13"].scenarios == {"a": "passed: auto-unlock", "b": "passed: auto-unlock"}
    assert found.variants["scenarios-debian-13"].versions["clevis"] == ("20-1", "21-1")
    assert found.good


@pytest.mark.parametrize("test", ["a!", "a?"])
def test_a_night_with_a_failure_or_without_a_verdict_is_not_good(tmp_path: Path, test: str) -> None:
    assert not gather([job(tmp_path / "j", {test: AUTO, "b": AUTO}, QEMU)]).good


def test_a_night_in_which_nothing_ran_is_not_good(tmp_path: Path) -> None:
    assert not gather([job(tmp_path / "j", {}, {})]).good


def test_a_cell_without_a_verdict_is_not_good(tmp_path: Path) -> None:
    folder = job(tmp_path / "j", {}, {}, "dr,tang,present,auto-unlock,\n")
    assert gather([folder]).good
    (folder / "matrix.csv").write_text((folder / "matrix.csv").read_text() + "dr,tang,tpm-absent,,\n")
    assert not gather([folder]).good


def test_cells_of_which_nothing_says_what_was_predicted_are_no_good_ones(tmp_path: Path) -> None:
    folder = job(tmp_path / "j", {}, {}, "dr,tang,present,auto-unlock,\n")
    (folder / "matrix-junit.xml").unlink()
    with pytest.raises(UsageError, match=r"matrix\.csv has no matrix-junit\.xml beside it"):
        gather([folder])


def test_a_test_that_cannot_be_read_has_no_verdict(tmp_path: Path) -> None:
    folder = job(tmp_path / "j", {"a": AUTO}, QEMU)
    (folder / "killed").mkdir()
    assert gather([folder]).variants["j"].scenarios["killed"].startswith("no verdict")


def test_what_has_changed_stands_beside_the_versions_that_have(tmp_path: Path) -> None:
    before = gather([job(tmp_path / "1" / "j", {"a": AUTO, "b": AUTO}, QEMU, "dr,tang,present,auto-unlock,\n")])
    now = gather(
        [
            job(
                tmp_path / "2" / "j",
                {"a!": LOCKED, "c": AUTO},
                QEMU | {"clevis": "21-1"},
                "dr,tang,present,locked,tang\n",
            )
        ]
    )
    changes = night.changes(before, now)["j"]
    assert changes.scenarios == (
        Change("a", "passed: auto-unlock", "failed: locked"),
        Change("b", "passed: auto-unlock", ""),
        Change("c", "", "passed: auto-unlock"),
    )
    assert changes.cells == (Change("dr tang present", "auto-unlock", "locked tang"),)
    assert changes.versions == (Change("clevis", "20-1", "21-1"),)
    assert not night.changes(now, now)["j"]


def test_a_night_is_kept_and_read_back(tmp_path: Path) -> None:
    found = gather([job(tmp_path / "j", {"a": AUTO}, QEMU, "dr,tang,present,auto-unlock,\n")])
    (tmp_path / "night.json").write_text(night.dumps(found))
    assert night.load(tmp_path / "night.json") == found


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2, "variants": {}}', '{"schema": 1, "variants": {"j": {}}}']
)
def test_what_is_no_night_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "night.json").write_text(text)
    with pytest.raises(UsageError, match=r"night\.json"):
        night.load(tmp_path / "night.json")


def test_a_page_is_made_of_two_nights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = job(tmp_path / "1" / "scenarios-debian-13-shard-1", {"a": AUTO}, QEMU)
    second = job(tmp_path / "2" / "scenarios-debian-13-shard-2", {"a!": LOCKED}, QEMU | {"clevis": "<b>21-1"})
    assert main(["--merge", str(first), "-o", str(tmp_path / "one.html")]) == 0
    kept = (tmp_path / "night.json").rename(tmp_path / "before.json")
    assert main(["--merge", str(second), "--since", str(kept), "-o", str(tmp_path / "two.html")]) == 0
    page = (tmp_path / "two.html").read_text()
    assert "Not a good night" in page
    assert "failed: locked" in page
    assert "passed: auto-unlock" in page
    assert "&lt;b&gt;21-1" in page
    assert "<b>21-1" not in page
    assert "A good night" in (tmp_path / "one.html").read_text()
    assert "not good: 1" in capsys.readouterr().err


def test_a_job_has_a_summary_in_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = job(tmp_path / "j", {"a.py::b[x|y]!": LOCKED, "c?": ("",)}, QEMU)
    assert main(["--summary", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| j | kvm: firmware boots under KVM | 2 | 0 | 1 | 1 | 0 |" in lines
    assert "- a.py::b\\[x\\|y\\]: failed: locked" in lines
    assert "- c: no verdict: RigError: died" in lines


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        main(["--merge", str(tmp_path / "none")])


@pytest.mark.parametrize("option", ["--since=night.json", "--ended=a=success", "--may-fail=a"])
def test_what_is_about_a_night_goes_with_merge(option: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), option])


def test_a_job_that_left_nothing_has_no_verdict(tmp_path: Path) -> None:
    found = gather([job(tmp_path / "a", {"x": AUTO}, QEMU), job(tmp_path / "b", {}, {})])
    assert found.bad == {"b": {"(b)": "no verdict: the job left none"}}


def test_an_installation_that_passed_is_no_scenario_and_one_without_a_verdict_is_told(tmp_path: Path) -> None:
    found = gather([job(tmp_path / "j", {"install::m-debian-13": AUTO, "install::n-debian-13?": ("",)}, QEMU)])
    assert found.variants["j"].scenarios == {"install::n-debian-13": "no verdict: RigError: died"}


def test_what_broke_before_it_had_evidence_is_told_by_junit(tmp_path: Path) -> None:
    folder = job(tmp_path / "j", {"scenarios/test_a.py::test_b[x.y]": AUTO}, QEMU)
    (folder / "junit.xml").write_text(
        '<testsuites><testsuite><testcase classname="scenarios.test_a" name="test_b[x.y]"/>'
        '<testcase classname="scenarios.test_a" name="test_c"><error/></testcase></testsuite></testsuites>'
    )
    assert gather([folder]).variants["j"].scenarios == {
        "scenarios/test_a.py::test_b[x.y]": "passed: auto-unlock",
        "scenarios.test_a::test_c": "no verdict",
    }


@pytest.mark.parametrize("content", [b"", b"<a>", b'<?xml version="1.0" encoding="none"?><a/>', None])
def test_a_junit_that_is_none_is_told(tmp_path: Path, content: bytes | None) -> None:
    folder = job(tmp_path / "j", {"x": AUTO}, QEMU)
    if content is None:
        os.mkfifo(folder / "junit.xml")
    else:
        (folder / "junit.xml").write_bytes(content)
    with pytest.raises(UsageError, match=r"junit\.xml is no JUnit XML"):
        gather([folder])


@pytest.mark.parametrize("name", ["matrix.csv", "night.json"])
def test_a_pipe_in_the_place_of_a_list_is_told(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / "matrix-junit.xml").write_text("<testsuites/>")
    with pytest.raises(UsageError, match=r"no regular file|no list of verdicts"):
        night.load(tmp_path / name) if name == "night.json" else gather([tmp_path])


def test_a_pipe_in_the_place_of_the_accelerator_tells_nothing(tmp_path: Path) -> None:
    folder = job(tmp_path / "j", {"x": AUTO}, {})
    os.mkfifo(folder / "accelerator.txt")
    assert gather([folder]).variants["j"].accelerators == ()


def test_a_cell_that_is_not_as_predicted_is_not_good(tmp_path: Path) -> None:
    folder = job(tmp_path / "j", {}, {}, "dr,m: var,present,auto-unlock,\ndr,m: var,tpm-absent,locked,tpm2\n")
    cell = '<testcase classname="dr.m: var" name="{}">{}</testcase>'
    cases = (cell.format("present", ""), cell.format("tpm-absent", "<failure/>"))
    (folder / "matrix-junit.xml").write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    assert gather([folder]).bad == {"j": {"dr m: var tpm-absent": "locked tpm2, not as predicted"}}


def test_what_may_fail_is_shown_and_makes_no_night_bad(tmp_path: Path) -> None:
    folders = [job(tmp_path / "a", {"x": AUTO}, QEMU), job(tmp_path / "sid", {"y!": LOCKED}, QEMU)]
    assert not gather(folders).good
    assert gather(folders, may_fail=frozenset({"sid"})).good
    assert main(["--merge", *map(str, folders), "--may-fail=sid", "-o", str(tmp_path / "night.html")]) == 0
    assert "failed: locked" in (tmp_path / "night.html").read_text()


def test_a_job_that_did_not_end_well_is_named_though_it_left_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = job(tmp_path / "a", {"x": AUTO}, QEMU)
    output = tmp_path / "night.html"
    assert main(["--merge", str(folder), "--ended=a=success", "--ended=b=cancelled", "-o", str(output)]) == 0
    assert "not good: 0 without the verdict that was expected; jobs that did not end well: b cancelled" in (
        capsys.readouterr().err
    )
    assert "cancelled" in output.read_text()
    assert night.load(tmp_path / "night.json").broken == {"b": "cancelled"}


def test_a_job_without_evidence_tells_by_junit_and_by_its_accelerator(tmp_path: Path) -> None:
    folder = job(tmp_path / "stack-x", {}, {})
    (folder / "accelerator.txt").write_text("kvm: firmware boots under KVM\n")
    (folder / "junit.xml").write_text(
        '<testsuites><testsuite><testcase classname="t" name="a"/>'
        '<testcase classname="t" name="b"><failure/></testcase>'
        '<testcase classname="t" name="c"><skipped/></testcase><testcase classname="t" name="d"><error/></testcase>'
        "</testsuite></testsuites>"
    )
    variant = gather([folder]).variants["stack-x"]
    assert variant.scenarios == {
        "t::a": "passed",
        "t::b": "failed",
        "t::c": "no verdict: skipped",
        "t::d": "no verdict",
    }
    assert variant.accelerators == ("kvm: firmware boots under KVM",)
