"""The laboratory without a machine: faults, records, and what becomes of an installation that fails."""

import io
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import ControlError, HostError, RigError, UsageError
from harness.evidence import record
from harness.evidence.record import Problem
from harness.guest.outcome import Outcome, PinFailure, Unlock
from harness.host.accel import Accel
from harness.lab import faults, install, power
from harness.lab.faults import Fault, FaultContext
from harness.lab.recorder import EvidenceRecorder
from harness.machine.spec import Disk, Firmware, Machine, Tpm, TpmVersion
from harness.machine.tpm_bus import UNSEAL
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.pins import ServiceId
from harness.policy.policy import Policy
from harness.progress import Progress
from harness.services.tang_keys import TangKeys

TANG = ServiceId("tang", "tang")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    firmware = Firmware("trixie", tmp_path / "code.fd", tmp_path / "vars.fd", secure_boot=True)
    firmware.code.write_bytes(b"code")
    firmware.nvram_template.write_bytes(b"variables")
    return Machine("victim", firmware, tmp_path / "nvram.fd", (Disk(tmp_path / "disk.qcow2"),), Tpm(tmp_path / "tpm"))


@pytest.fixture
def context(tmp_path: Path) -> FaultContext:
    return FaultContext(tmp_path / "context", Progress(io.StringIO()))


def differing(one: Machine, other: Machine) -> set[str]:
    return {name for name in vars(one) if getattr(one, name) != getattr(other, name)}


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        (faults.tpm_removed, "tpm"),
        (faults.tpm_replaced, "tpm"),
        (faults.tpm_downgraded_to_1_2, "tpm"),
        (faults.tpm_fails, "tpm"),
        (faults.network_unplugged, "link_up"),
        (faults.moved_offsite, "site"),
    ],
)
def test_a_fault_changes_one_thing(machine: Machine, context: FaultContext, fault: Fault, field: str) -> None:
    before = replace(machine)
    assert differing(machine, fault(machine, context)) == {field}
    assert machine == before


def test_another_tpm_is_made_in_the_workshop_and_not_over_the_old_one(machine: Machine, context: FaultContext) -> None:
    changed = faults.tpm_replaced(machine, context).tpm
    old = faults.tpm_downgraded_to_1_2(machine, context).tpm
    assert changed and old and machine.tpm
    assert context.folder in changed.state.parents
    assert (changed.version, old.version) == (TpmVersion.TPM_2_0, TpmVersion.TPM_1_2)
    assert changed.state != old.state


def test_machines_on_a_segment_have_addresses_of_their_own(machine: Machine, context: FaultContext) -> None:
    segment: Any = SimpleNamespace(path=Path("/s.sock"))
    joined = faults.on_segment(segment)
    one, other = joined(machine, context), joined(replace(machine, name="another"), context)
    assert differing(machine, one) == {"cards"}
    assert {one.cards[0].segment, other.cards[0].segment} == {Path("/s.sock")}
    assert one.cards[0].mac != other.cards[0].mac
    assert one.cards == joined(machine, context).cards, "a machine keeps its address"
    assert one.cards[0].mac.startswith("52:54:00:")


@pytest.mark.parametrize("fault", [faults.tpm_replaced, faults.tpm_downgraded_to_1_2, faults.tpm_fails])
def test_a_tpm_that_is_not_there_cannot_be_another(machine: Machine, context: FaultContext, fault: Fault) -> None:
    with pytest.raises(UsageError, match="has a TPM"):
        fault(replace(machine, tpm=None), context)


def test_one_of_several_disks_is_pulled_and_the_next_is_started(machine: Machine, context: FaultContext) -> None:
    two = replace(machine, disks=(Disk(Path("a")), Disk(Path("b"), serial="lab1")))
    assert faults.disk_pulled(0)(two, context).disks == two.disks[1:]
    assert faults.disk_pulled(1)(two, context).disks == two.disks[:1]
    with pytest.raises(UsageError, match="of 2 disks, number 2 cannot be pulled"):
        faults.disk_pulled(2)(two, context)
    with pytest.raises(UsageError, match="of 1 disks, number 0 cannot be pulled"):
        faults.disk_pulled(0)(replace(machine, disks=two.disks[:1]), context)


def test_pcrs_that_change_are_answered_so_often_and_no_more(machine: Machine, context: FaultContext) -> None:
    changed = faults.tpm_pcrs_change(2)(machine, context).tpm
    assert changed
    assert changed.interceptor
    tpm: Any = SimpleNamespace(ask=lambda command: b"from the TPM")
    unseal, other = struct.pack(">HII", 0x8001, 10, UNSEAL), struct.pack(">HII", 0x8001, 10, 0x17A)
    said = [changed.interceptor(command, tpm) for command in (other, unseal, unseal, unseal, other)]
    refusal = struct.pack(">HII", 0x8001, 10, 0x128)
    assert said == [b"from the TPM", refusal, refusal, b"from the TPM", b"from the TPM"]


