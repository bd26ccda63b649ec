"""One power-on: watched, asked about by every witness, judged, and kept as evidence."""

import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from harness.deadline import Deadline
from harness.errors import RigError
from harness.evidence.record import Boot, Problem
from harness.guest import facts
from harness.guest.driver import Live, drained, watch
from harness.guest.events import Event
from harness.guest.judge import judge
from harness.guest.outcome import Outcome
from harness.guest.plan import HOLD_SECONDS, BootPlan
from harness.guest.ssh import Shell, connect
from harness.guest.witness import End, ExternalEvidence, TangActivity
from harness.images import GuestImage
from harness.lab.laboratory import Laboratory
from harness.lab.recorder import EvidenceRecorder
from harness.lab.retry import retry_on_stall, saved
from harness.machine.rig import Rig, power_on
from harness.machine.spec import Machine
from harness.policy.pins import Policy, Volume
from harness.services.tang import Tang

T = TypeVar("T")

SHELL_SECONDS = 120.0
POWER_OFF_SECONDS = 120.0
MAINTENANCE_SECONDS = 600.0


Meanwhile = Callable[[Rig, Event], None]
"""Changes the world in mid-boot: the rig, and what was just seen."""


def canary_path(mount_point: str) -> str:
    """Where the canary of a volume lies in the guest."""
    return f"{mount_point.rstrip('/')}/unlock-lab-canary"


def partition_label(policy: Policy, volume: str) -> str:
    """The label of the partition that a volume is made on; the policy knows an encrypted root by its UUID."""
    found = next(v for v in policy.volumes if v.name == volume)
    return "root" if found.mount_point == "/" else found.device.rsplit("/", 1)[-1]


@dataclass
class BootRecord:
    """What becomes of one power-on.

    Attributes:
        folder: Where the rig writes its logs.
        outcome: The verdict, once there is one.
    """

    folder: Path
    outcome: Outcome | None = None


@contextmanager
def recorded(recorder: EvidenceRecorder, label: str, machine: Machine) -> Iterator[BootRecord]:
    """Keep what one power-on leaves behind, judged or not.

    What is raised inside before there is a verdict is written down as this boot's problem, and goes on. A power-on that
    is not to be judged (an installation, a rescue system) leaves its files beside the boots.
    """
    with tempfile.TemporaryDirectory(prefix="unlock-lab-") as name:
        record = BootRecord(Path(name))
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
                recorder.record(Boot(observed, label, machine.name), files)
            else:
                recorder.keep({f"{label}-{name}": path for name, path in files.items()})


@dataclass(frozen=True)
class ScenarioContext:
    """What a boot takes place in, beside the machine.

    Attributes:
        lab: The laboratory.
        image: Whose shell the guest has.
        policy: Whose volumes are watched.
        tangs: The servers in reach, by name.
        recorder: Where the evidence goes.
    """

    lab: Laboratory
    image: GuestImage
    policy: Policy
    tangs: Mapping[str, Tang]
    recorder: EvidenceRecorder

    @property
    def urls(self) -> dict[str, str]:
        """Where the guest finds each server."""
        return {name: tang.url for name, tang in self.tangs.items()}


@dataclass(frozen=True)
class Powered:
    """A machine that is on, and whose boot was judged.

    Attributes:
        rig: Its hardware.
        outcome: The verdict on its boot.
    """

    rig: Rig
    outcome: Outcome
    _shell: Shell | None

    @property
    def up(self) -> bool:
        """Whether the guest came up, and so has a shell."""
        return self._shell is not None

    @property
    def shell(self) -> Shell:
        """Root in the guest.

        Raises:
            RigError: The guest did not come up.
        """
        if self._shell is None:
            raise RigError("the guest did not come up, so it has no shell", self.outcome.reason)
        return self._shell

    def device(self, volume: str) -> str:
        """What an open volume of the guest lies on."""
        return facts.backing_device(self.shell, volume)


@contextmanager
def powered(
    context: ScenarioContext,
    machine: Machine,
    label: str,
    typing: Sequence[str] | None = None,
    *,
    tpm_pins: Sequence[str] | None = None,
    meanwhile: Meanwhile | None = None,
    hold: float = HOLD_SECONDS,
) -> Iterator[Powered]:
    """Power a machine on, watch what its disk does, and leave it on for the block.

    Args:
        context: Where.
        machine: What.
        label: What this boot is for, in the evidence.
        typing: What to type at the prompts of each volume; by default its own passphrase, once.
        tpm_pins: What to type at prompts for the TPM's PIN; by default the right one, unless something else is typed.
        meanwhile: Is told each event as it is seen, and may change the world in mid-boot.
        hold: Seconds after a prompt for which pins may keep silent before something is typed, at the least.

    Raises:
        RigError: The rig failed, or the evidence does not agree: there is no verdict. After a `StallError` it is tried
            once more from the same state, unless something happened meanwhile.
    """
    plan = BootPlan.for_volumes(
        context.policy.volumes,
        context.urls,
        None if typing is None else tuple(typing),
        None if tpm_pins is None else tuple(tpm_pins),
        hold,
    )

    def attempt() -> tuple[Powered, ExitStack]:
        with ExitStack() as stack:
            on = stack.enter_context(_powered(context, machine, label, plan, meanwhile))
            return on, stack.pop_all()

    on, stack = attempt() if meanwhile else retry_stalled(context, machine, label, attempt)
    with stack:
        yield on


