"""One boot that is judged: watched, asked about by every witness, and kept as evidence."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from harness.attestation.verdict import Verdict
from harness.errors import RigError
from harness.event_log.decode import told_apart
from harness.evidence import artifacts
from harness.guest import facts
from harness.guest.driver import watch
from harness.guest.judge import judge
from harness.guest.outcome import Outcome, Unlock
from harness.guest.plan import BootPlan
from harness.guest.ssh import Shell
from harness.guest.witness import End, ExternalEvidence, security_key_testimony
from harness.lab.owner import owner_functions
from harness.lab.power import ScenarioContext, machine_on, power_off, retry_stalled, shell, system_up
from harness.lab.request import BootRequest
from harness.machine.rig import Rig
from harness.machine.spec import Machine
from harness.policy.pins.systemd_fido2 import SECURITY_KEY
from harness.policy.policy import Volume
from harness.services.keylime import AGENT_PORT, Keylime
from harness.services.verifier import AGENT, Verifier

MAINTENANCE_SECONDS = 600.0
ATTEST_SECONDS = 120.0
AGENT_SECONDS = 300.0
_ATTEST_FOLDER = "/run/attest"
_START_AGENT = "/usr/lib/unlock-lab/keylime-started"


@dataclass(frozen=True, repr=False)
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

    def attest(self, verifier: Verifier, lie: Callable[[str], str] | None = None) -> Verdict:
        """Have the guest give a verifier a quote; returns what that thinks of it.

        Args:
            verifier: In its reach, by `Sealed.reaching`.
            lie: Changes the agent that it runs, as whoever is root there can.
        """
        node, before = self.rig.client.machine, len(verifier.verdicts(self.rig.client.machine))
        command = f"mkdir -p {_ATTEST_FOLDER} && bash -s -- {verifier.url(node)} {_ATTEST_FOLDER} 2>&1"
        agent = AGENT.read_text()
        self.shell.run(command, ATTEST_SECONDS, check=False, stdin=(lie(agent) if lie else agent).encode())
        self.rig.require_working()
        given = verifier.verdicts(node)[before:]
        return given[-1] if given else verifier.miss(node)

    @contextmanager
    def attended(self, keylime: Keylime) -> Iterator[str]:
        """Have Keylime's agent run in the guest, where its verifier reaches it, for the length of the block.

        Its registration is then forgotten: the agent makes a new attestation key at each start, and the registrar takes
        no node again that has another.

        Args:
            keylime: In its reach, by `Sealed.reaching`.

        Returns:
            What Keylime calls the node.

        Raises:
            RigError: The agent did not register.
        """
        node = self.rig.client.machine
        self.shell.write_file("/etc/keylime/node", keylime.node_file(node).encode())
        with self.shell.forwarded(keylime.nodes / node, AGENT_PORT):
            self.shell.run(_START_AGENT, AGENT_SECONDS)
            yield node
        keylime.forget(node)

    def device(self, volume: str) -> str:
        """What an open volume of the guest lies on."""
        return facts.backing_device(self.shell, volume)


@contextmanager
def powered(context: ScenarioContext, machine: Machine, request: BootRequest) -> Iterator[Powered]:
    """Power a machine on, watch what its disk does, and leave it on for the block.

    Args:
        context: Where.
        machine: What.
        request: What the boot is to do.

    Raises:
        RigError: The rig failed, or the evidence does not agree: there is no verdict. After a `StallError` it is tried
            once more from the same state, unless something happened meanwhile.
    """

    def attempt() -> tuple[Powered, ExitStack]:
        with ExitStack() as stack:
            on = stack.enter_context(_powered(context, machine, request))
            return on, stack.pop_all()

    on, stack = attempt() if request.meanwhile else retry_stalled(context, machine, request.label, attempt)
    with stack:
        yield on


@contextmanager
def _powered(context: ScenarioContext, machine: Machine, request: BootRequest) -> Iterator[Powered]:
    plan = request.plan(context.policy.volumes, context.urls)
    keep = context.lab.options.keep
    with machine_on(context, machine, request.label, keep=keep) as on, ExitStack() as stack:
        meanwhile = partial(request.meanwhile, on.rig) if request.meanwhile else None
        seen = watch(on.rig, plan, live=context.lab.live, on_event=meanwhile)
        witnesses = ExternalEvidence(
            services={
                SECURITY_KEY: security_key_testimony(on.rig.security_key_exchanges()),
                **{service: server.testimony(on.rig.client) for service, server in context.asked.items()},
            },
            tpm=on.rig.tpm_exchanges(),
            urls=context.urls,
        )
        opened, event_log = None, b""
        if seen.end is End.UP:
            opened = stack.enter_context(shell(on.rig, context.image, context.lab.live))
            witnesses, event_log = ask_guest(opened, context.policy.volumes, witnesses)
            if event_log:
                (on.folder / artifacts.EVENT_LOG).write_bytes(event_log)
            on.rig.require_working()
        verdict = judge(plan.volumes, seen, witnesses)
        outcome = on.judged(replace(verdict, measured_otherwise=_measured_otherwise(context, verdict, event_log)))
        yield Powered(on.rig, outcome, opened)
        if opened and request.orderly:
            power_off(on.rig, opened)
        elif keep:
            context.lab.progress.say(f"{machine.name} was left running ({request.label}):\n{on.rig.attach_hints}")


def _measured_otherwise(context: ScenarioContext, verdict: Outcome, event_log: bytes) -> tuple[str, ...]:
    """Where a boot that did not open by itself measured something else than the control boot."""
    if not event_log or context.control_event_log is None or verdict.unlock is Unlock.AUTO:
        return ()
    return told_apart(context.control_event_log.read_bytes(), event_log)


def boot(context: ScenarioContext, machine: Machine, request: BootRequest) -> Outcome:
    """`powered` with nothing done in the block."""
    with powered(context, machine, request) as on:
        return on.outcome


def maintain(context: ScenarioContext, machine: Machine, label: str, commands: Sequence[str]) -> str:
    """Power a machine on, have root run commands in its guest, and shut it down in order.

    Its volumes open by themselves, or by their passphrases, which are typed.

    Args:
        context: Where.
        machine: What.
        label: What this is for, in the evidence.
        commands: For bash, with the functions of ``harness/policy/owner.sh``; the first that fails ends it.

    Returns:
        What the commands printed, with the commands themselves.

    Raises:
        RigError: The guest did not come up, or a command failed.
    """
    script = shlex.quote("\n".join([owner_functions(), *commands]))
    plan = BootPlan.for_volumes(context.policy.volumes, context.urls)

    def attempt() -> str:
        with system_up(context, machine, label, plan) as (on, opened):
            said = opened.run(f"bash -xeuo pipefail -c {script} 2>&1", MAINTENANCE_SECONDS)
            power_off(on.rig, opened)
        return said

    return retry_stalled(context, machine, label, attempt)


def ask_guest(opened: Shell, volumes: Sequence[Volume], witnesses: ExternalEvidence) -> tuple[ExternalEvidence, bytes]:
    """The same witnesses with what the guest's own shell says, and the firmware's event log."""
    paths = {volume.name: facts.canary_path(volume.mount_point) if volume.mount_point else None for volume in volumes}
    said = facts.read_facts(opened, paths)
    more = replace(witnesses, open=said.open, pcrs=said.pcrs, canaries=said.canaries, headers=said.headers)
    return more, said.event_log
