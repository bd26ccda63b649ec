"""``unlock-lab suite``: what became of every scenario in real runs, and which have not run.

::

    unlock-lab suite FOLDER…                      what these artifacts say, in a few lines
    unlock-lab suite --record LIST [FOLDER…]      added to a list of runs, and the list's page (Markdown) beside it

Of each scenario the newest run with a verdict counts; runs without one are listed apart: they are no outcomes. How long
it all takes is what comes with the harness (`durations`), so that the page is the same on every host.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.campaign import durations, runs
from harness.campaign.durations import Durations
from harness.campaign.listing import alone, collected
from harness.campaign.runs import Run
from harness.campaign.schedule import OWN_MACHINES, Job, by_machine, forecast, machines
from harness.campaign.status import extent, minutes, short
from harness.errors import UsageError
from harness.evidence.artifacts import markdown, write_named
from harness.evidence.attack_list import evidence_of
from harness.evidence.record import Result
from harness.ownership import require_own_file
from harness.plain import plain

_SLOTS = 2
_SIGN = "`unlock-lab suite --record"
"""By which a page that this wrote is known, and may be replaced."""

_NO_RUN, _NO_VERDICT = "no run", "no verdict"
_KINDS = (Result.PASSED.value, Result.FAILED.value, _NO_VERDICT, _NO_RUN)


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="unlock-lab suite", description="What became of every scenario.")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="artifacts that runs left")
    parser.add_argument("--record", type=Path, metavar="LIST", help="add them to a list (docs/suite.csv) and its page")
    options = parser.parse_args(argv)
    if not options.folders and not options.record:
        raise UsageError("there is no evidence to tell of", hint="name folders of artifacts, or a list with --record")
    if options.record:
        runs.load(options.record)  # what is no list is told before anything else
        output = options.record.with_suffix(".md")
        if output == options.record:
            raise UsageError(f"{output} is where the page goes", hint="call the list something like suite.csv")
        require_own_file(output, _SIGN)
    found = list(runs.runs(evidence_of(options.folders)))
    jobs = collected(["scenarios"])
    if not options.record:
        print("\n".join(summary(jobs, found)))
        return 0
    told = runs.record(found, options.record)
    write_named(output, "\n".join(page(jobs, told, durations.of_another_host())) + "\n")
    print(f"{output}: {len(found)} runs of {len(options.folders)} folders, {len(told)} in all", file=sys.stderr)
    return 0


def page(jobs: Sequence[Job], found: Iterable[Run], known: Durations) -> list[str]:
    """The page, line by line.

    Args:
        jobs: Every scenario that there is.
        found: Their runs; those of other scenarios are left out.
        known: How long scenarios and installations take.
    """
    mine = _by_scenario(jobs, found)
    return [
        "# The whole suite",
        "",
        "What became of every scenario in real runs, by their evidence. Made by",
        f"{_SIGN} docs/suite.csv FOLDER…`; not to be edited.",
        "",
        *_totals(jobs, mine, known),
        "",
        *_files(jobs, mine, known),
        *_without_verdict([run for each in mine.values() for run in each if not run.judged]),
        *_machines(jobs, known),
    ]


def summary(jobs: Sequence[Job], found: Iterable[Run]) -> list[str]:
    """The same in a few lines: what passed and what has not run is counted, and the rest named.

    Args:
        jobs: Every scenario that there is.
        found: Their runs; those of other scenarios are left out.
    """
    mine = _by_scenario(jobs, found)
    bad = [run for each in mine.values() if (run := _counted(each)) and run.result != Result.PASSED.value]
    told = ((verdict([run]), short(run.test), plain(run.error or run.disks)) for run in bad)
    return [_counts(jobs, mine), *(f"  {': '.join(filter(None, parts))}" for parts in told)]


def _by_scenario(jobs: Sequence[Job], found: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each scenario, in the order of their start."""
    mine: dict[str, list[Run]] = {job.test: [] for job in jobs}
    for run in sorted(found):
        mine.get(run.test, []).append(run)
    return mine


