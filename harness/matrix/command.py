"""``python -m harness matrix``: boot the truth table, or what is left of it, and draw it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.errors import UsageError
from harness.host.accel import CHOICES
from harness.matrix.conditions import CONDITIONS, all_conditions
from harness.matrix.picture import write_page, write_svg
from harness.matrix.rows import RACKS, own_row
from harness.matrix.run import Share, fill
from harness.matrix.table import show
from harness.policy.butane import read_policy
from harness.policy.world import Stack

IMAGE = "debian-13"
SUBSETS = "by-butane"
"""The rack that is booted with every subset of what its thresholds are about."""


def main(argv: Sequence[str]) -> int:
    """Run the command; the status is 0 only when every cell was judged and is as predicted."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        for condition in all_conditions():
            print(f"{condition.name:28} {condition.about}")
        return 0
    chosen = shares(arguments.butane, arguments.only, arguments.rack, arguments.artifacts, arguments.accel)
    matrix = fill(chosen)
    show(matrix, Console())
    page = write_page(matrix, arguments.artifacts)
    write_svg(matrix, arguments.artifacts / "matrix.svg")
    print(f"{page}, {arguments.artifacts / 'matrix.svg'}", file=sys.stderr)
    return 1 if matrix.differing or matrix.unjudged else 0


def shares(
    butane: Path | None, only: Sequence[str], racks: Sequence[str], artifacts: Path, accel: str
) -> tuple[Share, ...]:
    """What is to be booted.

    Raises:
        UsageError: There is no such column or rack, or the Butane file is wrong.
    """
    names = [condition.name for condition in all_conditions()]
    if unknown := sorted(set(only) - set(names)):
        raise UsageError(
            f"there is no condition {', '.join(unknown)}", hint="`python -m harness matrix --list` has them"
        )
    if unknown := sorted(set(racks) - set(RACKS)):
        raise UsageError(f"there is no rack {', '.join(unknown)}", f"there is: {', '.join(RACKS)}")
    single = [condition.name for condition in CONDITIONS]
    rows = {name: rows for name, rows in RACKS.items() if not racks or name in racks}
    if butane:
        read_policy(butane)
        rows = {"own": (own_row(butane),), **(rows if racks else {})}
    return tuple(
        Share(
            name=name,
            rows=rows[name],
            columns=tuple(column for column in (names if name == SUBSETS else single) if not only or column in only),
            image=IMAGE,
            stack=Stack.DR,
            artifacts=artifacts,
            accel=accel,
        )
        for name in rows
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness matrix", description=__doc__)
    parser.add_argument(
        "--butane", type=Path, help="a Butane file of your own, with one encrypted volume, as the only row"
    )
    parser.add_argument("--rack", action="append", default=[], help=f"only this machine: {', '.join(RACKS)}")
    parser.add_argument("--only", action="append", default=[], metavar="CONDITION", help="only this column")
    parser.add_argument("--list", action="store_true", help="list the columns")
    parser.add_argument("--accel", default="auto", choices=CHOICES, help="KVM or emulation (%(default)s)")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="where the table goes (%(default)s)")
    return parser
