"""The one power-on without a machine: what a boot is asked to do, and what becomes of its evidence."""

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest

from harness.attack.attacker import Attacker
from harness.errors import RigError
from harness.evidence.artifacts import CONSOLE
from harness.guest.outcome import Outcome, Unlock
from harness.guest.plan import StageTimeouts
from harness.lab import power
from harness.lab.power import machine_on
from harness.lab.powered import Powered
from harness.lab.recorder import EvidenceRecorder
from harness.lab.request import BootOptions, BootRequest
from harness.lab.sealed import Sealed
from harness.machine.spec import Firmware, Machine
from harness.network.connection import Client
from harness.policy.pins import TangPin
from harness.policy.policy import Volume

VOLUME = Volume("var", "/dev/disk/by-partlabel/var", TangPin("tang", "http://t", "thp"), "right", "/var")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    firmware = Firmware("trixie", tmp_path / "code.fd", tmp_path / "vars.fd", secure_boot=True)
    return Machine("victim", firmware, tmp_path / "nvram.fd", (), None, site="home")


def working(machine: Machine) -> None:
    """What the rig says of itself at the end."""
    if machine.name == "on a full disk":
        raise RigError("no room left")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scenario on a machine that says one line."""

    @contextmanager
    def powered_on(
        machine: Machine, _host: object, evidence: Path, services: Iterable[str], *, keep: bool, **_: object
    ) -> Iterator[Any]:
        (evidence / CONSOLE).write_text("it speaks")
        yield SimpleNamespace(
            keep=keep, site=machine.site, services=tuple(services), require_working=lambda: working(machine)
        )

    monkeypatch.setattr(power, "power_on", powered_on)
    recorder = EvidenceRecorder.open(tmp_path / "artifacts", "t.py::test", "")
    lab = SimpleNamespace(host=None, hypervisor=None)
    return SimpleNamespace(recorder=recorder, services=("its server", "a verifier"), lab=lab)


def test_what_a_boot_takes_as_keywords_are_the_fields_of_the_request() -> None:
    of_request = {field.name: get_type_hints(BootRequest)[field.name] for field in fields(BootRequest)}
    assert get_type_hints(BootOptions) == of_request


@pytest.mark.parametrize("boots", [Sealed.boot, Sealed.powered, Attacker.boot])
def test_whatever_boots_a_machine_takes_every_parameter(boots: Any) -> None:
    request = inspect.signature(boots).parameters["request"]
    assert request.kind is inspect.Parameter.VAR_KEYWORD
    assert "BootOptions" in str(request.annotation)


def test_a_request_becomes_the_plan_of_the_boot() -> None:
    plan = BootRequest(typing=["wrong"], hold=90.0, hold_out=True, ask_within=600.0).plan(
        [VOLUME], {"tang": "http://t"}
    )
    assert (plan.hold, plan.hold_out, plan.urls) == (90.0, True, {"tang": "http://t"})
    assert plan.timeouts == StageTimeouts(prompt=600.0)
    assert plan.volumes[0].typing == ("wrong",)
    usual = BootRequest().plan([VOLUME], {})
    assert (usual.hold_out, usual.volumes[0].typing, usual.timeouts) == (False, ("right",), StageTimeouts())


def test_a_machine_is_on_where_it_stands_with_its_servers_in_reach(context: Any, machine: Machine) -> None:
    with machine_on(context, replace(machine, site="elsewhere"), "boot") as on:
        rig: Any = on.rig
        assert (rig.site, rig.services) == ("elsewhere", ("its server", "a verifier"))


def test_an_outcome_knows_where_its_evidence_is(context: Any, machine: Machine) -> None:
    for number in (1, 2):
        with machine_on(context, machine, "boot") as on:
            judged = on.judged(Outcome(Unlock.AUTO, "yes", volumes={"var": Outcome(Unlock.AUTO, "yes")}))
        assert judged.evidence
        assert judged.evidence == context.recorder.folder / f"boot-{number}"
        assert judged.volumes["var"].evidence == judged.evidence
        assert (judged.evidence / CONSOLE).read_text() == "it speaks"
    assert [boot.evidence for boot in context.recorder.boots] == ["boot-1", "boot-2"]


def test_two_machines_at_once_have_evidence_of_their_own(context: Any, machine: Machine) -> None:
    with machine_on(context, machine, "one") as one, machine_on(context, machine, "two") as two:
        first, second = (on.judged(Outcome(Unlock.AUTO, "yes")) for on in (one, two))
    assert first.evidence != second.evidence
    by_label = {boot.label: context.recorder.folder / boot.evidence for boot in context.recorder.boots}
    assert by_label == {"one": first.evidence, "two": second.evidence}


def test_a_power_on_that_is_not_judged_keeps_its_files_beside_the_boots(context: Any, machine: Machine) -> None:
    with machine_on(context, machine, "rescue") as on:
        (on.folder / "shell.log").write_text("# true")
    assert on.kept("shell.log").read_text() == "# true"
    assert not context.recorder.boots


def test_what_a_rig_without_room_came_to_is_an_error(context: Any, machine: Machine) -> None:
    with (
        pytest.raises(RigError, match="no room left"),
        machine_on(context, replace(machine, name="on a full disk"), "rescue"),
    ):
        pass


@pytest.mark.parametrize(("name", "told"), [("on a full disk", RigError), ("victim", AssertionError)])
def test_what_a_scenario_found_of_a_rig_that_broke_is_an_error(
    context: Any, machine: Machine, name: str, told: type[Exception]
) -> None:
    """It looks at a machine that is on, and what it finds is not what it expects."""
    with pytest.raises(told), machine_on(context, replace(machine, name=name), "boot"):
        raise AssertionError


def test_a_node_whose_verifier_broke_missed_nothing() -> None:
    def working() -> None:
        raise RigError("the verifier broke")

    rig: Any = SimpleNamespace(client=Client("node", "lab-1"), require_working=working)
    shell: Any = SimpleNamespace(run=lambda *_, **__: "")
    verifier: Any = SimpleNamespace(verdicts=lambda _: (), url=lambda _: "http://v")
    with pytest.raises(RigError, match="the verifier broke"):
        Powered(rig, Outcome(Unlock.AUTO, "yes"), shell).attest(verifier)


def test_no_power_on_takes_the_files_of_another_with_its_label(context: Any, machine: Machine) -> None:
    for _ in range(2):
        with machine_on(context, machine, "rescue") as one, machine_on(context, machine, "rescue") as two:
            for on, said in ((one, "first"), (two, "second")):
                (on.folder / "shell.log").write_text(said)
        assert [on.kept("shell.log").read_text() for on in (one, two)] == ["first", "second"]
    names = {path.name for path in context.recorder.folder.glob("*-shell.log")}
    assert names == {f"rescue{number}-shell.log" for number in ("", "-2", "-3", "-4")}


def test_a_power_on_that_fails_is_a_boot_with_a_problem(context: Any, machine: Machine) -> None:
    with pytest.raises(RigError), machine_on(context, machine, "rescue"):
        raise RigError("QEMU died")
    assert [boot.evidence for boot in context.recorder.boots] == ["boot-1"]
