"""What pytest collected, as a campaign: grouped by machine, in order, and perhaps just one shard of it."""

from collections.abc import Callable, Sequence
from math import inf

import pytest

from harness.campaign import durations
from harness.campaign.schedule import OWN_MACHINES, Job, in_order, installs_itself, shards
from harness.campaign.status import JOB, JOBS
from harness.errors import HarnessError
from harness.policy.enrolment import Enrolment
from harness.policy.policy import Policy


def machine_name(item: pytest.Item) -> str:
    """The machine that a test starts from, by name; "" when it needs none, or has a mark of another project's."""
    mark, image = item.get_closest_marker("policy"), item.get_closest_marker("image")
    fixtures = getattr(item, "fixturenames", ())
    if installs_itself(fixtures):
        return OWN_MACHINES
    if mark is None or len(mark.args) != 1 or "sealed" not in fixtures:
        return ""
    name = mark.args[0].name if isinstance(mark.args[0], Enrolment | Policy) else str(mark.args[0])
    return f"{name} on {image.args[0]}" if image and image.args else name


def arrange(config: pytest.Config, items: list[pytest.Item], policy_of: Callable[[pytest.Item], Policy]) -> None:
    """Group tests by their machine, and put them in order.

    Those without a machine come first, then the smallest machine's; last those that install their machines themselves.

    Args:
        config: Is told what was collected (`JOBS`).
        items: Is put in order.
        policy_of: The policy that a test names; may raise a HarnessError, which the test itself will tell.
    """
    sizes = {"": -1.0, OWN_MACHINES: inf}
    for item in items:
        job = Job(item.nodeid, machine_name(item))
        item.stash[JOB] = job
        if job.machine not in sizes:
            sizes[job.machine] = _size(item, policy_of)
    order = {job: place for place, job in enumerate(in_order([item.stash[JOB] for item in items], sizes))}
    items.sort(key=lambda item: order[item.stash[JOB]])
    config.stash[JOBS] = [item.stash[JOB] for item in items]


def _size(item: pytest.Item, policy_of: Callable[[pytest.Item], Policy]) -> float:
    """How much there is to install: volumes, a boot for what is done by hand, an image of its own."""
    try:
        policy = policy_of(item)
    except HarnessError:
        return 0.0
    return len(policy.volumes) + bool(policy.enrolment) + (item.get_closest_marker("image") is not None)


def keep_shard(config: pytest.Config, items: list[pytest.Item], number: int, count: int) -> None:
    """Deselect what is in other shards.

    Args:
        config: Is told what goes.
        items: Loses it.
        number: Which shard stays, counted from 1.
        count: How many there are.
    """
    mine = set(divided([item.stash[JOB] for item in items], count)[number - 1])
    gone = [item for item in items if item.stash[JOB] not in mine]
    items[:] = [item for item in items if item.stash[JOB] in mine]
    config.hook.pytest_deselected(items=gone)


def divided(jobs: Sequence[Job], count: int) -> list[list[Job]]:
    """The shards: the same on every host, so what this one has measured does not count."""
    published = durations.of_another_host()
    return shards(jobs, durations.expected(durations.Durations(), published), count)
