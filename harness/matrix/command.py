"""``unlock-lab matrix``: boot the truth table, or what is left of it, and draw it."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from harness.defaults import ACCELERATORS, add_artifacts
from harness.errors import HarnessError, UsageError
from harness.evidence.artifacts import claimed_root, require_place
from harness.images.recipe import guest_recipe
from harness.lab.policies import image_for, require_installable
from harness.matrix import verdicts
from harness.matrix.cells import Matrix
from harness.matrix.conditions import CONDITIONS, all_conditions
from harness.matrix.junit import write_junit
from harness.matrix.machines import MACHINES, TableMachine, machine_names
from harness.matrix.picture import write_page, write_svg
from harness.matrix.run import MachinePlan, boot_cells
from harness.matrix.table import show
from harness.policy.butane import read_policy


def main(argv: Sequence[str]) -> int:
    """Run the command; the status is 0 only when every cell was judged and is as predicted."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        for condition in all_conditions():
            print(f"{condition.name:28} {condition.about}")
        return 0
    chosen = machine_plans(arguments.butane, arguments.only, arguments.machine, arguments.artifacts, arguments.accel)
    if arguments.draw:
        return _draw(chosen, arguments.draw)
    if arguments.record:
        verdicts.held(arguments.record)  # what is no list is told before the boots, not after
        require_place(arguments.record)
    claimed_root(arguments.artifacts)
    matrix, errors = boot_cells(chosen)
    show(matrix, Console())
    page = write_page(matrix, arguments.artifacts)
    picture, values = arguments.artifacts / "matrix.svg", arguments.artifacts / "matrix.csv"
    write_svg(matrix, picture)
    write_junit(matrix, arguments.artifacts / "matrix-junit.xml")
    seen = verdicts.verdicts(matrix)
    verdicts.save(seen, values)
    if arguments.record:
        table = machine_plans([], [], [], arguments.artifacts, arguments.accel)
        verdicts.record(seen, arguments.record, (place for plan in table for place in plan.places))
    print(f"{page}, {picture}, {values}", file=sys.stderr)
    if errors:
        raise HarnessError(
            f"{len(errors)} of {len(chosen)} machines are missing from the table",
            "\n\n".join(map(str, errors)),
            "run it again: what was booted is kept",
        )
    return _status(matrix)


def _status(matrix: Matrix) -> int:
    return 1 if matrix.differing or matrix.unjudged else 0


def _draw(chosen: Sequence[MachinePlan], path: Path) -> int:
    """Show what a list says of the machines that it knows, and write it as a picture beside the list."""
    matrix = recorded(chosen, verdicts.load(path))
    if not matrix.cells:
        raise UsageError(f"{path} says nothing of these machines", hint="name others with --machine and --only")
    show(matrix, Console())
    picture = path.with_suffix(".svg")
    write_svg(matrix, picture)
    print(picture, file=sys.stderr)
    return _status(matrix)


def recorded(chosen: Iterable[MachinePlan], found: verdicts.Verdicts) -> Matrix:
    """The table of the machines that a list knows; what it lacks of them has no verdict.

    Args:
        chosen: What could be booted.
        found: What was.
    """
    known = [plan for plan in chosen if not found.keys().isdisjoint(plan.places)]
    blank = {
        cell.place: cell for plan in known for condition in plan.conditions for _, cell in plan.predicted(condition)
    }
    rows = (blank[place] for plan in known for place in plan.places)
    return Matrix(tuple(verdicts.filled_from(found, rows)))


def machine_plans(
    butane: Sequence[Path], only: Sequence[str], machines: Sequence[str], artifacts: Path, accel: str
) -> tuple[MachinePlan, ...]:
    """What is to be booted: machines with a cell, since the others would be installed for nothing.

    Args:
        butane: A user's own files, each in a machine of its own instead of the table's.
        only: Names of columns; all that make sense unless some are named.
        machines: Names of machines; all unless some are named.
        artifacts: Where the evidence and the table go.
        accel: ``auto``, ``kvm`` or ``tcg``.

    Raises:
        UsageError: There is no such column or machine, or the Butane file is wrong.
    """
    if unknown := sorted(set(only) - {condition.name for condition in all_conditions()}):
        raise UsageError(f"there is no condition {', '.join(unknown)}", hint="`unlock-lab matrix --list` has them")
    if butane and machines:
        raise UsageError("a file of one's own is no machine of the table", hint="leave --butane or --machine out")
    if unknown := sorted(set(machines) - set(machine_names())):
        raise UsageError(f"there is no machine {', '.join(unknown)}", f"there is: {', '.join(machine_names())}")
    if butane:
        plans = [_own_machine(file, only, artifacts, accel) for file in _each_once(butane)]
    else:
        chosen = (machine for machine in MACHINES if not machines or machine.name in machines)
        plans = [_of_the_table(machine, only, artifacts, accel) for machine in chosen]
    with_cells = tuple(plan for plan in plans if plan.columns)
    if not with_cells:
        asked = ", ".join((*map(str, butane), *machines))
        raise UsageError(f"{asked}: no cell under {', '.join(only)}", hint="leave --only or --machine out")
    return with_cells


def _each_once(files: Sequence[Path]) -> Sequence[Path]:
    """The files, whose names are those of their machines."""
    for index, file in enumerate(files):
        if file.stem in [other.stem for other in files[:index]]:
            raise UsageError(f"two files are called {file.stem}, and a machine is called like its file")
    return files


def _of_the_table(machine: TableMachine, only: Sequence[str], artifacts: Path, accel: str) -> MachinePlan:
    columns = tuple(column for column in machine.columns if not only or column in only)
    stack = guest_recipe(machine.image).stack
    return MachinePlan(machine.policy, columns, machine.image, stack, artifacts, accel)


def _own_machine(file: Path, only: Sequence[str], artifacts: Path, accel: str) -> MachinePlan:
    """A user's own file as it is, on a machine of its own."""
    policy = read_policy(file)
    image = image_for(policy)
    require_installable(policy, guest_recipe(image))
    columns = tuple(condition.name for condition in CONDITIONS if not only or condition.name in only)
    return MachinePlan(policy, columns, image, guest_recipe(image).stack, artifacts, accel, of_a_file=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unlock-lab matrix", description="Boot the truth table, or what is left of it, and draw it."
    )
    parser.add_argument(
        "--butane",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="a Butane file or Ignition config of your own, as it is, on a machine of its own",
    )
    names = ", ".join(machine_names())
    parser.add_argument("--machine", action="append", default=[], metavar="NAME", help=f"only this machine: {names}")
    parser.add_argument("--only", action="append", default=[], metavar="CONDITION", help="only this column")
    parser.add_argument("--list", action="store_true", help="list the columns")
    parser.add_argument("--record", type=Path, metavar="LIST", help="add what was observed to such a list (matrix.csv)")
    parser.add_argument(
        "--draw", type=Path, metavar="LIST", help="boot nothing: draw such a list, the picture beside it"
    )
    parser.add_argument("--accel", default="auto", choices=ACCELERATORS, help="KVM or emulation (%(default)s)")
    add_artifacts(parser)
    return parser
