"""``unlock-lab list``: the scenarios, their machines, and how long each takes.

``--json`` is what the nightly workflow makes its jobs from, so that no list of shards, racks or images is written
twice. ``--record`` publishes what this host has measured (`durations`): by that, shards are balanced everywhere.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from harness.campaign import durations
from harness.campaign.collection import divided
from harness.campaign.schedule import OWN_MACHINES, Costs, Job, by_machine, forecast, machines
from harness.campaign.status import JOB, extent, minutes, short
from harness.defaults import count
from harness.errors import UsageError
from harness.files import tail, write_whole
from harness.host.slots import slot_count
from harness.images.recipe import guest_names, guest_recipe
from harness.matrix.machines import machine_names

SCHEMA = 1


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="unlock-lab list", description="The scenarios and their machines.")
    parser.add_argument("paths", nargs="*", default=["scenarios"], help="as for pytest (scenarios)")
    parser.add_argument("-m", dest="marks", default="", help="as for pytest: only tests with these marks")
    parser.add_argument("--json", action="store_true", help="one line of JSON, for a workflow")
    parser.add_argument(
        "--shards", type=count, default=6, metavar="N", help="how many shards to divide into (%(default)s)"
    )
    parser.add_argument("--record", action="store_true", help="publish what this host has measured of them")
    arguments = parser.parse_args(argv)
    jobs = collected(arguments.paths, arguments.marks)
    if arguments.record:
        print(record(jobs))
        return 0
    costs = durations.expected(durations.Durations(), durations.of_another_host())
    if arguments.json:
        print(json.dumps(document(jobs, costs, arguments.shards)))
    else:
        own = durations.expected(durations.of_this_host(), durations.of_another_host())
        print("\n".join(text(jobs, own, slot_count())))
    return 0


def record(jobs: Sequence[Job]) -> Path:
    """Write what this host has measured of these to the file that comes with the harness, and return that file."""
    path = Path(durations.__file__).with_name("durations.json")
    known = durations.published(durations.of_this_host(), durations.of_another_host(), jobs)
    write_whole(path, durations.render(known))
    return path


class _Collector:
    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.interrupted = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        jobs = (item.stash.get(JOB, None) for item in session.items)
        self.jobs = [job for job in jobs if job and job.machine]

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted = excinfo.type is KeyboardInterrupt  # by Ctrl-C, and not since a file is wrong


def collected(paths: Sequence[str], marks: str = "") -> list[Job]:
    """Collect scenarios as pytest would, in the order in which they would run.

    Raises:
        UsageError: pytest cannot collect them; with what it says.
    """
    collector, said, wrong = _Collector(), io.StringIO(), io.StringIO()
    options = ["--collect-only", "--assert=plain", "-qq", "-p", "no:cacheprovider", *(["-m", marks] if marks else [])]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        status = pytest.main([*options, *paths], plugins=[collector])
    if collector.interrupted:
        raise KeyboardInterrupt
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise UsageError("the scenarios cannot be collected", wrong.getvalue().strip() or tail(said.getvalue(), 40))
    return collector.jobs


def document(jobs: Sequence[Job], costs: Costs, shards: int) -> Mapping[str, object]:
    """All that a workflow needs to know.

    ``shards``, ``racks`` (machines of the truth table) and ``stacks`` (images whose root is encrypted) are matrices of
    jobs.
    """
    parts = divided(jobs, shards)
    return {
        "schema": SCHEMA,
        "scenarios": [
            {"test": job.test, "machine": job.machine, "seconds": round(costs.scenario(job.test))} for job in jobs
        ],
        "machines": {machine: round(costs.installation(machine)) for machine in machines(jobs)},
        "shards": [
            {
                "shard": f"{number}/{shards}",
                "number": number,
                "scenarios": len(part),
                "seconds": round(alone(part, costs)),
            }
            for number, part in enumerate(parts, 1)
            if part
        ],
        "racks": machine_names(),
        "images": guest_names(),
        "stacks": [name for name in guest_names() if guest_recipe(name).root_passphrase],
    }


def alone(jobs: Sequence[Job], costs: Costs) -> float:
    """Seconds that these take with one machine at a time."""
    return forecast(jobs, costs, 1)


def text(jobs: Sequence[Job], costs: Costs, at_once: int) -> list[str]:
    """The list for people, with what this host takes."""
    lines = []
    for machine, mine in by_machine(jobs).items():
        first = costs.installation(machine)
        ready = "installed by each scenario" if machine == OWN_MACHINES else "installed before"
        lines.append(f"{machine}: {f'installation {minutes(first)}' if first else ready}")
        lines += [f"  {minutes(costs.scenario(job.test)):>8}  {short(job.test)}" for job in mine]
    takes = f"{minutes(alone(jobs, costs))} one at a time"
    if at_once > 1:
        takes += f", {minutes(forecast(jobs, costs, at_once))} with {at_once} machines at once"
    return [*lines, f"{extent(jobs)}, {takes}"]
