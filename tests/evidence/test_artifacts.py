"""What a test leaves behind: names, atomic writing, and the documented outcome.json."""

import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HostError, RigError, UsageError
from harness.evidence import artifacts, record
from harness.evidence.record import Boot, Failure, Problem, Result, Scenario
from harness.guest.outcome import Outcome, PinFailure, Seconds, Unlock
from harness.ownership import MARK
from harness.plain import plain

FALLBACK = Outcome(
    Unlock.PASSPHRASE_FALLBACK,
    "tang did not answer, and threshold 2 needs both pins",
    unlocked_by=frozenset({"passphrase"}),
    keyslot=0,
    failures=(PinFailure("tang", "refused", "journal"), PinFailure("tang", "no request came", "tang log")),
    proofs=("console: prompt at 26.4 s",),
    prompts=1,
    typed_bytes=13,
    seconds=Seconds(26.40001, 41.3, 52.7),
    pcrs={7: "65ca", 0: "3d45"},
    canary="the secret itself",
    volumes={"var": Outcome(Unlock.PASSPHRASE_FALLBACK, "tang did not answer", canary="the secret itself")},
)
SCENARIO = Scenario(
    "scenarios/test_tang.py::test_down[tpm2-and-tang]",
    Result.FAILED,
    (
        Boot(FALLBACK, "boot", "lab", "boot-1"),
        Boot(Problem.of(RigError("the guest panicked", "[ 14.2] panic", "try again")), "boot", "lab", "boot-2"),
    ),
    title="Threshold 2 must ask.",
    policy="tpm2-and-tang",
    image="debian-13",
    started=datetime(2025, 3, 1, 12, tzinfo=UTC),
    seconds=60.5,
    failure=Failure("it unlocked", "scenarios/test_tang.py:31", "assert outcome.unlock is Unlock.LOCKED"),
)


# Names


def test_name_says_file_test_and_parameters() -> None:
    name = artifacts.folder_name("scenarios/test_tang.py::TestDown::test_asks[tpm2-and-tang]")
    assert re.fullmatch(r"test_tang-TestDown-test_asks-tpm2-and-tang-[0-9a-f]{8}", name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a/test_x.py::test_y", "b/test_x.py::test_y"),
        ("test_x.py::test_y[a-b]", "test_x.py::test_y[a/b]"),
        ("test_x.py::test_y[a]", "test_x.py::test_y[A]"),
        ("test_x.py::test_y[ä]", "test_x.py::test_y[ö]"),
        ("test_x.py::test_" + "y" * 300 + "[1]", "test_x.py::test_" + "y" * 300 + "[2]"),
    ],
)
def test_two_tests_never_share_a_folder_even_without_regard_to_case(one: str, other: str) -> None:
    assert artifacts.folder_name(one).lower() != artifacts.folder_name(other).lower()


@given(st.text())
def test_any_node_id_makes_a_safe_short_name(test: str) -> None:
    name = artifacts.folder_name(test)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name)
    assert len(name) <= 90
    assert name == artifacts.folder_name(test)


@pytest.mark.parametrize("test", ["", "::", "../../etc/passwd::x", "..", "\ud800", "a::b[\0]", "-rf::*"])
def test_weird_node_ids_stay_inside_the_root(tmp_path: Path, test: str) -> None:
    folder = artifacts.open_folder(tmp_path, test)
    assert folder.is_dir()
    assert folder.parent == tmp_path


# Folders


