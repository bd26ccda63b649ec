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

FOLDER = Path(__file__).parent.parent / ".github" / "workflows"
WORKFLOW: dict[str, Any] = yaml.safe_load((FOLDER / "nightly.yml").read_text())
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
ON_MACHINES = ("scenarios", "truth-table", "stacks", "drawn")
"""What starts by looking at the accelerator; of the drawn cells, which need none, that is told too."""
ALONE = ("plan", "night")


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
    assert check["shell"] == "bash", "or tee would hide that it failed: without a name, a container's shell is sh -e"
    assert summary["if"] == "always()"


@pytest.mark.parametrize("job", ("scenarios", "truth-table", "stacks"))
def test_which_jobs_there_are_is_read_from_the_list(job: str) -> None:
    listed = json.loads(json.dumps(document([Job("a", "m")], expected(Durations(), Durations()), 6)))
    named = re.findall(r"fromJSON\(needs\.plan\.outputs\.list\)\.(\w+)", str(JOBS[job]["strategy"]["matrix"]))
    assert len(named) == 1
    assert listed[named[0]]


def test_the_name_of_a_stack_selects_that_stack_alone() -> None:
    stacks = document([], expected(Durations(), Durations()), 1)["stacks"]
    assert isinstance(stacks, list)
    assert stacks
    assert [(one, other) for one in stacks for other in stacks if one != other and one in other] == []


@pytest.mark.parametrize("job", JOBS)
def test_every_job_runs_where_set_up_can_make_it_ready(job: str) -> None:
    """On a runner's own Ubuntu it would print what to install, and stop."""
    container = JOBS[job]["container"]
    assert re.fullmatch(r"debian:(13|\$\{\{ matrix\.debian }})", container if job in ALONE else container["image"])


def test_the_page_is_told_how_every_job_ended() -> None:
    (merge,) = steps("night", "report --merge")
    named = dict(re.findall(r'--ended ([\w-]+)="\$(\w+)"', merge["run"]))
    assert named.keys() | {"plan"} == set(JOBS["night"]["needs"]) == JOBS.keys() - {"night"}
    results = {name: merge["env"][variable] for name, variable in named.items()}
    assert results == {name: f"${{{{ needs.{name}.result }}}}" for name in named}


def test_what_may_fail_is_what_the_page_takes_for_an_early_warning() -> None:
    (merge,) = steps("night", "report --merge")
    (tolerated,) = re.findall(r"--may-fail stack-([\w-]+)", merge["run"])
    assert f"== '{tolerated}'" in JOBS["stacks"]["continue-on-error"]


def test_one_night_at_a_time() -> None:
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is False
