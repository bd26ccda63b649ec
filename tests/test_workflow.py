"""The nightly workflow: what can be known about it without GitHub."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.campaign.durations import Durations, expected
from harness.campaign.listing import document
from harness.campaign.schedule import Job

WORKFLOW: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent.parent / ".github" / "workflows" / "nightly.yml").read_text()
)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
ON_MACHINES = ("scenarios", "truth-table", "stacks")


def steps(job: str, text: str) -> list[dict[str, Any]]:
    """The steps of a job that use or run something with this in it."""
    return [step for step in JOBS[job]["steps"] if text in step.get("uses", "") or text in step.get("run", "")]


@pytest.mark.parametrize("job", JOBS)
def test_actions_are_pinned_by_commit(job: str) -> None:
    for step in JOBS[job]["steps"]:
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])


@pytest.mark.parametrize("job", JOBS)
def test_every_job_ends_in_time_and_leaves_something_for_a_while(job: str) -> None:
    assert JOBS[job]["timeout-minutes"] <= 300
    (kept,) = steps(job, "actions/upload-artifact@")
    assert kept["with"]["retention-days"] <= 90


@pytest.mark.parametrize("job", ON_MACHINES)
def test_a_job_with_machines_tells_its_accelerator_first_and_a_summary_last(job: str) -> None:
    (check,) = steps(job, "unlock-lab prepare --accel")
    (summary,) = steps(job, "report --summary")
    makes = [step for step in JOBS[job]["steps"] if "ARGS=" in step.get("run", "")]
    places = [JOBS[job]["steps"].index(step) for step in (check, *makes, summary)]
    assert places == sorted(places)
    assert "artifacts/accelerator.txt" in check["run"]
    assert summary["if"] == "always()"


@pytest.mark.parametrize("job", ON_MACHINES)
def test_which_jobs_there_are_is_read_from_the_list(job: str) -> None:
    listed = json.loads(json.dumps(document([Job("a", "m")], expected(Durations(), Durations()), 6)))
    named = re.findall(r"fromJSON\(needs\.plan\.outputs\.list\)\.(\w+)", str(JOBS[job]["strategy"]["matrix"]))
    assert len(named) == 1
    assert listed[named[0]]


def test_one_night_at_a_time() -> None:
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is False
