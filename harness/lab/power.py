"""The one power-on: every machine of the laboratory is turned on here, whatever it is for.

`machine_on` turns it on, with the servers of its scenario in its network, and keeps what it leaves behind.
`system_up` also watches its boot and logs in. A boot that is judged (`lab.powered`), an installation, maintenance, a
rescue system and an attacker's machine are made of these two.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from harness.deadline import Deadline
from harness.errors import RigError
from harness.evidence.record import Boot, Problem
from harness.guest.driver import Live, drained, watch
from harness.guest.outcome import Outcome
from harness.guest.plan import BootPlan
from harness.guest.ssh import Shell, connect
from harness.images import GuestImage
from harness.lab.laboratory import Laboratory
from harness.lab.recorder import EvidenceRecorder
from harness.lab.retry import retry_on_stall, saved
from harness.machine.rig import Rig, power_on
from harness.machine.spec import Machine
from harness.policy.pins import ServiceId
from harness.policy.policy import Policy
from harness.services.proxied import Asked
from harness.services.service import Service
from harness.temporary import temporary_folder

T = TypeVar("T")
A = TypeVar("A", bound=Asked[Any])

SHELL_SECONDS = 120.0
POWER_OFF_SECONDS = 120.0


@dataclass(frozen=True)
class ScenarioContext:
    """What a boot takes place in, beside the machine.

    Attributes:
        lab: The laboratory.
        image: Whose shell the guest has.
        policy: Whose volumes are watched.
        asked: The servers in reach that pins ask, by what the pins call them.
        recorder: Where the evidence goes.
        control_event_log: The file with the event log of the control boot, once there was one.
        others: Further services in reach, which no pin asks.
    """

    lab: Laboratory
    image: GuestImage
    policy: Policy
    asked: Mapping[ServiceId, Asked[Any]]
    recorder: EvidenceRecorder
    control_event_log: Path | None = None
    others: tuple[Service, ...] = ()

    @property
    def services(self) -> tuple[Service, ...]:
        """All servers in reach."""
        return (*self.asked.values(), *self.others)

    @property
    def urls(self) -> dict[str, str]:
        """Where the guest finds each server that pins ask, by its name."""
        return {service.name: server.endpoint.url for service, server in self.asked.items()}

    def of_kind(self, kind: type[A]) -> dict[str, A]:
        """The servers of one kind that pins ask, by name."""
        return {server.name: server for server in self.asked.values() if isinstance(server, kind)}


@dataclass
class BootRecord:
    """What becomes of one power-on.

    Attributes:
        recorder: Of the test.
        label: What this power-on is for, in the evidence.
        folder: Where the rig writes its logs, until they become evidence.
        name: Of the evidence's folder, once there is a verdict, or a problem in place of one.
        outcome: The verdict, once there is one.
    """

    recorder: EvidenceRecorder
    label: str
    folder: Path
    name: str = ""
    outcome: Outcome | None = None

    def kept(self, file: str) -> str:
        """What a file is called beside the boots, if this power-on is not judged."""
        return f"{self._prefix}-{file}"

    @cached_property
    def _prefix(self) -> str:
        return self.recorder.new_prefix(self.label)


@contextmanager
def recorded(recorder: EvidenceRecorder, label: str, machine: Machine) -> Iterator[BootRecord]:
    """Keep what one power-on leaves behind, judged or not.

    What is raised inside before there is a verdict is written down as this boot's problem, and goes on. A power-on that
    is not to be judged (an installation, a rescue system) leaves its files beside the boots.
    """
    with temporary_folder() as name:
        record = BootRecord(recorder, label, name)
        problem: Problem | None = None
        try:
            yield record
        except BaseException as error:
            problem = Problem.of(error)
            raise
        finally:
            observed = record.outcome or problem  # what goes wrong after the verdict does not undo it
            files = {path.name: path for path in record.folder.iterdir()}
            if observed is not None:
                recorder.record(Boot(observed, label, machine.name, record.name or recorder.new_boot()), files)
            else:
                recorder.keep({record.kept(name): path for name, path in files.items()})


@dataclass(frozen=True, repr=False)
class MachineOn:
    """A machine that is on.

    Attributes:
        rig: Its hardware.
        folder: Where files go that are to be kept with those of this power-on.
    """

    rig: Rig
    folder: Path
    _record: BootRecord

    def kept(self, name: str) -> Path:
        """Where a file of a power-on that is not judged is kept, once the machine is off."""
        return self._record.recorder.folder / self._record.kept(name)

    def judged(self, outcome: Outcome) -> Outcome:
        """Keep the verdict on this boot; returns it with the folder that its evidence will be in."""
        self._record.name = self._record.recorder.new_boot()
        folder = self._record.recorder.folder / self._record.name
        volumes = {name: replace(volume, evidence=folder) for name, volume in outcome.volumes.items()}
        self._record.outcome = replace(outcome, evidence=folder, volumes=volumes)
        return self._record.outcome


@contextmanager
def machine_on(context: ScenarioContext, machine: Machine, label: str, *, keep: bool = False) -> Iterator[MachineOn]:
    """Turn a machine on for the block, and keep what it leaves behind.

    Args:
        context: Where.
        machine: What.
        label: What this power-on is for, in the evidence.
        keep: Leave it on at the end of the block.
    """
    lab = context.lab
    with (
        recorded(context.recorder, label, machine) as record,
        power_on(machine, lab.host, record.folder, context.services, hypervisor=lab.hypervisor, keep=keep) as rig,
    ):
        try:
            yield MachineOn(rig, record.folder, record)
        except AssertionError:  # a scenario's, of what the machine did
            rig.require_working()
            raise
        rig.require_working()


@contextmanager
def system_up(
    context: ScenarioContext, machine: Machine, label: str, plan: BootPlan, image: GuestImage | None = None
) -> Iterator[tuple[MachineOn, Shell]]:
    """Turn a machine on, watch its boot until its system is up, and log in.

    Args:
        context: Where.
        machine: What.
        label: What this power-on is for, in the evidence.
        plan: What to do in its boot.
        image: What it boots, if that is not the scenario's image.

    Raises:
        GuestError: The guest went wrong by itself.
        RigError: The system did not come up.
    """
    with machine_on(context, machine, label) as on:
        watch(on.rig, plan, live=context.lab.live)
        with shell(on.rig, image or context.image, context.lab.live) as opened:
            yield on, opened


@contextmanager
def shell(rig: Rig, image: GuestImage, live: Live | None = None) -> Iterator[Shell]:
    """A root shell in a guest that is up, with its consoles read meanwhile."""
    deadline = Deadline.after(SHELL_SECONDS, rig.clock)
    with drained(rig, live), connect(rig.open_ssh_channel(), image.ssh_key, deadline) as opened:
        yield opened


def power_off(rig: Rig, opened: Shell) -> None:
    """Shut the guest down in order, and wait until the machine is off.

    Raises:
        RigError: It is still on after `POWER_OFF_SECONDS`, or what it wrote before is lost.
    """
    rig.require_working()
    with suppress(RigError):  # it may go off before it has said that it will; what counts is that it goes
        opened.run("sync; systemctl poweroff --no-block")
    if not rig.wait_off(Deadline.after(POWER_OFF_SECONDS, rig.clock)):
        raise RigError(f"the guest did not power off within {POWER_OFF_SECONDS:.0f} s")


def retry_stalled(context: ScenarioContext, machine: Machine, label: str, attempt: Callable[[], T]) -> T:
    """Power a machine on in some way, and after a `StallError` once more from the same state."""
    with temporary_folder() as folder:
        return retry_on_stall(attempt, saved(machine, folder), f"{machine.name}, {label}", context.lab.progress)
