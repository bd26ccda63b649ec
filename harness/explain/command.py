"""``unlock-lab explain``: what a policy, or a machine, will do and what an attacker gets, told without a boot."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from harness.defaults import IMAGE
from harness.errors import UsageError
from harness.event_log.decode import decode_event_log
from harness.event_log.events import MeasuredEvent
from harness.evidence.artifacts import write_named
from harness.explain import collected
from harness.explain.advice import Advice
from harness.explain.answer import Answer, Expectation, Situation, answer
from harness.explain.recorded import of_attacks, of_truth_table
from harness.explain.shape import shape
from harness.explain.show import show
from harness.explain.situations import situations
from harness.images.recipe import guest_recipe
from harness.matrix.table_rows import TableRow, table_rows
from harness.ownership import require_own_file
from harness.paths import DOCS, POLICIES
from harness.policy.butane import read_policy
from harness.policy.pins import ServiceId
from harness.policy.policy import Policy, Volume
from harness.policy.world import Stack, TpmState, World
from harness.unlock import Unlock

_TRUTH_TABLE = DOCS / "truth-table.csv"
_ATTACKS = DOCS / "attacks.csv"
_GENERATOR = '<meta name="generator" content="unlock-lab explain">'
_OUTCOMES = (*(unlock.value for unlock in Unlock), "extracted", "resisted")


def main(argv: Sequence[str]) -> int:
    """Run the command; the status is 1 when an ``--expect`` is not met."""
    arguments = _parser().parse_args(argv)
    expectations = [expectation(text) for text in arguments.expect]
    answers = [explained(file, arguments.image) for file in arguments.files]
    answers += [explained_machine(folder) for folder in arguments.machine]
    if not answers:
        raise UsageError("nothing to explain", hint="name a Butane file, or a folder with --machine")
    if arguments.html:
        require_own_file(arguments.html, _GENERATOR)
    if arguments.json:
        print(json.dumps([each.document() for each in answers], indent=2))
    else:
        console = Console()
        for each in answers:
            show(each, console)
    if arguments.html:
        write_named(arguments.html, page(answers))
        print(arguments.html, file=sys.stderr)
    unmet = [line for each in answers for wanted in expectations for line in wanted.unmet(each)]
    for line in unmet:
        print(f"✗ {line}", file=sys.stderr)
    return 1 if unmet else 0


def explained(file: Path, image: str) -> Answer:
    """The answer about a Butane file.

    Args:
        file: The file.
        image: The guest that it would be installed on, which decides what opens its volumes.

    Raises:
        UsageError: The file is wrong, or there is no such image.
    """
    return explained_policy(read_policy(file), image)


def explained_policy(policy: Policy, image: str) -> Answer:
    """The same of a policy that was read already.

    Raises:
        UsageError: There is no such image.
    """
    recipe = guest_recipe(image)
    return _answered(policy, recipe.stack, situations(policy, root=bool(recipe.root_passphrase)))


def explained_machine(folder: Path) -> Answer:
    """The answer about a machine that runs already.

    Args:
        folder: What ``collect.sh`` filled there.

    Raises:
        UsageError: It is no such folder.
        HostError: Its event log cannot be decoded here.
    """
    found = collected.read(folder)
    asked = situations(found.policy, root=any(volume.mount_point == "/" for volume in found.policy.volumes))
    return _answered(
        found.policy,
        found.stack,
        [_as_found(situation, found.tpm) for situation in asked],
        booted=found.tpm is TpmState.PRESENT,
        withheld=found.unknown,
        events=decode_event_log(found.event_log) if found.event_log else (),
        facts=found.facts,
        warnings=found.warnings,
    )


def _as_found(situation: Situation, tpm: TpmState) -> Situation:
    """The same with the TPM as it is, where the situation is not about the TPM."""

    def world_of(services: Iterable[ServiceId]) -> World:
        world = situation.world_of(services)
        return replace(world, tpm=tpm) if world.tpm is TpmState.PRESENT else world

    return replace(situation, world_of=world_of)


def _answered(
    policy: Policy,
    stack: Stack,
    asked: Iterable[Situation],
    *,
    booted: bool = True,
    withheld: Mapping[str, str] = MappingProxyType({}),
    events: Sequence[MeasuredEvent] = (),
    facts: tuple[str, ...] = (),
    warnings: tuple[Advice, ...] = (),
) -> Answer:
    rows = _rows()
    guards = {row.name: row.volume for row in rows}
    verdicts = of_truth_table(rows, {shape(volume) for volume in policy.volumes}, _TRUTH_TABLE) if booted else {}
    guards |= {volume.name: volume for volume in _side_by_side() if volume.pins and volume.name not in guards}
    attacks = of_attacks(guards, _ATTACKS)
    told = answer(policy, stack, asked, verdicts, attacks, withheld=withheld, events=events, facts=facts)
    return replace(told, advice=(*warnings, *told.advice))


@cache
def _rows() -> tuple[TableRow, ...]:
    """Those of the truth table, read once for all files."""
    return tuple(table_rows())


@cache
def _side_by_side() -> tuple[Volume, ...]:
    """The volumes on which many attacks are tried at once, each named after what guards it."""
    return read_policy(POLICIES / "side-by-side.bu").volumes


def collect(argv: Sequence[str]) -> int:
    """``unlock-lab collect``: print the script that an owner runs on a machine."""
    parser = argparse.ArgumentParser(
        prog="unlock-lab collect",
        description="Print a shell script. Read it, and run it as root on a machine: sh collect.sh DIR. "
        "`unlock-lab explain --machine DIR` then tells what that machine will do.",
    )
    parser.parse_args(argv)
    print((Path(__file__).parent / "collect.sh").read_text(), end="")
    return 0


def expectation(text: str) -> Expectation:
    """Read ``[VOLUME:]CONDITION=OUTCOME``.

    Raises:
        UsageError: It is written otherwise.
    """
    match = re.fullmatch(r"(?:(?P<volume>[^:=]+):)?(?P<subject>[^:=]+)=(?P<outcome>[^:=]+)", text)
    if not match or match["outcome"] not in _OUTCOMES:
        raise UsageError(
            f"--expect {text!r} is not [VOLUME:]CONDITION=OUTCOME",
            f"an outcome is one of {', '.join(_OUTCOMES)}",
            "write, for instance, --expect tpm-absent=passphrase-fallback",
        )
    return Expectation(match["volume"], match["subject"], match["outcome"])


def page(answers: Sequence[Answer]) -> str:
    """The answers as one HTML page."""
    from harness.evidence.html import template  # noqa: PLC0415, jinja2 takes a seventh of all imports' time

    return template("harness.explain", "explain.html.j2").render(answers=answers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unlock-lab explain",
        description="Tell what a policy, or a machine, will do and what an attacker gets, by the rules alone.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a Butane file or Ignition config")
    parser.add_argument(
        "--machine", action="append", default=[], type=Path, metavar="DIR", help="a folder that collect.sh filled"
    )
    parser.add_argument("--image", default=IMAGE, help="the guest, a folder of images/ (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON (harness/explain/explain.schema.json)")
    parser.add_argument("--html", type=Path, metavar="PAGE", help="write one page, too")
    parser.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="[VOLUME:]CONDITION=OUTCOME",
        help="fail unless it is so: tpm-absent=passphrase-fallback, disk-stolen=resisted; the names stand in --html",
    )
    return parser
