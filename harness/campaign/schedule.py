"""The order of scenarios, and who runs which. Pure.

A scenario needs its machine installed, which takes as long as several boots, so the scenarios of one machine follow
each other and an installation is never waited for while there is something else to do:

1. Machines come smallest first, so that the first verdict comes early and a rack of volumes last.
2. A worker stays with the machine that it installed.
3. When nothing of that machine is left, it takes the first machine that nobody has begun.
4. When there is none, it helps with an installed machine, the one with most left to do.

`forecast` plays these rules with expected durations: the same rules, so what is announced is what will happen.
"""

import argparse
import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.defaults import MOST

COLLECTED = "unlock_lab_collected"
"""What a worker of xdist is told: the file for what it collected, since it sends nothing but node ids by itself."""

OWN_MACHINES = "machines of their own"
"""In place of a machine, where the scenario installs them itself: the fixture ``machines`` without ``sealed``."""


def installs_itself(fixtures: Collection[str]) -> bool:
    """Whether these are the fixtures of a scenario that installs its machines itself (and has none ``sealed``)."""
    return {"machines", "lab"} <= {*fixtures} and "sealed" not in fixtures


@dataclass(frozen=True)
class Job:
    """A scenario that is to run.

    Attributes:
        test: pytest's node id.
        machine: What it starts from, by name; `OWN_MACHINES`, or "" when it needs no machine.
    """

    test: str
    machine: str


@dataclass(frozen=True)
class Costs:
    """What to expect, in seconds.

    Attributes:
        scenario: Of a scenario, once its machine is installed, by its node id.
        installation: Of a machine, by its name; 0 when it is installed, and of `OWN_MACHINES`.
    """

    scenario: Callable[[str], float]
    installation: Callable[[str], float]


@dataclass
class Queue:
    """The scenarios that wait, and what is known about the machines. Belongs to whoever gives out the work.

    Attributes:
        waiting: In the order in which they are to begin.
        begun: Machines that a worker has taken.
        ready: Machines that are installed.
    """

    waiting: list[Job]
    begun: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)

    def take(self, last: str | None) -> Job | None:
        """Give out a scenario by the rules above.

        Args:
            last: The machine that the worker had before, if any.
        """
        job = pick(self.waiting, last, self.begun, self.ready)
        if job is not None:
            self.waiting.remove(job)
            self.begun.add(job.machine)
        return job


def pick(waiting: Sequence[Job], last: str | None, begun: Collection[str], ready: Collection[str]) -> Job | None:
    """Choose what a worker does next.

    Args:
        waiting: What there is to do, in order.
        last: The machine that the worker had before, if any.
        begun: Machines that some worker has taken.
        ready: Machines that are installed.
    """
    left: dict[str, list[Job]] = {}
    for job in waiting:
        left.setdefault(job.machine, []).append(job)
    if last is not None and last in left:
        return left[last][0]
    if fresh := next((jobs for machine, jobs in left.items() if machine not in begun), None):
        return fresh[0]
    installed = [jobs for machine, jobs in left.items() if machine in ready or not machine]
    candidates = installed or list(left.values())
    return max(candidates, key=len)[0] if candidates else None


def forecast(jobs: Sequence[Job], costs: Costs, workers: int) -> float:
    """How long these scenarios take, in seconds, when each of the workers follows the rules above."""
    queue = Queue(list(jobs), ready={job.machine for job in jobs if not costs.installation(job.machine)})
    installed_at: dict[str, float] = dict.fromkeys(queue.ready, 0.0)
    free: list[tuple[float, int, str | None]] = [(0.0, number, None) for number in range(max(1, workers))]
    heapq.heapify(free)
    end = 0.0
    while free:
        now, number, last = heapq.heappop(free)
        queue.ready |= {machine for machine, at in installed_at.items() if at <= now}
        job = queue.take(last)
        if job is None:
            continue
        start = max(now, installed_at.setdefault(job.machine, now + costs.installation(job.machine)))
        end = max(end, start + costs.scenario(job.test))
        heapq.heappush(free, (start + costs.scenario(job.test), number, job.machine))
    return end


def by_machine(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    """The scenarios of each machine, machines in the order in which they first appear."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.machine, []).append(job)
    return found


def machines(jobs: Iterable[Job]) -> list[str]:
    """The machines that scenarios start from, in the order in which they first appear."""
    return [name for name in by_machine(jobs) if name != OWN_MACHINES]


def in_order(jobs: Sequence[Job], sizes: Mapping[str, float]) -> list[Job]:
    """The scenarios, smallest machine first; of machines of one size, the one with most scenarios first.

    Args:
        jobs: Within a machine they stay in this order.
        sizes: What a machine costs to install, in any unit, by its name.
    """
    groups = by_machine(jobs)
    names = sorted(groups, key=lambda name: (sizes.get(name, 0.0), -len(groups[name]), name))
    return [job for name in names for job in groups[name]]


def shards(jobs: Sequence[Job], costs: Costs, count: int) -> list[list[Job]]:
    """Divide scenarios into parts that take about equally long; those that share a machine stay together.

    The longest machine is placed first, each where least is (Graham's LPT rule: at most 4/3 of the best).

    Args:
        jobs: What is to be divided; its order stays within each part.
        costs: What to expect of them.
        count: How many parts; some are empty when there are fewer machines.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(_together(job), []).append(job)
    cost = {
        name: costs.installation(mine[0].machine) + sum(costs.scenario(job.test) for job in mine)
        for name, mine in groups.items()
    }
    load = [0.0] * count
    chosen: dict[str, int] = {}
    for name in sorted(groups, key=lambda name: (-cost[name], name)):
        part = load.index(min(load))
        chosen[name] = part
        load[part] += cost[name]
    return [[job for job in jobs if chosen[_together(job)] == part] for part in range(count)]


def _together(job: Job) -> str:
    """What a scenario is kept together by: its machine, and where it shares none, nothing."""
    return job.test if job.machine == OWN_MACHINES else job.machine


def parse_shard(text: str) -> tuple[int, int]:
    """Read ``k/n``: the k-th of n parts, counted from 1.

    Raises:
        argparse.ArgumentTypeError: It is not that.
    """
    number, slash, parts = text.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts) <= MOST):
        raise argparse.ArgumentTypeError(f"there is no shard {text!r}: 2/6 is the second of six")
    return int(number), int(parts)
