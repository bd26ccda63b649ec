"""The list of scenarios, for people and for a workflow."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign import durations, listing
from harness.campaign.durations import Durations, Installed, expected
from harness.campaign.schedule import Job
from harness.errors import UsageError

JOBS = [Job("s.py::a", "m"), Job("s.py::b", "m"), Job("s.py::c", "n")]
KNOWN = Durations(
    1.0, {"s.py::a": 60.0, "s.py::b": 70.0, "s.py::c": 20.0}, {"m": Installed(100.0, ""), "n": Installed(50.0, "")}
)
KNOWN_MACHINE = Installed(7.0, "")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path))
    return tmp_path


def test_people_read_machines_scenarios_and_times() -> None:
    assert listing.text(JOBS, expected(KNOWN, Durations()), 2) == [
        "m: installation 2 min",
        "      60 s  a",
        "      70 s  b",
        "n: installation 50 s",
        "      20 s  c",
        "3 scenarios in 2 machines, 5 min one at a time, 3 min with 2 machines at once",
    ]


def test_a_workflow_reads_its_jobs() -> None:
    document = json.loads(json.dumps(listing.document(JOBS, expected(KNOWN, Durations()), 3)))
    assert document["shards"] == [
        {"shard": "1/3", "number": 1, "scenarios": 2, "seconds": 230},
        {"shard": "2/3", "number": 2, "scenarios": 1, "seconds": 70},
    ], "a shard without scenarios needs no job"
    assert document["machines"] == {"m": 100, "n": 50}
    assert {"by-butane", "by-hand"} <= set(document["racks"])
    assert {"debian-13", "debian-12-initramfs"} <= set(document["images"])
    assert {"debian-13-root", "debian-12-initramfs"} <= set(document["stacks"]) < set(document["images"])


def test_the_core_is_ten_scenarios_in_three_machines_with_one_volume_each(capsys: pytest.CaptureFixture[str]) -> None:
    """It is what a newcomer waits for: whoever adds to it makes them wait longer."""
    root = Path(listing.__file__).parents[2]
    jobs = listing.collected([str(root / "scenarios")], "core")
    assert len(jobs) <= 12
    assert {job.machine for job in jobs} == {"tpm2-and-tang", "tang", "tpm2-pcr7"}


def test_what_pytest_cannot_collect_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text("import no_such_module\n")
    with pytest.raises(UsageError, match="cannot be collected") as caught:
        listing.collected([str(tmp_path)])
    assert "no_such_module" in caught.value.detail


def test_a_mark_that_there_is_not_is_told_and_nothing_else() -> None:
    with pytest.raises(UsageError, match="cannot be collected") as caught:
        listing.collected([str(Path(listing.__file__).parents[2] / "scenarios")], "no_such_mark")
    assert caught.value.detail.startswith("ERROR: Unknown marker")
    assert "test_" not in caught.value.detail


def test_what_is_published_is_of_what_is_listed_and_names_nothing_in_this_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Durations(2.0, {"s.py::a": 1.0, "mine.py::x": 9.0}, {"m": Installed(5.0, "secret"), "mine": KNOWN_MACHINE})
    durations.remember(own)
    place = tmp_path / "host"
    monkeypatch.setattr(durations, "__file__", str(place / "durations.py"))
    monkeypatch.setattr(durations, "of_another_host", Durations)
    assert durations.parse(listing.record(JOBS).read_text()) == Durations(
        2.0, {"s.py::a": 1.0}, {"m": Installed(5, "")}
    )


def test_what_is_published_later_has_the_pace_of_what_was_published_first() -> None:
    """Twice as slow in the one scenario that both know: so everything that is new counts half."""
    own = Durations(9.0, {"s.py::a": 120.0, "s.py::c": 30.0}, {"n": Installed(80.0, "")})
    found = durations.published(own, replace(KNOWN, scenarios={"s.py::a": 60.0, "s.py::b": 70.0}), JOBS)
    assert found.scenarios == {"s.py::a": 60.0, "s.py::b": 70.0, "s.py::c": 15.0}
    assert found.installations == {"m": Installed(100.0, ""), "n": Installed(40.0, "")}
    assert found.probe == 4.5, "half of this host's, since it goes with the durations"


def test_ctrl_c_while_scenarios_are_collected_is_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "test_interrupted.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        listing.collected([str(tmp_path)])
    (tmp_path / "test_interrupted.py").write_text("raise ValueError\n")
    with pytest.raises(UsageError, match="cannot be collected"):
        listing.collected([str(tmp_path)])
