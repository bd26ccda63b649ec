"""Boots the truth table: each condition once for each machine, every cell judged from its own volume's evidence.

Cells are written as soon as their boot is over, so that an interrupted run goes on where it was: a cell that was
observed with the same inputs (the sealed machine, what the condition does) is not booted again; what the oracle says of
it is asked anew. One machine is one process, since its Tang servers have one address each; as many work side by side as
this host has slots.

Each boot is a cold one. A machine saved before it unlocks could be resumed against other networks, but QEMU saves none
that has an NVMe disk, as these have (docs/explanation/time.md has it in figures); and what a rack's boot costs is its
volumes, which come after that moment.
"""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from harness.cache import digest
from harness.errors import HarnessError, HostError
from harness.evidence.artifacts import claimed_root
from harness.evidence.record import Problem
from harness.guest.outcome import Outcome
from harness.host.slots import slot_count
from harness.lab import laboratory
from harness.lab.install import SealedEntry, sealed_machine
from harness.lab.laboratory import Laboratory
from harness.lab.machines import Machines
from harness.lab.recorder import EvidenceRecorder
from harness.lab.sealed import Sealed
from harness.matrix import cells
from harness.matrix.cells import MATRIX, Cell, Matrix
from harness.matrix.condition import Condition
from harness.matrix.conditions import all_conditions, subsets
from harness.policy.oracle import predict
from harness.policy.policy import Policy, Volume
from harness.policy.world import Stack

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class MachinePlan:
    """What one machine does for the table.

    Attributes:
        policy: What it carries: each volume is a row, and an encrypted root the row that is called like the policy.
        columns: What is done to it: names of conditions.
        image: A folder of images/; the stack of the cells.
        stack: What opens its volumes, for the oracle.
        artifacts: Where the evidence and the table go.
        accel: ``auto``, ``kvm`` or ``tcg``.
        of_a_file: Whether it is a user's own file, whose volumes may be called like those of another.
    """

    policy: Policy
    columns: tuple[str, ...]
    image: str
    stack: Stack
    artifacts: Path
    accel: str
    of_a_file: bool = False

    def row(self, volume: Volume) -> str:
        """The row that a volume stands for."""
        if len(self.policy.volumes) == 1:
            return self.policy.name
        return f"{self.policy.name}: {volume.name}" if self.of_a_file else volume.name

    @property
    def places(self) -> Iterator[cells.Place]:
        """The places of its cells, row by row."""
        rows = map(self.row, self.policy.volumes)
        return ((self.image, row, column) for row in rows for column in self.columns)

    @property
    def conditions(self) -> Iterator[Condition]:
        """Its columns, in order: of all conditions, and of every subset of its own servers."""
        known = {each.name: each for each in (*all_conditions(), *subsets(self.policy.tang_servers))}
        return (known[name] for name in self.columns)

    def predicted(self, condition: Condition) -> Iterator[tuple[Volume, Cell]]:
        """What the oracle says of a column: each volume, and its cell before anybody boots it."""
        world = condition.world_of(self.policy.provided)
        for volume in condition.becomes(self.policy.volumes):
            said = predict(volume, world, self.stack)
            yield (
                volume,
                Cell(
                    policy=self.row(volume),
                    stack=self.image,
                    condition=condition.name,
                    observed=None,
                    predicted=said.unlock,
                    reason=said.reason,
                    predicted_failed_pins=said.failed_pins,
                ),
            )


@dataclass(frozen=True)
class BootResult:
    """What one condition did to a machine.

    Attributes:
        observed: The outcome of its boot, or why there is none.
        evidence: The boot's folder, relative to the artifacts.
        boots: Power-ons that it took.
        seconds: From the copy of the machine to the verdict.
    """

    observed: Outcome | Problem
    evidence: str
    boots: int
    seconds: float