def verdict(mine: Sequence[Run]) -> str:
    """What became of a scenario: by its newest run with a verdict, if there is one."""
    last = _counted(mine)
    return _NO_RUN if last is None else last.result if last.judged else _NO_VERDICT


def _counted(mine: Sequence[Run]) -> Run | None:
    """The newest run with a verdict, or without one if none has any."""
    return max(mine, key=lambda run: (run.judged, run), default=None)


def _totals(jobs: Sequence[Job], mine: Mapping[str, Sequence[Run]], known: Durations) -> list[str]:
    costs = durations.expected(Durations(), known)
    measured = sum(job.test in known.scenarios for job in jobs)
    installed = sum(machine in known.installations for machine in machines(jobs))
    one, both = minutes(alone(jobs, costs)), minutes(forecast(jobs, costs, _SLOTS))
    return [
        _counts(jobs, mine),
        f"Where it says *{_NO_RUN}*, the list has none: that says nothing of the scenario.",
        "",
        f"All of them take about {one} one at a time, {both} with {_SLOTS} machines at once, by",
        "the durations that come with the harness (of a host with two cores and without KVM). Measured are",
        f"{measured} of {len(jobs)} scenarios and {installed} of {len(machines(jobs))} installations; of the others",
        "the median is taken.",
    ]


def _counts(jobs: Sequence[Job], mine: Mapping[str, Sequence[Run]]) -> str:
    counts = Counter(verdict(each) for each in mine.values())
    every = [run for each in mine.values() for run in each]
    return (
        f"{extent(jobs)}: "
        + ", ".join(f"{counts[kind]} {kind}" for kind in _KINDS)
        + f". {len(every)} runs, {sum(not run.judged for run in every)} of them without a verdict."
    )


def _without_verdict(errors: Iterable[Run]) -> list[str]:
    return [
        "## Runs without a verdict",
        "",
        "The rig, the host or the scenario itself was at fault. They are no outcomes.",
        "",
        "| scenario | when | what went wrong |",
        "|---|---|---|",
        *(f"| {_code(short(run.test))} | {_day(run)} | {markdown(run.error)} |" for run in errors),
        "",
    ]


def _machines(jobs: Sequence[Job], known: Durations) -> list[str]:
    lines = ["## Machines", "", "| machine | scenarios | installation |", "|---|--:|--:|"]
    for machine, mine in by_machine(jobs).items():
        took = known.installations.get(machine)
        takes = "by each of them" if machine == OWN_MACHINES else _takes(took.seconds if took else None)
        lines.append(f"| {markdown(machine)} | {len(mine)} | {takes} |")
    return lines


def _files(jobs: Sequence[Job], mine: Mapping[str, Sequence[Run]], known: Durations) -> list[str]:
    lines = []
    for file in sorted({job.test.partition("::")[0] for job in jobs}):
        lines += [
            f"## {Path(file).name}",
            "",
            "| scenario | verdict | what the disks did | last run | runs | takes |",
            "|---|---|---|---|--:|--:|",
            *(_row(job, mine[job.test], known) for job in jobs if job.test.partition("::")[0] == file),
            "",
        ]
    return lines


def _row(job: Job, mine: Sequence[Run], known: Durations) -> str:
    last = _counted(mine) or Run(job.test, "", "", "", "")
    seen = verdict(mine)
    cells = (
        _code(short(job.test)),
        seen if seen == Result.PASSED.value else f"**{seen}**",
        markdown(last.disks),
        _day(last),
        str(len(mine)) if mine else "",
        _takes(known.scenarios.get(job.test)),
    )
    return f"| {' | '.join(cells)} |"


def _takes(seconds: float | None) -> str:
    return "" if seconds is None else minutes(seconds)


def _day(run: Run) -> str:
    return run.started[:10]


def _code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|')}`"