def retry_stalled(context: ScenarioContext, machine: Machine, label: str, attempt: Callable[[], T]) -> T:
    """Power a machine on in some way, and after a `StallError` once more from the same state."""
    with tempfile.TemporaryDirectory(prefix="unlock-lab-") as folder:
        return retry_on_stall(attempt, saved(machine, Path(folder)), f"{machine.name}, {label}", context.lab.progress)


@contextmanager
def _powered(
    context: ScenarioContext, machine: Machine, label: str, plan: BootPlan, meanwhile: Meanwhile | None
) -> Iterator[Powered]:
    _stand(context, machine)
    with recorded(context.recorder, label, machine) as record, ExitStack() as stack:
        before = {name: _ServiceMark.of(tang) for name, tang in context.tangs.items()}
        keep = context.lab.options.keep
        rig = stack.enter_context(power_on(machine, context.lab.host, record.folder, keep=keep))
        seen = watch(rig, plan, live=context.lab.live, on_event=partial(meanwhile, rig) if meanwhile else None)
        witnesses = ExternalEvidence(
            tang=tuple(mark.since(name, context.tangs[name]) for name, mark in before.items()),
            tpm=rig.tpm_exchanges(),
            urls=context.urls,
        )
        opened = None
        if seen.end is End.UP:
            opened = stack.enter_context(shell(rig, context.image, context.lab.live))
            witnesses = ask_guest(opened, context.policy.volumes, witnesses)
        record.outcome = judge(plan.volumes, seen, witnesses)
        yield Powered(rig, record.outcome, opened)
        if keep:
            context.lab.progress.say(f"{machine.name} was left running ({label}):\n{rig.attach_hints}")


def boot(
    context: ScenarioContext,
    machine: Machine,
    label: str,
    typing: Sequence[str] | None = None,
    *,
    tpm_pins: Sequence[str] | None = None,
    meanwhile: Meanwhile | None = None,
    orderly: bool = False,
) -> Outcome:
    """`powered` with nothing done in the block; with `orderly`, a guest that is up is shut down at its end."""
    with powered(context, machine, label, typing, tpm_pins=tpm_pins, meanwhile=meanwhile) as on:
        if orderly and on.up:
            power_off(on.rig, on.shell)
        return on.outcome


def _stand(context: ScenarioContext, machine: Machine) -> None:
    """Tell the servers where the machine stands that may call."""
    for tang in context.tangs.values():
        tang.set_client_site(machine.site)


def maintain(context: ScenarioContext, machine: Machine, label: str, commands: Sequence[str]) -> str:
    """Power a machine on, have root run commands in its guest, and shut it down in order.

    Its volumes open by themselves, or by their passphrases, which are typed.

    Args:
        context: Where.
        machine: What.
        label: What this is for, in the evidence.
        commands: For bash; the first that fails ends it.

    Returns:
        What the commands printed, with the commands themselves.

    Raises:
        RigError: The guest did not come up, or a command failed.
    """
    script = shlex.quote("\n".join(commands))
    plan = BootPlan.for_volumes(context.policy.volumes, context.urls)

    def attempt() -> str:
        _stand(context, machine)
        with (
            recorded(context.recorder, label, machine) as record,
            power_on(machine, context.lab.host, record.folder) as rig,
        ):
            watch(rig, plan, live=context.lab.live)
            with shell(rig, context.image, context.lab.live) as opened:
                said = opened.run(f"bash -xeuo pipefail -c {script} 2>&1", MAINTENANCE_SECONDS)
                power_off(rig, opened)
        return said

    return retry_stalled(context, machine, label, attempt)


@contextmanager
def shell(rig: Rig, image: GuestImage, live: Live | None = None) -> Iterator[Shell]:
    """A root shell in a guest that is up, with its consoles read meanwhile."""
    deadline = Deadline.after(SHELL_SECONDS)
    with drained(rig, live), connect(rig.open_ssh_channel(), image.ssh_key, deadline) as opened:
        yield opened


def power_off(rig: Rig, opened: Shell) -> None:
    """Shut the guest down in order, and wait until the machine is off.

    Raises:
        RigError: It is still on after `POWER_OFF_SECONDS`.
    """
    with suppress(RigError):  # it may go off before it has said that it will; what counts is that it goes
        opened.run("sync; systemctl poweroff --no-block")
    if not rig.wait_off(Deadline.after(POWER_OFF_SECONDS)):
        raise RigError(f"the guest did not power off within {POWER_OFF_SECONDS:.0f} s")


def ask_guest(opened: Shell, volumes: Sequence[Volume], witnesses: ExternalEvidence) -> ExternalEvidence:
    """The same witnesses, and what the guest's own shell says of itself and of its volumes."""
    paths = {volume.name: canary_path(volume.mount_point) if volume.mount_point else None for volume in volumes}
    said = facts.read_facts(opened, paths)
    return replace(witnesses, open=said.open, pcrs=said.pcrs, canaries=said.canaries, headers=said.headers)


@dataclass(frozen=True)
class _ServiceMark:
    """How much a server had seen when a boot began."""

    requests: int
    unanswered: int
    tampered: int

    @classmethod
    def of(cls, tang: Tang) -> "_ServiceMark":
        return cls(len(tang.requests), tang.unanswered, tang.tampered)

    def since(self, name: str, tang: Tang) -> TangActivity:
        unanswered, tampered = tang.unanswered - self.unanswered, tang.tampered - self.tampered
        return TangActivity(name, tang.requests[self.requests :], unanswered, tampered)