def test_an_earlier_runs_folder_is_replaced_whole(tmp_path: Path) -> None:
    first = artifacts.open_folder(tmp_path, "t.py::a")
    other = artifacts.open_folder(tmp_path, "t.py::b")
    artifacts.save_boot(first, "boot-1", {"console.log": "old"})
    (first / "stray").mkdir()
    again = artifacts.open_folder(tmp_path, "t.py::a")
    assert again == first
    assert list(again.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {".lock", MARK, first.name, other.name}


def test_what_a_killed_run_half_replaced_is_cleared_away(tmp_path: Path) -> None:
    name = artifacts.folder_name("t.py::a")
    artifacts.claimed_root(tmp_path)
    (tmp_path / f".{name}.abc").mkdir()
    (tmp_path / f".{name}.old").mkdir()
    (tmp_path / f".{name}.old" / "file").touch()
    (tmp_path / name).symlink_to("/nowhere")
    folder = artifacts.open_folder(tmp_path, "t.py::a")
    assert not folder.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {".lock", MARK, name}


def test_a_boots_folder_holds_bytes_text_and_copies(tmp_path: Path) -> None:
    log = tmp_path / "swtpm"
    log.write_bytes(b"raw \xff")
    folder = artifacts.open_folder(tmp_path / "artifacts", "t.py::a")
    artifacts.save_boot(
        folder,
        "boot-1",
        {
            artifacts.CONSOLE: b"\x1b[2J\xff",
            "domain.xml": "<domain/> \ud800",
            "swtpm.log": log,
            artifacts.JOURNAL: None,
            "qemu.log": tmp_path / "never made",
        },
    )
    assert {path.name: path.read_bytes() for path in (folder / "boot-1").iterdir()} == {
        "console.log": b"\x1b[2J\xff",
        "domain.xml": b"<domain/> ?",
        "swtpm.log": b"raw \xff",
    }


def test_a_boot_that_cannot_be_written_whole_is_not_there_at_all(tmp_path: Path) -> None:
    folder = artifacts.open_folder(tmp_path, "t.py::a")
    with pytest.raises(HostError, match="cannot be written") as caught:
        artifacts.save_boot(folder, "boot-1", {"console.log": "x", "domain.xml": tmp_path})
    assert "Is a directory" in caught.value.detail
    assert list(folder.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = artifacts.open_folder(tmp_path, "t.py::a")
    artifacts.save_outcome(folder, SCENARIO)
    before = (folder / "outcome.json").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(HostError) as caught:
        artifacts.save_outcome(folder, replace(SCENARIO, result=Result.PASSED))
    assert caught.value.hint == "free some room"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"outcome.json": before}


def test_who_reads_while_it_is_rewritten_sees_the_old_file_whole(tmp_path: Path) -> None:
    folder = artifacts.open_folder(tmp_path, "t.py::a")
    artifacts.save_outcome(folder, SCENARIO)
    with (folder / "outcome.json").open() as reader:
        artifacts.save_outcome(folder, replace(SCENARIO, boots=()))
        assert len(json.load(reader)["boots"]) == 2
    assert record.load(folder)["boots"] == []


@pytest.mark.parametrize("name", ["../escape", "a/b", ".hidden", "", ".."])
def test_a_file_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        artifacts.save(artifacts.open_folder(tmp_path, "t.py::a"), {name: "x"})


def test_a_root_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "artifacts").touch()
    with pytest.raises(HostError, match="cannot be made or written to"):
        artifacts.open_folder(tmp_path / "artifacts", "t.py::a")


# The document


def test_the_document_follows_its_schema_and_reads_back(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(record.schema())
    folder = artifacts.open_folder(tmp_path, SCENARIO.test)
    artifacts.save_outcome(folder, SCENARIO)
    found = json.loads((folder / "outcome.json").read_text())
    jsonschema.validate(found, record.schema(), cls=jsonschema.Draft202012Validator)
    assert record.load(folder) == found == record.document(SCENARIO)


def test_the_document_says_what_was_seen() -> None:
    found = record.document(SCENARIO)
    assert found["schema"] == 1
    assert found["test"] == SCENARIO.test
    assert found["result"] == "failed"
    judged, broken = found["boots"]
    assert judged["unlock"] == "passphrase-fallback"
    assert judged["unlocked_by"] == ["passphrase"]
    assert judged["failed_pins"] == ["tang"]
    assert judged["failures"][0] == {"pin": "tang", "reason": "refused", "source": "journal"}
    assert judged["seconds"] == {"prompt": 26.4, "unlock": 41.3, "end": 52.7}
    assert judged["typed_bytes"] == 13
    assert judged["pcrs"] == {"0": "3d45", "7": "65ca"}
    assert broken["error"] == {
        "kind": "RigError",
        "what": "the guest panicked",
        "detail": "[ 14.2] panic",
        "hint": "try again",
    }
    assert "unlock" not in broken


def test_the_canary_is_said_to_be_read_but_not_shown() -> None:
    found = record.document(SCENARIO)
    assert [boot["canary"] for boot in found["boots"]] == [True, None]
    assert (
        record.document(replace(SCENARIO, boots=(Boot(replace(FALLBACK, canary=None)),)))["boots"][0]["canary"] is False
    )
    assert "the secret itself" not in json.dumps(found)


def test_every_field_of_an_outcome_and_every_key_of_the_document_is_documented() -> None:
    found, schema = record.document(SCENARIO), record.schema()
    judged = schema["$defs"]["boot"]["properties"] | schema["$defs"]["verdict"]["properties"]
    assert set(found) == set(schema["properties"])
    assert set(found["boots"][0]) == set(judged)
    assert set(found["boots"][0]["volumes"]["var"]) == set(schema["$defs"]["verdict"]["properties"])
    assert {field.name for field in fields(Outcome)} <= set(judged)


@pytest.mark.parametrize("unlock", [unlock for unlock in Unlock if unlock is not Unlock.NOT_PREDICTED])
def test_every_verdict_is_in_the_schema(unlock: Unlock) -> None:
    record.parse(json.dumps(record.document(replace(SCENARIO, boots=(Boot(replace(FALLBACK, unlock=unlock)),)))), "x")


def _spoilt(path: list[str | int], value: object) -> str:
    found: Any = json.loads(json.dumps(record.document(SCENARIO)))
    place = found
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ('{"schema": 1, "test": "x", "resu', "is not JSON"),
        ('{"schema": NaN}', "NaN"),
        ("[" * 100_000, "is not JSON"),
        ("[]", r"\$: \[\] is not of type 'object'"),
        (_spoilt(["schema"], 2), r"\$.schema: 1 was expected"),
        (_spoilt(["test"], None), "'test' is a required property"),
        (_spoilt(["result"], "fine"), r"\$.result"),
        (_spoilt(["boots", 0, "unlock"], "open"), r"\$.boots\[0\].unlock: 'open' is not one of"),
        (_spoilt(["boots", 0, "unlock"], None), "'unlock' is a required property"),
        (_spoilt(["boots", 0, "typed_bytes"], -1), "typed_bytes"),
        (_spoilt(["boots", 0, "seconds", "end"], "soon"), "seconds.end"),
        (_spoilt(["boots", 0, "volumes", "var", "unlock"], "open"), r"\$.boots\[0\].volumes.var.unlock"),
        (_spoilt(["boots", 1, "error"], "panic"), r"\$.boots\[1\].error"),
        (_spoilt(["boots", 1, "unlock"], "locked"), r"\$.boots\[1\]: False schema does not allow 'locked'"),
        (_spoilt(["boots", 0, "seconds", "end"], 1).replace('"end": 1}', '"end": 1e999}'), "maximum"),
    ],
)
def test_a_spoilt_document_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        record.parse(text, "outcome.json")
    assert re.search(says, str(caught.value))
    assert caught.value.hint