def boot_cells(plans: Sequence[MachinePlan]) -> tuple[Matrix, tuple[HarnessError, ...]]:
    """Boot what is not known yet.

    Returns:
        The table of just these plans, and why a machine is missing from it: it could not be installed, say.

    Raises:
        HostError: A process that booted cells was killed.
    """
    spawn = multiprocessing.get_context("spawn")
    workers = min(slot_count(), len(plans))
    with ProcessPoolExecutor(workers, spawn, initializer=_end_with, initargs=(os.getpid(),)) as pool:
        running = [pool.submit(_boot_machine, plan) for plan in plans]
        try:
            errors = tuple(error for done in running if (error := done.result()))
        except BrokenProcessPool as error:
            raise HostError(
                "a process that booted cells was killed, for want of memory, say",
                hint="call it again: what was booted before is kept",
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return booted(*plans), errors


def booted(*plans: MachinePlan) -> Matrix:
    """What is known of these plans, which have their artifacts in common."""
    return _load(plans[0].artifacts).ordered(place for plan in plans for place in plan.places)


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, however that comes (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _boot_machine(plan: MachinePlan) -> HarnessError | None:
    """Boot one machine's columns, in a process of its own; returns why it could not."""
    try:
        with laboratory.prepared(laboratory.Options(accel=plan.accel)) as lab:
            boot_columns(plan, lab, sealed_machine(lab, plan.image, plan.policy, plan.artifacts))
    except HarnessError as error:
        return error
    return None


def boot_columns(plan: MachinePlan, lab: Laboratory, entry: SealedEntry) -> None:
    """Boot one machine's columns in their order, but for those that are known; each is written down as it ends."""
    left = left_to_boot(plan, entry)
    started = time.monotonic()
    for number, condition in enumerate(left, 1):
        done = time.monotonic() - started
        rest = f", some {done / (number - 1) * (len(left) - number + 1) / 60:.0f} min left" if number > 1 else ""
        with lab.progress.step(f"{plan.policy.name}: {condition.name} ({number} of {len(left)}{rest})"):
            seen = observe(entry, lab, condition, plan.artifacts)
        _write(plan.artifacts, cells_of(plan, entry, condition, seen))


def left_to_boot(plan: MachinePlan, entry: SealedEntry) -> list[Condition]:
    """The columns that no earlier run has booted with the same inputs; of the others the oracle is asked anew."""
    matrix = _load(plan.artifacts)
    return [condition for condition in plan.conditions if not _asked_anew(matrix, plan, entry, condition)]


def observe(entry: SealedEntry, lab: Laboratory, condition: Condition, artifacts: Path) -> BootResult:
    """Do to a copy of a sealed machine what the condition says, and judge its boot."""
    name = f"matrix::{entry.policy.name}-{entry.image.name}-{condition.name}"
    recorder = EvidenceRecorder.open(artifacts, name, condition.about)
    started = time.monotonic()
    observed: Outcome | Problem
    try:
        with recorder.finishing(), Machines(lab, recorder) as machines:
            observed = boot_under(condition, machines.copy(entry))
    except HarnessError as error:
        observed = Problem.of(error)
    boot = recorder.boots[-1].evidence if recorder.boots else ""
    boots = len(recorder.boots) + (1 if condition.maintenance else 0)
    return BootResult(observed, str(Path(recorder.folder.name, boot)), boots, time.monotonic() - started)


def boot_under(condition: Condition, sealed: Sealed) -> Outcome:
    """Do to a machine what the condition says, and judge its boot."""
    if condition.before:
        for tang in sealed.tangs.values():
            condition.before(tang)
    if condition.maintenance:
        sealed = sealed.maintained(condition.maintenance, *condition.under)
    for _ in range(condition.power_cuts):
        sealed.boot(label="power-cut")
    condition.apply(sealed.context.asked)
    meanwhile = condition.meanwhile() if condition.meanwhile else None
    return sealed.boot(
        *condition.faults,
        meanwhile=meanwhile,
        hold=condition.hold,
        ask_within=condition.ask_within,
        tpm_pins=condition.typed,
        label=condition.name,
    )


def cells_of(plan: MachinePlan, entry: SealedEntry, condition: Condition, seen: BootResult) -> list[Cell]:
    """The cells of a column: what was seen of each volume, and beside it what the oracle says."""
    depends_on = inputs(entry, condition)
    return [_judged(replace(cell, inputs=depends_on), volume, seen) for volume, cell in plan.predicted(condition)]


def _judged(cell: Cell, volume: Volume, seen: BootResult) -> Cell:
    cell = replace(cell, evidence=seen.evidence, boot=seen.evidence, boots=seen.boots, took=round(seen.seconds, 3))
    if isinstance(seen.observed, Problem):
        return replace(cell, error=seen.observed.what)
    outcome = seen.observed.volumes.get(volume.name, seen.observed)
    return replace(
        cell,
        observed=outcome.unlock,
        seen=outcome.reason,
        failed_pins=outcome.failed_pins,
        seconds=outcome.seconds.end,
    )


def inputs(entry: SealedEntry, condition: Condition) -> str:
    """The hash of all that decides what a cell shows."""
    return digest(entry.folder.name, *condition.inputs(entry.policy.volumes))


def _asked_anew(matrix: Matrix, plan: MachinePlan, entry: SealedEntry, condition: Condition) -> bool:
    """Whether all cells of a boot are known; then the oracle is asked again, since that costs nothing."""
    column = [cell for _, cell in plan.predicted(condition)]
    depends_on = inputs(entry, condition)
    known = [matrix.known(cell.place, depends_on) for cell in column]
    found = [
        replace(
            booted,
            predicted=cell.predicted,
            reason=cell.reason,
            predicted_failed_pins=cell.predicted_failed_pins,
        )
        for cell, booted in zip(column, known, strict=True)
        if booted
    ]
    if len(found) < len(column):
        return False
    _write(plan.artifacts, found)
    return True


def _write(artifacts: Path, found: Sequence[Cell]) -> None:
    with _writing(artifacts):
        cells.save(_load(artifacts).joined(found), artifacts)


def _load(artifacts: Path) -> Matrix:
    return cells.load(artifacts) if (artifacts / MATRIX).exists() else Matrix(started=datetime.now(UTC))


def _writing(artifacts: Path) -> FileLock:
    return FileLock(claimed_root(artifacts) / ".matrix.lock")
