"""From a boot to the cells of the table: what was seen and what is predicted do not meet before the table."""

import os
import signal
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import NoReturn

import pytest

from harness.cache import digest
from harness.errors import HostError, RigError, UsageError
from harness.evidence import record
from harness.evidence.record import Problem
from harness.guest.outcome import Outcome, PinFailure, Seconds
from harness.images import GuestImage
from harness.lab.install import SealedEntry
from harness.lab.machines import Machines
from harness.machine.spec import Firmware, Machine
from harness.matrix import cells, run
from harness.matrix.command import machine_plans
from harness.matrix.condition import Condition
from harness.matrix.conditions import CONDITIONS, MAINTENANCE, OF_HSMS, OF_POWER, OF_ROOTS, OF_TOKENS, all_conditions
from harness.matrix.machines import MACHINES, table_machine
from harness.matrix.rack import rack
from harness.matrix.run import BootResult, MachinePlan, cells_of, inputs
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.maintenance import MaintenanceResult
from harness.policy.policy import Policy
from harness.policy.world import Stack, World
from harness.unlock import Unlock

ROWS = table_machine("by-butane").policies[:2]
TPM_ABSENT = next(condition for condition in CONDITIONS if condition.name == "tpm-absent")
FALLBACK = Outcome(
    Unlock.PASSPHRASE_FALLBACK,
    "tpm2 failed",
    failures=(PinFailure("tpm2", "no TPM", "journal"),),
    seconds=Seconds(end=40.0),
)
AUTO = Outcome(Unlock.AUTO, "tpm2 answered", seconds=Seconds(end=41.0))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return rack("two", ROWS)


@pytest.fixture
def entry(policy: Policy, tmp_path: Path) -> SealedEntry:
    image = GuestImage("debian-13", "key", tmp_path, tmp_path, tmp_path, tmp_path, tmp_path, "", Stack.DR, 3, "", "")
    machine = Machine("two", Firmware("f", tmp_path, tmp_path, True), tmp_path, (), None)
    return SealedEntry(tmp_path / "sealed-hash", policy, image, machine, {}, {}, 1.0, {})