def test_an_edited_nvram_is_a_new_file(
    machine: Machine, context: FaultContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.folder.mkdir()
    machine.nvram.write_bytes(b"as it was")
    monkeypatch.setattr("harness.machine.nvram.enroll_db", lambda nvram, certificate: nvram + b", and a key")
    changed = faults.db_key_enrolled(machine, context)
    assert differing(machine, changed) == {"nvram"}
    assert (machine.nvram.read_bytes(), changed.nvram.read_bytes()) == (b"as it was", b"as it was, and a key")


def test_a_power_on_is_recorded_whatever_becomes_of_it(machine: Machine, tmp_path: Path) -> None:
    recorder = EvidenceRecorder.open(tmp_path / "artifacts", "t.py::test", "")
    with power.recorded(recorder, "boot", machine) as record:
        (record.folder / "console.log").write_text("said")
        record.outcome = Outcome(Unlock.AUTO, "yes")
    with pytest.raises(RigError), power.recorded(recorder, "boot", machine) as record:
        (record.folder / "console.log").write_text("cut off")
        raise RigError("QEMU died")
    with power.recorded(recorder, "rescue", machine) as record:
        (record.folder / "console.log").write_text("not judged")
    assert [type(boot.observed) for boot in recorder.boots] == [Outcome, Problem]
    assert (recorder.folder / "boot-2" / "console.log").read_text() == "cut off"
    assert (recorder.folder / "rescue-console.log").read_text() == "not judged"
    assert recorder.console_tail() == ["cut off"]


def test_what_came_to_its_end_passed_and_nothing_else(tmp_path: Path) -> None:
    recorder = EvidenceRecorder.open(tmp_path / "artifacts", "t.py::test", "")
    assert written(recorder.folder)["result"] == "unfinished"
    with recorder.finishing():
        assert written(recorder.folder)["result"] == "unfinished"
    assert written(recorder.folder)["result"] == "passed"


def test_a_run_that_is_killed_leaves_the_boots_it_finished(machine: Machine, tmp_path: Path) -> None:
    recorder = EvidenceRecorder.open(tmp_path / "artifacts", "t.py::test", "")
    with power.recorded(recorder, "boot", machine) as boot_record:
        boot_record.outcome = Outcome(Unlock.AUTO, "yes")
    assert (written(recorder.folder)["result"], len(written(recorder.folder)["boots"])) == ("unfinished", 1)


@pytest.fixture
def policy() -> Policy:
    return read_policy(POLICIES / "tpm2-and-tang.bu")


def laboratory(machine: Machine, notes: Path | None = None) -> Any:
    return SimpleNamespace(
        firmware=machine.firmware,
        host=SimpleNamespace(accel=Accel("tcg", ""), emulator_version=(10, 0, 2), user=None),
        progress=Progress(io.StringIO()),
        notes=notes,
    )


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every installation fails, and is counted."""
    made: list[str] = []

    def fail(order: object, folder: Path, recorder: EvidenceRecorder) -> None:
        made.append("attempt")
        (folder / "half-made").touch()
        raise RigError(f"cause {len(made)}", "its detail", "its hint")

    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNLOCK_LAB_RUN", str(tmp_path / "run"))
    monkeypatch.setattr(
        install, "guest_image", lambda name, progress: SimpleNamespace(name=name, key="image", ignition_spec=3)
    )
    monkeypatch.setattr(install, "held_for", lambda *_: {TANG: TangKeys((("sig.jwk", b"{}"),))})
    monkeypatch.setattr(install, "_install", fail)
    return made


def test_a_failed_installation_fails_all_that_need_it_with_the_first_cause(
    machine: Machine, policy: Policy, attempts: list[str], tmp_path: Path
) -> None:
    lab, evidence = laboratory(machine, tmp_path), tmp_path / "artifacts"
    with pytest.raises(RigError, match=r"^cause 1"):
        install.sealed_machine(lab, "debian-13", policy, evidence)
    with pytest.raises(RigError, match="failed before in this run: cause 1") as again:
        install.sealed_machine(lab, "debian-13", policy, evidence)
    assert (again.value.detail, again.value.hint) == ("its detail", "its hint")
    assert Path(again.value.evidence).name.startswith("install-"), "not the folder of the test that needs the machine"
    assert len(attempts) == 1
    assert not list((tmp_path / "cache").rglob("half-made"))
    assert list(evidence.glob("install-*/outcome.json"))


class Interrupted(BaseException):
    """Like KeyboardInterrupt, which pytest would take for its own."""


@pytest.mark.parametrize("cause", [RigError("QEMU died"), ValueError("a mistake of ours"), Interrupted("Ctrl-C")])
@pytest.mark.usefixtures("attempts")
def test_an_installation_that_did_not_finish_did_not_pass(
    machine: Machine, policy: Policy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cause: Exception
) -> None:
    def fail(_order: object, _folder: Path, recorder: EvidenceRecorder) -> None:
        assert written(recorder.folder)["result"] == "unfinished", "while it runs"
        raise cause

    monkeypatch.setattr(install, "_install", fail)
    with pytest.raises(type(cause)):
        install.sealed_machine(laboratory(machine, tmp_path), "debian-13", policy, tmp_path / "artifacts")
    (folder,) = (tmp_path / "artifacts").glob("install-*")
    assert written(folder)["result"] == ("unfinished" if isinstance(cause, Interrupted) else "error")
    assert written(folder)["error"]["kind"] == type(cause).__name__


def written(folder: Path) -> Mapping[str, Any]:
    return record.load(folder)


def test_another_run_tries_a_failed_installation_again(
    machine: Machine, policy: Policy, attempts: list[str], tmp_path: Path
) -> None:
    for number, run in enumerate(("one", "two"), 1):
        notes = tmp_path / run
        notes.mkdir()
        with pytest.raises(RigError, match=f"^cause {number}"):
            install.sealed_machine(laboratory(machine, notes), "debian-13", policy, tmp_path / "artifacts")
    assert len(attempts) == 2


@pytest.mark.usefixtures("attempts")
def test_evidence_that_cannot_be_written_is_told_before_anything_is_made(
    machine: Machine, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "guest_image", lambda *_: pytest.fail("an image was made"))
    with pytest.raises(HostError, match="/proc/nowhere cannot be made or written to"):
        install.sealed_machine(laboratory(machine), "debian-13", policy, Path("/proc/nowhere"))


@pytest.mark.usefixtures("attempts")
def test_a_policy_that_encrypts_nothing_is_refused_before_anything_is_made(
    machine: Machine, policy: Policy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(install, "guest_image", lambda *_: pytest.fail("an image was made"))
    with pytest.raises(UsageError, match="encrypts nothing") as refused:
        install.sealed_machine(laboratory(machine), "debian-13", replace(policy, volumes=()), tmp_path / "artifacts")
    assert "storage.luks" in refused.value.hint
    assert not (tmp_path / "artifacts").exists()


def order(machine: Machine, policy: Policy, *, image: str = "image", key: bytes = b"{}", spec: int | None = 3) -> Any:
    held = {TANG: TangKeys((("sig.jwk", key),))}
    given = SimpleNamespace(key=image, ignition_spec=spec)
    return install._Order(laboratory(machine), given, policy, held)  # type: ignore[arg-type]


def test_what_is_installed_decides_which_sealed_machine_it_is(machine: Machine, policy: Policy) -> None:
    """The rest is in test_install_key.py."""
    keys = {order(machine, policy).key}
    assert order(machine, policy).key in keys
    keys.add(order(machine, policy, image="another").key)
    keys.add(order(machine, policy, key=b"[]").key)
    keys.add(order(machine, read_policy(POLICIES / "tpm2-or-tang.bu")).key)
    keys.add(order(machine, replace(policy, enrolment=("true",))).key)
    keys.add(order(machine, policy, spec=None).key)
    assert len(keys) == 6
    assert order(machine, replace(policy, name="another", source="# in other words\n")).key in keys


def test_where_the_canary_lies_decides_it_too(
    machine: Machine, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = order(machine, policy).key
    monkeypatch.setattr(install, "canary_path", lambda mount_point: f"{mount_point}/bird")
    assert order(machine, policy).key != before


def test_a_control_boot_that_asked_is_no_control(policy: Policy) -> None:
    failure = PinFailure("tang", "refused", "journal")
    asked = Outcome(Unlock.PASSPHRASE_FALLBACK, "it asked", failures=(failure,), canary="secret")
    with pytest.raises(ControlError, match="did not open by itself: it asked") as caught:
        install.require_control(policy, asked, {"var": "secret"})
    assert "tang: refused (journal)" in caught.value.detail
    install.require_control(policy, Outcome(Unlock.AUTO, "yes", canary="secret"), {"var": "secret"})


@pytest.mark.parametrize("canary", [None, "another"])
def test_a_control_boot_must_show_our_canary(policy: Policy, canary: str | None) -> None:
    with pytest.raises(RigError, match="canary"):
        install.require_control(policy, Outcome(Unlock.AUTO, "yes", canary=canary), {"var": "secret"})
