"""What a person is told about a campaign: before the first boot, while it runs, and at its end.

`Status` is a pytest plugin of the process that reports: the only one, or with pytest-xdist the one that gives out the
work. It also keeps how long everything took (`durations`).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import durations
from harness.campaign.durations import Durations, Installed
from harness.campaign.schedule import COLLECTED, OWN_MACHINES, Costs, Job, by_machine, forecast, machines
from harness.errors import HarnessError
from harness.temporary import temporary_folder

JOBS = pytest.StashKey[list[Job]]()
"""Of the session's config: every scenario that was collected, in order, those that are deselected later too."""

JOB = pytest.StashKey[Job]()
"""Of a test."""


INSTALLATION = "unlock_lab_installation"
"""The attribute of a report that says what the installation of its machine took: name, seconds and key."""

WAITED = "unlock_lab_waited"
"""The attribute of a report that says for how many of its seconds the scenario waited for a slot."""


def send(path: Path, jobs: Sequence[Job]) -> None:
    """Write what a worker collected, for `received`."""
    path.write_text(json.dumps([[job.test, job.machine] for job in jobs]))


def received(path: Path) -> list[Job]:
    """Read what a worker collected."""
    return [Job(test, machine) for test, machine in json.loads(path.read_text())]


class Status:
    """Tells what is on, and remembers how long it took.

    Attributes:
        machines: What each scenario starts from, by its node id; empty until something was collected.
    """

    def __init__(self, config: pytest.Config, machines_at_once: Callable[[], int]) -> None:
        self._config = config
        self._machines_at_once = machines_at_once
        self._jobs: dict[str, Job] = {}
        self._suite: list[Job] = []
        self._stack = ExitStack()
        self.machines: dict[str, str] = {}
        self._done: set[str] = set()
        self._started: dict[str, float] = {}
        self._begun: set[str] = set()
        self._ready: set[str] = set()
        self._took: dict[str, float] = {}
        self._measured = Durations()

    @cached_property
    def _folder(self) -> Path:
        """Where the workers of xdist write what they collected."""
        return self._stack.enter_context(temporary_folder())

    @cached_property
    def _at_once(self) -> int:
        return self._machines_at_once()

    @cached_property
    def _costs(self) -> Costs:
        return durations.expected(durations.of_this_host(), durations.of_another_host())

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without xdist: tell what will run."""
        self._suite = session.config.stash.get(JOBS, [])
        self._plan([job for item in session.items if (job := item.stash.get(JOB, None))])

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """With xdist: tell a worker where to write what it collects.

        Where there is no such place, it is not asked: nobody has said yet that there are scenarios.
        """
        with suppress(HarnessError):
            node.workerinput[COLLECTED] = str(self._folder / node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """With xdist: tell what will run, once."""
        path = Path(node.workerinput.get(COLLECTED, ""))
        if not self._suite and path.is_file():
            self._suite = received(path)
            self.machines |= {job.test: job.machine for job in self._suite}
            self._plan([Job(test, self.machines.get(test, "")) for test in ids])

    def pytest_unconfigure(self) -> None:
        """Remove the folder that the workers wrote to."""
        self._stack.close()

    def _plan(self, jobs: Sequence[Job]) -> None:
        self._jobs = {job.test: job for job in jobs if job.machine}
        if self._jobs and not self._config.option.collectonly:
            self._say(*plan_lines(list(self._jobs.values()), self._costs, self._at_once))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Tell what is on."""
        if job := self._jobs.get(nodeid):
            self._started[job.test] = time.monotonic()
            self._begun.add(job.machine)
            self._say(self._line())

    def _line(self) -> str:
        on = [self._jobs[test] for test in self._started if test not in self._done]
        waiting = [job for test, job in self._jobs.items() if test not in self._started]
        return status_line(len(self._done), len(self._jobs), on, waiting, self._left(on, waiting))

    def _left(self, on: Sequence[Job], waiting: Sequence[Job]) -> float:
        """Seconds until the end: what waits, and what is on less the time that it has had."""
        now = time.monotonic()
        rest = {job.test: max(0.0, self._whole(job) + self._started[job.test] - now) for job in on}
        costs = Costs(
            lambda test: rest[test] if test in rest else self._costs.scenario(test),
            lambda machine: 0.0 if machine in self._begun else self._costs.installation(machine),
        )
        return forecast([*on, *waiting], costs, self._at_once)

    def _whole(self, job: Job) -> float:
        installation = 0.0 if job.machine in self._ready else self._costs.installation(job.machine)
        return installation + self._costs.scenario(job.test)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how long a scenario took, and its machine's installation."""
        job = self._jobs.get(report.nodeid)
        if job is None:
            return
        if report.when == "call" and report.passed:
            self._took[job.test] = report.duration - getattr(report, WAITED, 0.0)
        if installed := getattr(report, INSTALLATION, None):
            self._note_installation(job, installed)
        if report.when == "teardown":
            self._done.add(job.test)

    def _note_installation(self, job: Job, installed: Mapping[str, Any]) -> None:
        self._ready.add(job.machine)
        known = {**self._measured.installations, job.machine: Installed(installed["seconds"], installed["key"])}
        self._measured = replace(self._measured, installations=known)

    def pytest_sessionfinish(self) -> None:
        """Keep what was measured, after Ctrl-C too."""
        if self._took or self._measured.installations:
            durations.remember(replace(self._measured, scenarios=self._took))

    def pytest_terminal_summary(self) -> None:
        """Tell what the scenarios that were not selected would take."""
        left_out = [job for job in self._suite if job.machine and job.test not in self._jobs]
        if self._done and left_out:
            costs = durations.expected(durations.of_this_host(), durations.of_another_host())
            everything = [job for job in self._suite if job.machine]
            how = " (make scenarios ALL=1)" if self._config.getoption("markexpr") == "core" else ""
            self._say(whole_line(everything, len(left_out), how, costs, self._at_once))

    def _say(self, *lines: str) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter:
            reporter.ensure_newline()
            for line in lines:
                reporter.write_line(line)
            reporter.flush()


