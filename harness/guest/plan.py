"""What to do at a boot's prompts, and when (pure).

`decide` looks at all that was seen and says what comes next. It never types before the prompt is there, nor while a pin
may still answer: only when the tree can no longer hold, or when a stated time after the prompt is over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from harness.guest.events import (
    BootEntryFailed,
    BootEntryStarted,
    BootRefused,
    ClevisDone,
    ClevisReplyDiscarded,
    EmergencyShell,
    Event,
    FirmwareStarted,
    IgnitionFailed,
    InitFailed,
    InitrdStarted,
    KernelBug,
    KernelStalled,
    LoginReached,
    NoBootOption,
    NoPromptPossible,
    Panic,
    PassphraseWrong,
    PinFailed,
    PoweredOff,
    PromptKind,
    PromptShown,
    Rebooting,
    Stream,
    SystemStarted,
    SystemUp,
    TooManyAttempts,
    TpmTimeout,
    TpmToolError,
    VolumeFailed,
    VolumeUnlocked,
)
from harness.guest.failures import can_hold, failed_for_good
from harness.guest.starvation import given_up_too_early
from harness.guest.steps import Broken, Finish, Step, Type, Wait
from harness.guest.volumes import VolumePlan, answers_for, asked_at, concerning, turn_of, volume_of
from harness.guest.witness import End, TypedPassphrase, hold_time
from harness.policy.policy import Volume

HOLD_SECONDS = 25.0
"""A TPM and a Tang need four to eight seconds in emulation on an idle host."""

OFFLINE_SECONDS = 450.0
"""Longer than initramfs-tools tries to configure a network that is not there: 265 s, more where emulation is slow."""

ASK_SECONDS = 300.0
"""Longer than any guest takes to ask that is not kept waiting by something else."""

_PIN_PROMPTS = 2
"""systemd asks for the PIN by libcryptsetup's token plugin ("LUKS2 token PIN"), and where that fails by itself ("TPM2
PIN"), before it asks for the passphrase: seen with 257.13 and other PCRs, another TPM, a cleared or a locked one.
"""


@dataclass(frozen=True)
class StageTimeouts:
    """Seconds that each stage may take before the rig counts as broken: generous, since they only end what hangs.

    Attributes:
        firmware: From power-on to the firmware's first words.
        kernel: From there to the first words of the kernel or its init.
        prompt: From the last milestone to a prompt or an open volume.
        opening: From an answer to the open volume; Argon2id takes long in emulation.
        finish: From the last milestone to the end of the boot.
        install: From the start of the initrd to Ignition's end: it makes file systems and binds pins.
    """

    firmware: float = 120.0
    kernel: float = 180.0
    prompt: float = ASK_SECONDS
    opening: float = 300.0
    finish: float = 300.0
    install: float = 900.0


@dataclass(frozen=True)
class BootPlan:
    """What to do in one boot.

    Attributes:
        volumes: Those that the policy has. A prompt for another one is never answered.
        urls: Where the guest finds each server, by its name.
        hold: Seconds after a prompt after which pins that neither answered nor failed are given up, at the least
            (`hold_time`).
        hold_out: Whether to wait that time even when the pins are known to have failed (a server that returns).
        settle: Seconds that the guest is watched on after it gave up, for its last words.
        timeouts: Deadlines.
    """

    volumes: tuple[VolumePlan, ...]
    urls: Mapping[str, str] = field(default_factory=dict)
    hold: float = HOLD_SECONDS
    hold_out: bool = False
    settle: float = 3.0
    timeouts: StageTimeouts = StageTimeouts()

    @classmethod
    def for_volumes(
        cls,
        volumes: Sequence[Volume],
        urls: Mapping[str, str],
        *,
        typing: tuple[str, ...] | None = None,
        tpm_pins: tuple[str, ...] | None = None,
        hold: float = HOLD_SECONDS,
        hold_out: bool = False,
        ask_within: float = ASK_SECONDS,
    ) -> "BootPlan":
        """The usual plan for a policy's volumes.

        Args:
            volumes: Of the policy.
            urls: Where the guest finds each server.
            typing: What to type at the prompts of each volume; by default its own passphrase.
            tpm_pins: What to type at prompts for the TPM's PIN; by default the right one at each, unless `typing` is
                given.
            hold: Seconds after a prompt after which pins that neither answered nor failed are given up, at the least.
            hold_out: Whether to wait that time even when the pins are known to have failed.
            ask_within: Seconds from the last milestone after which a guest that asked for nothing is given up.
        """
        return cls(
            tuple(
                VolumePlan(
                    volume.name,
                    volume.device,
                    volume.pins,
                    _given(typing, volume.passphrase),
                    _given(tpm_pins, volume.tpm_pin if typing is None else None, _PIN_PROMPTS),
                )
                for volume in volumes
            ),
            urls,
            hold,
            hold_out,
            timeouts=StageTimeouts(prompt=ask_within),
        )


def _given(said: tuple[str, ...] | None, default: str | None, times: int = 1) -> tuple[str, ...]:
    return said if said is not None else (default,) * times if default else ()


_FATAL: Mapping[type[Event], str] = {
    Panic: "the guest's kernel panicked",
    InitFailed: "the guest's kernel panicked, with nothing to run",
    KernelBug: "the guest's kernel has a bug, or the emulation has",
    TpmTimeout: "the guest's TPM driver timed out: the host was too busy",
    IgnitionFailed: "Ignition failed",
}
_OF_FIRMWARE = (FirmwareStarted, BootEntryStarted, BootEntryFailed, BootRefused, NoBootOption)
_NO_MILESTONE = (PromptShown, PinFailed, TpmToolError, PassphraseWrong, KernelStalled, ClevisReplyDiscarded, ClevisDone)
"""What a guest can say again and again without getting anywhere."""
_LOCKED = (TooManyAttempts, NoPromptPossible, VolumeFailed)


def decide(plan: BootPlan, events: Sequence[Event], typed: Sequence[TypedPassphrase], now: float) -> Step:
    """Say what to do next.

    Args:
        plan: What to do at all.
        events: All that was seen, in order.
        typed: All that was typed.
        now: Seconds from power-on.
    """
    state = _BootState(plan, tuple(events), tuple(typed), now)
    step = _broken(state) or _ended(state) or _firmware(state) or _volumes(state)
    if isinstance(step, Finish) and step.end in (End.SHUT, End.UP) and state.shut:
        starved = given_up_too_early(state.events)
        return Broken(starved, starved=True) if starved else step
    return step


@dataclass(frozen=True)
class _BootState:
    plan: BootPlan
    events: tuple[Event, ...]
    typed: tuple[TypedPassphrase, ...]
    now: float

    @property
    def opened(self) -> frozenset[str]:
        """The names of the volumes that are open."""
        return frozenset(event.volume for event in self.events if isinstance(event, VolumeUnlocked))

    @property
    def shut(self) -> tuple[VolumePlan, ...]:
        """The volumes of the policy that are not."""
        return tuple(volume for volume in self.plan.volumes if volume.name not in self.opened)

    def later(self, since: float, then: Step) -> Step:
        """`then`, once the guest had the time for its last words."""
        until = since + self.plan.settle
        return then if self.now >= until else Wait(until, "the guest's last words", since, fatal=False)


def _broken(state: _BootState) -> Step | None:
    fatal = [event for event in state.events if type(event) in _FATAL]
    if not fatal:
        return None
    # The journal says why where the console only says that.
    event = next((event for event in fatal if event.stream is Stream.JOURNAL), fatal[0])
    return Broken(f"{_FATAL[type(event)]}: {event.line}", by_itself=isinstance(event, IgnitionFailed | InitFailed))


def _ended(state: _BootState) -> Step | None:
    gave_up = next((event for event in state.events if isinstance(event, _LOCKED)), None)
    shut = Finish(End.SHUT, f"the guest gave up: {gave_up.line}") if gave_up else None
    closed = " and ".join(volume.name for volume in state.shut)
    for event in state.events:
        match event:
            case SystemUp() | LoginReached():
                return Finish(End.UP, f"the boot went through: {event.line}")
            case EmergencyShell():
                why = f"the boot ended in an emergency shell, and {closed or 'no volume'} stayed shut: {event.line}"
                return shut or (Finish(End.SHUT, why) if closed else Broken(why, by_itself=True))
            case PoweredOff() | Rebooting():
                why = f"the guest stopped in mid-boot, and {closed or 'no volume'} stayed shut: {event.line}"
                return shut or (Finish(End.SHUT, why) if closed else Broken(why, by_itself=True))
    return state.later(gave_up.at, shut) if gave_up and shut else None


def _firmware(state: _BootState) -> Step | None:
    """What to do while the firmware rules, or None when something else has spoken."""
    events, timeouts = state.events, state.plan.timeouts
    if not events:
        return Wait(timeouts.firmware, "the firmware to start", 0.0, fatal=True)
    if not all(isinstance(event, _OF_FIRMWARE) for event in events):
        return None
    refused = next((event for event in events if isinstance(event, BootRefused)), None)
    last = events[-1]
    if any(isinstance(event, NoBootOption) for event in events):
        said = "; ".join(event.line for event in events if not isinstance(event, FirmwareStarted))
        return _refused(refused) if refused else Broken(f"the firmware found nothing to boot: {said}")
    if refused and not isinstance(last, BootEntryStarted):
        return state.later(last.at, _refused(refused))
    return Wait(last.at + timeouts.kernel, "the kernel to start", last.at, fatal=True)


def _refused(event: BootRefused) -> Finish:
    return Finish(End.REFUSED, f"the boot image was refused: {event.line}")


def _volumes(state: _BootState) -> Step:
    plan, events, shut = state.plan, state.events, state.shut
    since = max((event.at for event in events if not isinstance(event, _NO_MILESTONE)), default=0.0)
    if not plan.volumes and not any(isinstance(event, SystemStarted) for event in events):
        return Wait(since + plan.timeouts.install, "Ignition to finish, and the system to start", since, fatal=True)
    if not shut:
        return Wait(since + plan.timeouts.finish, "the boot to finish", since, fatal=True)
    prompt = next((event for event in reversed(events) if isinstance(event, PromptShown)), None)
    if prompt and prompt.asks is PromptKind.PIN:
        return _at_pin_prompt(state, shut, prompt)
    asked = volume_of(prompt.volume, shut) if prompt else None
    if prompt is None or asked is None:
        return _unasked(state, prompt, since)
    answered = _pending(state, asked, prompt)
    if answered is not None:
        return Wait(answered + plan.timeouts.opening, f"{asked.name} to open", answered, fatal=True)
    return _at_prompt(state, asked, prompt)


def _unasked(state: _BootState, prompt: PromptShown | None, since: float) -> Step:
    """What to do when no volume that is shut is asked for.

    A guest that started its initrd and then neither asks nor opens anything keeps them shut, for all that its owner can
    do; that is no fault of the rig. One that asks for something else may go on.
    """
    names = " and ".join(volume.name for volume in state.shut)
    until = since + state.plan.timeouts.prompt
    if prompt and prompt.volume not in state.opened:
        asks = f"{names} to be asked for or to open (it asks for {prompt.volume or prompt.asks})"
        return Wait(until, asks, since, fatal=True)
    lives = any(isinstance(event, InitrdStarted | SystemStarted) for event in state.events)
    if lives and state.now >= until:
        return Finish(End.SHUT, f"{names} stayed shut, and nothing was asked within {state.now - since:.0f} s")
    return Wait(until, f"{names} to be asked for or to open", since, fatal=not lives)


def _pending(state: _BootState, volume: VolumePlan, prompt: PromptShown) -> float | None:
    """When the prompt was answered, by us or by clevis, if that answer has not been refused yet.

    That it is asked again refuses nothing: with several volumes systemd-tty-ask-password-agent shows a question anew
    that was answered already, until systemd-cryptsetup has come round to take it back.
    """
    alone = len(state.plan.volumes) == 1
    refused = (event for event in state.events if isinstance(event, PassphraseWrong))
    wrong = max((event.at for event in refused if alone or event.volume == volume.name), default=-inf)
    ours = (entry.at for entry in state.typed if entry.volume == volume.name and not entry.pin)
    by_us = [at for at in ours if at >= prompt.at or at > wrong]
    by_clevis = [event.at for event in answers_for(volume, state.events, alone) if event.at >= max(prompt.at, wrong)]
    return max(by_us + by_clevis, default=None)


def _at_pin_prompt(state: _BootState, shut: Sequence[VolumePlan], prompt: PromptShown) -> Step:
    """The prompt names no volume: it is that of the volume whose token wants a PIN."""
    volume = next((volume for volume in shut if volume.tpm_pins), None)
    said = [entry.at for entry in state.typed if entry.pin]
    if volume is None or len(said) == len(volume.tpm_pins) < prompt.number:
        return Finish(End.WAITING, f"it asks for the PIN, and {len(said)} typed did not open it")
    if len(said) == prompt.number:
        return Wait(said[-1] + state.plan.timeouts.opening, f"{volume.name} to open by the PIN", said[-1], fatal=True)
    return Type(volume.name, volume.tpm_pins[len(said)], pin=True)


def _hold(state: _BootState, volume: VolumePlan, prompt: PromptShown) -> tuple[float, float]:
    """Since when, and for how long, the pins of a volume have had their chance.

    Clevis takes the waiting volumes one after the other. One whose turn has come has the hold time from then on; one
    that still waits has that of all who may be before it, those that have opened since among them.
    """
    asked = asked_at(volume, state.events, prompt)
    hold = hold_time(state.plan.hold, asked)
    if turn := turn_of(volume, state.events):
        return turn, hold
    opened = {event.volume for event in state.events if isinstance(event, VolumeUnlocked) and event.at < asked}
    return asked, hold * (len(state.plan.volumes) - len(opened))


def _at_prompt(state: _BootState, volume: VolumePlan, prompt: PromptShown) -> Step:
    plan = state.plan
    said = [entry for entry in state.typed if entry.volume == volume.name and not entry.pin]
    first, hold = _hold(state, volume, prompt)
    until = first + hold
    about = concerning(volume, state.events, len(plan.volumes) == 1)
    hopeless = volume.pins is None or not can_hold(volume.pins, failed_for_good(volume.pins, about, plan.urls))
    if not said and state.now < until and (plan.hold_out or not hopeless):
        return Wait(until, f"the pins of {volume.name} to answer or to fail", first, fatal=False)
    if len(said) < len(volume.typing):
        return Type(volume.name, volume.typing[len(said)])
    why = f"it asks for the passphrase of {volume.name}, and "
    if said:
        why += f"{len(said)} typed did not open it"
    elif hopeless:
        why += "its pins cannot open it"
    else:
        why += f"no pin opened it within {hold:.0f} s of the prompt"
    return Finish(End.WAITING, why)
