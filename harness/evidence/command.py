"""``unlock-lab report``: the evidence as pages for people.

::

    unlock-lab report [ARTIFACTS] [-o PAGE]                      one run: every test, its boots, their consoles
    unlock-lab report --merge JOB… [--since NIGHT] [-o PAGE]     a night: all jobs, and what has changed since another
                      [--ended JOB=HOW]… [--may-fail JOB]…
    unlock-lab report --summary JOB…                             a job in Markdown, on standard output
    unlock-lab report --record LIST [ARTIFACTS…]                 what attackers got, added to such a list

A job is a folder of artifacts. Beside its page a night leaves ``night.json``, which the next night is compared with.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.evidence import artifacts, attack_list, jobs, night, report
from harness.evidence.html import template
from harness.evidence.night import Night
from harness.ownership import require_own_file

NIGHT = "night.json"


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="unlock-lab report", description="Make pages of the evidence.")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="what runs left (default: artifacts)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PAGE", help=f"the page (default: {report.PAGE}, in the first folder)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--merge", action="store_true", help="one page of many jobs (night.html)")
    which.add_argument("--summary", action="store_true", help="Markdown for a job, on standard output")
    which.add_argument(
        "--record", type=Path, metavar="LIST", help="add what attackers got to a list (docs/attacks.csv)"
    )
    parser.add_argument("--since", type=Path, metavar="NIGHT", help="with --merge: night.json of another night")
    parser.add_argument(
        "--ended",
        action="append",
        type=_ended,
        default=[],
        metavar="JOB=HOW",
        help="with --merge: how a job ended, by the word of the workflow; all but success makes a night not good",
    )
    parser.add_argument(
        "--may-fail", action="append", default=[], metavar="JOB", help="with --merge: a job that is an early warning"
    )
    options = parser.parse_args(argv)
    folders = options.folders or [Path("artifacts")]
    if (options.since or options.ended or options.may_fail) and not options.merge:
        parser.error("--since, --ended and --may-fail go with --merge")
    if options.summary:
        print(night.summary(jobs.gather(folders)), end="")
        return 0
    if options.record:
        return _record(folders, options.record)
    if options.merge:
        now = jobs.gather(folders, dict(options.ended), frozenset(options.may_fail))
        return _merge(now, options.since, options.output or Path("night.html"))
    if len(folders) > 1:
        parser.error("a report is of one folder; --merge takes several")
    output = options.output or folders[0] / report.PAGE
    report.write(folders[0], output)
    print(output)
    return 0


def _record(folders: Sequence[Path], path: Path) -> int:
    attack_list.load(path)  # what is no list is told before anything else
    found = list(attack_list.verdicts(attack_list.evidence_of(folders)))
    attack_list.record(found, path)
    print(f"{path}: {len(found)} attacks of {', '.join(map(str, folders))}")
    return 0


def _ended(text: str) -> tuple[str, str]:
    job, equals, how = text.partition("=")
    if not (job and equals and how):
        raise argparse.ArgumentTypeError(f"{text!r} is not like scenarios=success")
    return job, how


def _merge(now: Night, since: Path | None, output: Path) -> int:
    before = night.load(since) if since else None
    page = template("harness.evidence", "night.html.j2").render(
        night=now,
        before=before,
        changes=night.changes(before, now) if before else {},
        counted=night.counted,
        total=night.counted(*now.variants.values()),
        cells=sum(len(variant.cells) for variant in now.variants.values()),
        no_verdict=night.NO_VERDICT,
        not_predicted=night.NOT_PREDICTED,
    )
    require_own_file(output, report.GENERATOR)
    if output.with_name(NIGHT).exists():
        night.load(output.with_name(NIGHT))  # only a night of ours is replaced
    artifacts.write_named(output, page)
    artifacts.write_named(output.with_name(NIGHT), night.dumps(now))
    print(output)
    bad, broken = sum(map(len, now.bad.values())), ", ".join(f"{job} {how}" for job, how in now.broken.items())
    told = [
        f"{bad} without the verdict that was expected",
        *([f"jobs that did not end well: {broken}"] if broken else []),
    ]
    print(f"{'good' if now.good else 'not good'}: {'; '.join(told)}", file=sys.stderr)
    return 0