def plan_lines(jobs: Sequence[Job], costs: Costs, at_once: int) -> list[str]:
    """What will run, in how many machines, and how long.

    What was installed before may have to be anew: a machine's key is known when its image is, which is after this.
    """
    groups = by_machine(jobs)
    missing = [machine for machine in groups if costs.installation(machine)]
    head = f"{extent(jobs)}, {at_once} at a time"
    lines = [f"{head}; {len(missing)} to be installed first" if missing else f"{head}, all installed before"]
    width = max(map(len, groups))
    for machine, mine in groups.items():
        first = costs.installation(machine)
        installed = f"installation {minutes(first)}, then " if first else ""
        boots = sum(costs.scenario(job.test) for job in mine)
        lines.append(f"  {machine:<{width}}  {installed}{_count(len(mine), 'scenario')} {minutes(boots)}")
    return [
        *lines,
        f"about {minutes(forecast(jobs, costs, at_once))} in all, by what this host took before or should take",
    ]


def status_line(done: int, total: int, on: Sequence[Job], waiting: Sequence[Job], left: float) -> str:
    """One line while it runs: how far it is, what is on, what is next, and how long it still takes."""
    parts = [f"[{done}/{total}] on: {', '.join(f'{short(job.test)} ({job.machine})' for job in on)}"]
    if waiting:
        parts.append(f"next: {short(waiting[0].test)}")
    return " · ".join([*parts, f"about {minutes(left)} left"])


def whole_line(jobs: Sequence[Job], left_out: int, how: str, costs: Costs, at_once: int) -> str:
    """What everything that was collected would take, and how to run it."""
    whole = minutes(forecast(jobs, costs, at_once))
    more = f"{_count(left_out, 'more scenario')} not selected{how}"
    return f"{more}: all, {extent(jobs)}, would take about {whole} on this host"


def extent(jobs: Sequence[Job]) -> str:
    """How much there is to do: ``201 scenarios in 52 machines, 4 scenarios in machines of their own``."""
    own = sum(job.machine == OWN_MACHINES for job in jobs)
    parts = [
        f"{_count(len(jobs) - own, 'scenario')} in {_count(len(machines(jobs)), 'machine')}" if own < len(jobs) else "",
        f"{_count(own, 'scenario')} in {OWN_MACHINES}" if own else "",
    ]
    return ", ".join(filter(None, parts))


def short(test: str) -> str:
    """The name of a test without its file."""
    name, bracket, parameters = test.partition("[")
    return name.rpartition("::")[2] + bracket + parameters


def minutes(seconds: float) -> str:
    """A duration for people: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 100 else f"{whole // 60} h {whole % 60:02} min"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