def test_keys_of_a_later_harness_are_ignored() -> None:
    assert record.parse(_spoilt(["boots", 0, "temperature"], 20), "x")["result"] == "failed"


def test_a_folder_without_a_document_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no outcome\.json"):
        record.load(tmp_path)
    (tmp_path / "outcome.json").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        record.load(tmp_path)


def test_any_exception_can_be_kept() -> None:
    assert Problem.of(KeyError("x")) == Problem("KeyError", "'x'")
    assert Problem.of(TimeoutError()) == Problem("TimeoutError", "TimeoutError")


def test_junit_gets_flat_strings() -> None:
    found = dict(record.junit_properties(record.document(SCENARIO)["boots"]))
    assert found["boot-1.unlock"] == "passphrase-fallback"
    assert found["boot-1.failed_pins"] == "tang"
    assert found["boot-1.seconds.end"] == "52.7"
    assert found["boot-2.error"] == "RigError: the guest panicked"
    assert all(isinstance(value, str) for value in found.values())


def test_versions_are_kept_as_json(tmp_path: Path) -> None:
    folder = artifacts.open_folder(tmp_path, "t.py::a")
    artifacts.save_versions(folder, {"qemu": "10.0.2"})
    assert json.loads((folder / "versions.json").read_text()) == {"qemu": "10.0.2"}


def test_what_the_page_needs_is_packaged() -> None:
    here = resources.files("harness.evidence")
    assert (here / "outcome.schema.json").is_file()
    assert (here / "templates" / "report.html.j2").is_file()


# Logs


def test_tail_is_plain_text(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(
        b"first\r\n\x1b[2J\x1b[01;01HBdsDxe\r\n\r\n[\x1b[0;32m  OK  \x1b[0m] x\x00\x07\r"
        b"\x1b]0;title\x07after \x1bPdcs\x1b\\\xe2\x80\xaeevil \xff"
    )
    assert artifacts.tail(log) == ["first", "BdsDxe", "[  OK  ] x", "after evil \ufffd"]
    assert artifacts.tail(log, 1) == ["after evil \ufffd"]
    assert artifacts.tail(tmp_path / "none") == []


def test_tail_reads_only_the_end(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"x" * 1_000_000 + b"\nlast\n")
    assert artifacts.tail(log, 2, limit=8) == ["xx", "last"]
    log.write_bytes(b"")
    assert artifacts.tail(log) == []


@given(st.text())
def test_plain_text_has_no_controls(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", plain(text))


# Whose folder, and who may read it


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A folder with another purpose."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0")
    return tmp_path / "etc"


def test_a_folder_of_another_purpose_takes_no_evidence(etc: Path) -> None:
    with pytest.raises(UsageError, match="is not ours"):
        artifacts.open_folder(etc, "t.py::a")
    assert [path.name for path in etc.iterdir()] == ["passwd"]


def test_a_folder_with_evidence_of_an_earlier_version_is_ours(tmp_path: Path) -> None:
    (tmp_path / "root" / "test_a-12345678").mkdir(parents=True)
    (tmp_path / "root" / "test_a-12345678" / "outcome.json").write_text("{}")
    assert artifacts.open_folder(tmp_path / "root", "t.py::a").is_dir()


def test_evidence_is_private(tmp_path: Path) -> None:
    folder = artifacts.open_folder(tmp_path / "root", "t.py::a")
    artifacts.save(folder, {"config.bu": "x"})
    artifacts.save_boot(folder, "boot-1", {"console.log": b"x"})
    artifacts.save_outcome(folder, SCENARIO)
    below = [folder.parent, folder, *folder.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in below if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in below if path.is_file()} == {0o600}
