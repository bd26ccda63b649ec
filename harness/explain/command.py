"""``unlock-lab explain FILE``: what a policy will do and what an attacker gets, from the rules, without a boot."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console

from harness.errors import UsageError
from harness.evidence.artifacts import save
from harness.explain.answer import Answer, Expectation, answer
from harness.explain.recorded import of_attacks, of_truth_table
from harness.explain.shape import shape
from harness.explain.show import show
from harness.explain.situations import situations
from harness.images import encrypted_root
from harness.matrix.command import IMAGE, shares
from harness.matrix.rows import ROOTS
from harness.paths import DOCS
from harness.policy.butane import read_policy
from harness.policy.world import Stack
from harness.unlock import Unlock

_TRUTH_TABLE = DOCS / "truth-table.csv"
_ATTACKS = DOCS / "attacks.csv"
_OUTCOMES = (*(unlock.value for unlock in Unlock), "extracted", "resisted")


def main(argv: Sequence[str]) -> int:
    """Run the command; the status is 1 when an ``--expect`` is not met."""
    arguments = _parser().parse_args(argv)
    expectations = [expectation(text) for text in arguments.expect]
    answers = [explained(file, arguments.image) for file in arguments.files]
    if arguments.json:
        print(json.dumps([each.document() for each in answers], indent=2))
    else:
        console = Console()
        for each in answers:
            show(each, console)
    if arguments.html:
        save(arguments.html.parent, {arguments.html.name: page(answers)})
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
    policy = read_policy(file)
    root = encrypted_root(image) is not None
    plans = shares(None, [], [], Path(), "auto")
    guards = {plan.row(volume): volume for plan in plans for volume in plan.policy.volumes}
    return answer(
        policy,
        ROOTS.get(image, Stack.DR),
        situations(policy, root=root),
        of_truth_table(plans, {shape(volume) for volume in policy.volumes}, _TRUTH_TABLE),
        of_attacks(guards, _ATTACKS),
    )


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
    environment = Environment(
        loader=PackageLoader("harness.explain"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("explain.html.j2").render(answers=answers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unlock-lab explain", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a Butane file")
    parser.add_argument("--image", default=IMAGE, help="the guest, a folder of images/ (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON (harness/explain/explain.schema.json)")
    parser.add_argument("--html", type=Path, metavar="PAGE", help="write one page, too")
    parser.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="[VOLUME:]CONDITION=OUTCOME",
        help="fail unless it is so: tpm-absent=passphrase-fallback, disk-stolen=resisted",
    )
    return parser