def killed(_plan: MachinePlan) -> None:
    """In place of what boots a machine's columns."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def plan(policy: Policy, tmp_path: Path) -> MachinePlan:
    return MachinePlan(policy, ("tpm-absent",), "debian-13", Stack.DR, tmp_path / "artifacts", "tcg")


def seen(policy: Policy, one: Outcome, other: Outcome) -> BootResult:
    first, second = (volume.name for volume in policy.volumes)
    outcome = Outcome(one.unlock, "both", volumes=MappingProxyType({first: one, second: other}))
    return BootResult(outcome, "matrix-1/boot-1", 1, 60.0)


def test_each_volume_is_a_cell_with_its_own_outcome(plan: MachinePlan, entry: SealedEntry, policy: Policy) -> None:
    what = seen(policy, FALLBACK, AUTO)
    one, other = cells_of(plan, entry, TPM_ABSENT, what)
    assert one.place == ("debian-13", "tpm2", "tpm-absent")
    assert one.agrees
    assert one.failed_pins == {"tpm2"}
    assert (one.seconds, one.seen) == (40.0, "tpm2 failed")
    assert other.differs
    assert (other.observed, other.predicted, other.marks) == (Unlock.AUTO, Unlock.PASSPHRASE_FALLBACK, "A≠P")
    assert one.boot == other.boot == "matrix-1/boot-1"
    assert (one.boots, one.took) == (1, 60.0)


def test_a_boot_without_a_verdict_leaves_cells_without_one(plan: MachinePlan, entry: SealedEntry) -> None:
    what = BootResult(Problem("RigError", "the TPM timed out"), "matrix-1/boot-1", 1, 60.0)
    found = cells_of(plan, entry, TPM_ABSENT, what)
    assert [(cell.observed, cell.differs, cell.error) for cell in found] == [(None, False, "the TPM timed out")] * 2


def test_a_cell_depends_on_the_machine_and_the_condition(entry: SealedEntry, tmp_path: Path) -> None:
    here = inputs(entry, TPM_ABSENT)
    assert here == inputs(entry, TPM_ABSENT)
    assert here != inputs(entry, CONDITIONS[0])
    other = SealedEntry(tmp_path / "another", entry.policy, entry.image, entry.machine, {}, {}, 1.0, {})
    assert here != inputs(other, TPM_ABSENT)


def test_what_a_condition_does_is_declared() -> None:
    volumes = rack("by-butane", table_machine("by-butane").policies).volumes
    declared = [condition.inputs(volumes) for condition in all_conditions()]
    assert len({digest(*inputs) for inputs in declared}) == len(declared)
    one = Condition("it", "")
    for other in (
        replace(one, name="another"),
        replace(one, edition=2),
        replace(one, hold=one.hold + 1),
        replace(one, ask_within=one.ask_within + 1),
        replace(one, maintenance=lambda volumes: MaintenanceResult(tuple(volumes), ("true",))),
    ):
        assert other.inputs(volumes) != one.inputs(volumes)
    assert replace(one, about="the same in other words").inputs(volumes) == one.inputs(volumes)


def test_a_known_boot_is_not_made_again_and_the_oracle_is_asked_anew(
    plan: MachinePlan, entry: SealedEntry, policy: Policy
) -> None:
    assert not run._asked_anew(run._load(plan.artifacts), plan, entry, TPM_ABSENT)
    found = cells_of(plan, entry, TPM_ABSENT, seen(policy, FALLBACK, FALLBACK))
    run._write(plan.artifacts, found[:1])
    assert not run._asked_anew(run._load(plan.artifacts), plan, entry, TPM_ABSENT), "one of two volumes is not known"
    run._write(plan.artifacts, found)
    assert run._asked_anew(run._load(plan.artifacts), plan, entry, TPM_ABSENT)
    matrix = cells.load(plan.artifacts)
    assert (matrix.boots, len(matrix.cells)) == (1, 2)
    told = replace(TPM_ABSENT, about="the oracle learned better", world=World())
    assert run._asked_anew(run._load(plan.artifacts), plan, entry, told)
    assert {cell.predicted for cell in cells.load(plan.artifacts).cells} == {Unlock.AUTO}


def test_a_cell_without_a_verdict_is_booted_again(plan: MachinePlan, entry: SealedEntry) -> None:
    what = BootResult(Problem("RigError", "the TPM timed out"), "", 1, 60.0)
    run._write(plan.artifacts, cells_of(plan, entry, TPM_ABSENT, what))
    assert not run._asked_anew(run._load(plan.artifacts), plan, entry, TPM_ABSENT)


def test_all_machines_and_the_columns_that_make_sense(tmp_path: Path) -> None:
    chosen = machine_plans([], [], [], tmp_path, "tcg")
    assert [(plan.policy.name, plan.image) for plan in chosen] == [(each.name, each.image) for each in MACHINES]
    assert {plan.image: plan.stack for plan in chosen} == {
        "debian-13": Stack.DR,
        "debian-13-tokens": Stack.DR,
        "debian-13-keys": Stack.DR,
        "debian-13-root": Stack.DR,
        "debian-13-initramfs": Stack.IT,
        "debian-13-tpm12": Stack.IT,
    }
    by_name = {plan.policy.name: plan for plan in chosen}
    assert set(by_name["by-butane"].columns) == {
        condition.name
        for condition in all_conditions()
        if condition not in (*OF_ROOTS, *OF_TOKENS, *OF_HSMS, *OF_POWER)
    }
    assert len(list(by_name["by-hand"].places)) == (len(CONDITIONS) + len(MAINTENANCE) + len(OF_POWER) - 4) * len(
        table_machine("by-hand").policies
    )
    places = [place for plan in chosen for place in plan.places]
    assert len(set(places)) == len(places)
    for plan in chosen:
        assert set(plan.columns) <= {condition.name for condition in all_conditions()}


def test_a_boot_answers_for_many_cells(tmp_path: Path) -> None:
    """The aim of the table: at most 0.15 boots a cell, with those that maintenance takes."""
    chosen = machine_plans([], [], [], tmp_path, "tcg")
    cost = {condition.name: 2 if condition.maintenance else 1 for condition in all_conditions()}
    boots = sum(cost[column] for plan in chosen for column in plan.columns)
    shared = [plan for plan in chosen if len(plan.policy.volumes) > 1]
    cells_of_racks = sum(len(list(plan.places)) for plan in shared)
    assert sum(cost[column] for plan in shared for column in plan.columns) / cells_of_racks <= 0.15
    assert boots / sum(len(list(plan.places)) for plan in chosen) <= 0.19


def test_one_machine_and_one_column(tmp_path: Path) -> None:
    (plan,) = machine_plans([], ["present"], ["by-hand"], tmp_path, "tcg")
    assert plan.columns == ("present",)


def test_a_file_of_one_s_own_is_taken_as_it_is_on_a_machine_of_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.ign"
    mine.write_text(
        '{"ignition": {"version": "3.4.0"}, "systemd": {"units": [{"name": "a.timer"}]}, "storage": {"luks": ['
        '{"name": "one", "device": "/dev/sdb", "keyFile": {"source": "data:,0123"}, "clevis": {"tpm2": true}}, '
        '{"name": "two", "device": "/dev/sdc", "clevis": {"tpm2": true}}]}}'
    )
    plan, other = machine_plans([mine, POLICIES / "tang.bu"], [], [], tmp_path, "tcg")
    assert plan.policy == read_policy(mine)
    assert {row for _, row, _ in plan.places} == {"mine: one", "mine: two"}
    assert {row for _, row, _ in other.places} == {"tang"}
    assert (plan.image, other.image) == ("debian-13-scsi", "debian-13")
    assert len(plan.columns) == len(CONDITIONS)


def test_two_files_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / "tang.bu").write_text((POLICIES / "tang.bu").read_text())
    with pytest.raises(UsageError, match="two files are called tang"):
        machine_plans([tmp_path / "tang.bu", POLICIES / "tang.bu"], [], [], tmp_path, "tcg")


def test_what_the_guest_cannot_have_is_told_before_the_boots(tmp_path: Path) -> None:
    mine = tmp_path / "mine.bu"
    mine.write_text("variant: fcos\nversion: 1.6.0\nboot_device: {luks: {cex: {enabled: true}}, layout: s390x-virt}\n")
    with pytest.raises(UsageError, match="asks for what the guest cannot have") as caught:
        machine_plans([mine], [], [], tmp_path, "tcg")
    assert "mine.bu:3: boot_device: cex needs the crypto card" in caught.value.detail


def test_no_machine_is_installed_that_has_no_cell(tmp_path: Path) -> None:
    """And an empty table has nothing that differs: it would pass for one that is as predicted."""
    (plan,) = machine_plans([], ["hsm-silent"], [], tmp_path, "tcg")
    assert (plan.policy.name, plan.columns) == ("hsm", ("hsm-silent",))
    with pytest.raises(UsageError, match=r"tang\.bu: no cell under unbound"):
        machine_plans([POLICIES / "tang.bu"], ["unbound"], [], tmp_path, "tcg")
    with pytest.raises(UsageError, match="no machine of the table"):
        machine_plans([POLICIES / "tang.bu"], [], ["by-hand"], tmp_path, "tcg")


def test_what_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no condition nowhere"):
        machine_plans([], ["nowhere"], [], tmp_path, "tcg")
    with pytest.raises(UsageError, match="no machine mine"):
        machine_plans([], [], ["mine"], tmp_path, "tcg")


def observed_result(
    entry: SealedEntry, monkeypatch: pytest.MonkeyPatch, artifacts: Path, cause: BaseException
) -> tuple[BootResult | None, str]:
    """What becomes of a cell whose boot ends like this, and what its evidence says of it."""

    def copy_of(*_: object) -> NoReturn:
        raise cause

    monkeypatch.setattr(Machines, "copy", copy_of)
    seen = None
    with suppress(type(cause)):
        seen = run.observe(entry, SimpleNamespace(), TPM_ABSENT, artifacts)  # type: ignore[arg-type]
    (folder,) = (path for path in artifacts.iterdir() if path.is_dir())
    return seen, record.load(folder)["result"]


def test_a_cell_without_a_verdict_did_not_pass(
    entry: SealedEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen, result = observed_result(entry, monkeypatch, tmp_path / "a", RigError("QEMU died"))
    assert seen
    assert (seen.observed, result) == (Problem("RigError", "QEMU died"), "error")


@pytest.mark.parametrize(("cause", "expected"), [(ValueError("ours"), "error"), (GeneratorExit(), "unfinished")])
def test_a_cell_that_was_cut_off_did_not_pass(
    entry: SealedEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cause: BaseException, expected: str
) -> None:
    assert observed_result(entry, monkeypatch, tmp_path / "a", cause) == (None, expected)


def test_a_worker_that_is_killed_is_told_without_a_traceback(
    plan: MachinePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_boot_machine", killed)
    # A process that is forked has `killed`, which one that is spawned could not import.
    monkeypatch.setattr("multiprocessing.get_context", lambda _: get_context("fork"))
    with pytest.raises(HostError, match="a process that booted cells was killed"):
        run.boot_cells([plan])
