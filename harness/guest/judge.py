"""Events and witnesses become an outcome (pure).

A verdict is given only on positive evidence, and only when all evidence agrees; what is missing or contradictory is the
rig's fault and raises `RigError`. A prompt is no verdict, nor is silence. What the test expects is not known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness.errors import RigError
from harness.guest.events import (
    ClevisAnswered,
    Event,
    KeyslotUsed,
    NoPromptPossible,
    PassphraseWrong,
    PromptShown,
    VolumeUnlocked,
)
from harness.guest.failures import can_hold, failures
from harness.guest.outcome import Outcome, PinFailure, Seconds, Unlock
from harness.guest.plan import VolumePlan, answers_for, volume_of
from harness.guest.witness import End, Observation, TypedPassphrase, Witnesses, hold_time
from harness.policy.pins import TPM_PINS, CryptenrollPin, Pin, TangPin, Tpm2Pin, holds, leaves

PASSPHRASE = "passphrase"
"""What `Outcome.unlocked_by` says when a person's passphrase opened the volume."""

_TPM_STEPS = ("Load", "Unseal")
"""The commands of clevis-decrypt-tpm2 that fail when the seal does not fit."""

_TPM_TRY_AGAIN = frozenset({0x902, 0x903, 0x908, 0x90A, 0x922})
"""Answers that the kernel's resource manager takes for "later" (TPM 2.0 Library, Part 2, 6.6.3): memory for objects and
sessions, yielded, testing, retry."""


def judge(volumes: Sequence[VolumePlan], seen: Observation, witnesses: Witnesses) -> Outcome:
    """Judge a boot.

    Args:
        volumes: Those of the policy; at least one.
        seen: The boot as it was watched.
        witnesses: What Tang, the gate, the TPM and the shell say about it.

    Returns:
        The verdict; with several volumes the worst of them, each one's own in `Outcome.volumes`.

    Raises:
        RigError: The evidence is missing or contradicts itself.
    """
    outcomes = {volume.name: judge_volume(volume, seen, witnesses, alone=len(volumes) == 1) for volume in volumes}
    _enough_recoveries(volumes, outcomes, witnesses)
    worst = max(outcomes.values(), key=lambda outcome: _SEVERITY[outcome.unlock])
    if len(outcomes) == 1:
        return worst
    everyone = outcomes.values()
    return replace(
        worst,
        reason="; ".join(f"{name}: {outcome.reason}" for name, outcome in outcomes.items()),
        unlocked_by=frozenset().union(*(outcome.unlocked_by for outcome in everyone)),
        keyslot=None,
        token=None,
        failures=tuple(dict.fromkeys(failure for outcome in everyone for failure in outcome.failures)),
        proofs=tuple(dict.fromkeys(proof for outcome in everyone for proof in outcome.proofs)),
        prompts=sum(outcome.prompts for outcome in everyone),
        typed_bytes=sum(outcome.typed_bytes for outcome in everyone),
        seconds=Seconds(
            min((at for outcome in everyone if (at := outcome.seconds.prompt) is not None), default=None),
            max((at for outcome in everyone if (at := outcome.seconds.unlock) is not None), default=None),
            seen.at,
        ),
        volumes=MappingProxyType(outcomes),
    )


def judge_volume(volume: VolumePlan, seen: Observation, witnesses: Witnesses, *, alone: bool = True) -> Outcome:
    """Judge what a boot did to one volume.

    Args:
        volume: The volume, with the tree of its pins.
        seen: The boot as it was watched.
        witnesses: What Tang, the gate, the TPM and the shell say about it.
        alone: Whether it is the only volume, so that words which name none are about it.

    Raises:
        RigError: The evidence is missing or contradicts itself.
    """
    case = _Case(volume, seen, witnesses, alone)
    if seen.end is End.REFUSED:
        return case.outcome(Unlock.REFUSED, seen.why)
    opened = case.opened
    if opened is None:
        return _locked(case)
    return _by_passphrase(case, opened) if case.typed else _by_itself(case, opened)


_SEVERITY = {Unlock.AUTO: 0, Unlock.PASSPHRASE_FALLBACK: 1, Unlock.LOCKED: 2, Unlock.REFUSED: 3}


@dataclass(frozen=True)
class _Case:
    """The evidence about one volume."""

    volume: VolumePlan
    seen: Observation
    witnesses: Witnesses
    alone: bool

    def about(self, name: str) -> bool:
        return (not name and self.alone) or volume_of(name, [self.volume]) is not None

    @property
    def opened(self) -> VolumeUnlocked | None:
        found = (event for event in self.seen.events if isinstance(event, VolumeUnlocked))
        return next((event for event in found if event.volume == self.volume.name), None)

    @property
    def prompts(self) -> tuple[PromptShown, ...]:
        found = (event for event in self.seen.events if isinstance(event, PromptShown))
        return tuple(event for event in found if self.about(event.volume))

    @property
    def typed(self) -> tuple[TypedPassphrase, ...]:
        return tuple(entry for entry in self.seen.typed if entry.volume == self.volume.name)

    @property
    def clevis(self) -> tuple[ClevisAnswered, ...]:
        return answers_for(self.volume, self.seen.events, self.alone)

    @property
    def keyslot(self) -> KeyslotUsed | None:
        found = [event for event in self.seen.events if isinstance(event, KeyslotUsed) and self.about(event.volume)]
        return found[-1] if found else None

    @property
    def answered(self) -> dict[str, str]:
        """Leaves that are proved to have answered, with the proof."""
        pins = tuple(leaves(self.volume.pins)) if self.volume.pins else ()
        proofs: dict[str, str] = {}
        recoveries = {server.server: server.recoveries for server in self.witnesses.tang}
        unsealed = sum(exchange.command == "Unseal" and exchange.ok for exchange in self.witnesses.tpm or ())
        for leaf in pins:
            if isinstance(leaf, TangPin) and (times := recoveries.get(leaf.server, 0)):
                proofs[leaf.name] = f"tang log: {leaf.server} served {times} × POST /rec => 200"
            if isinstance(leaf, TPM_PINS) and unsealed:
                proofs[leaf.name] = f"tpm: {unsealed} × TPM2_Unseal succeeded"
        return proofs

    @property
    def failed(self) -> tuple[PinFailure, ...]:
        """Leaves that did not answer, each with everybody who says so."""
        if self.volume.pins is None:
            return ()
        found: list[PinFailure] = []
        said = failures(self.volume.pins, self.seen.events, self.witnesses.urls)
        for leaf in leaves(self.volume.pins):
            if leaf.name in self.answered:
                continue  # it failed first and answered later: a network that was late
            words = dict.fromkeys((event.reason, str(event.stream)) for event in said.get(leaf.name, ()))
            found += [PinFailure(leaf.name, reason, stream) for reason, stream in words]
            found += self._tang_failures(leaf) if isinstance(leaf, TangPin) else self._tpm_failures(leaf)
        return tuple(dict.fromkeys(found))

    def _tang_failures(self, leaf: TangPin) -> list[PinFailure]:
        found = []
        for server in self.witnesses.tang:
            if server.server != leaf.server:
                continue
            refused = dict.fromkeys(
                f"{request.method} {request.path} => {request.status}"
                for request in server.requests
                if request.method == "POST"
            )
            found += [PinFailure(leaf.name, words, "tang log") for words in refused]
            if server.unanswered:
                found.append(PinFailure(leaf.name, f"{server.unanswered} connections, none answered", "gate"))
        return found

    def _tpm_failures(self, leaf: Tpm2Pin | CryptenrollPin) -> list[PinFailure]:
        refused = [
            exchange
            for exchange in self.witnesses.tpm or ()
            if exchange.command in _TPM_STEPS and not exchange.ok and exchange.response not in _TPM_TRY_AGAIN
        ]
        return [PinFailure(leaf.name, words, "tpm") for words in dict.fromkeys(map(str, refused))]

    def outcome(
        self, unlock: Unlock, reason: str, unlocked_by: frozenset[str] = frozenset(), proofs: Sequence[str] = ()
    ) -> Outcome:
        keyslot = self.keyslot.keyslot if self.keyslot and self.opened else None
        header = self.witnesses.headers.get(self.volume.name)
        token = header.token_of(keyslot) if header and keyslot is not None else None
        return Outcome(
            unlock=unlock,
            reason=reason,
            unlocked_by=unlocked_by,
            keyslot=keyslot,
            token=token.number if token else None,
            failures=self.failed,
            proofs=(*proofs, *([_said(self.keyslot)] if self.keyslot and self.opened else [])),
            prompts=len(self.prompts),
            typed_bytes=sum(entry.size for entry in self.typed),
            seconds=Seconds(
                prompt=self.prompts[0].at if self.prompts else None,
                unlock=self.opened.at if self.opened else None,
                end=self.seen.at,
            ),
            pcrs=self.witnesses.pcrs,
            canary=self.witnesses.canary,
        )

    def contradiction(self, what: str) -> RigError:
        said = "\n".join(_said(event) for event in self.seen.events if not isinstance(event, PromptShown))
        return RigError(what, said, "the evidence does not agree, so there is no verdict; run it again, with --console")


def _locked(case: _Case) -> Outcome:
    went_through = f"the boot finished and {case.volume.name} stayed shut"
    why = went_through if case.seen.end is End.UP else case.seen.why
    proofs = [_said(event) for event in case.seen.events if isinstance(event, NoPromptPossible | PassphraseWrong)]
    proofs += [_said(case.prompts[-1])] if case.prompts else []
    return case.outcome(Unlock.LOCKED, why, proofs=proofs)


def _by_itself(case: _Case, opened: VolumeUnlocked) -> Outcome:
    """It opened, and nothing was typed for it."""
    name, pins = case.volume.name, case.volume.pins
    if pins is None:
        if case.keyslot is None:
            raise case.contradiction(f"{name} opened with nothing typed and no pin, and nothing says by which keyslot")
        reason = f"{name} opened with nothing typed, by a key that the guest has"
        return case.outcome(Unlock.AUTO, reason, proofs=[_said(opened)])
    if not case.clevis:
        raise case.contradiction(f"{name} opened with nothing typed, and clevis does not say that it answered")
    answered = case.answered
    if not holds(pins, frozenset(answered)):
        raise case.contradiction(_no_proof(case, pins, answered))
    header = case.witnesses.headers.get(name)
    if header and case.keyslot and header.token_of(case.keyslot.keyslot) is None:
        raise case.contradiction(f"keyslot {case.keyslot.keyslot} opened {name}, and no token leads to it")
    reason = f"{' and '.join(sorted(answered))} answered; {name} opened with nothing typed"
    proofs = ["0 bytes typed", *answered.values(), _said(case.clevis[-1]), _said(opened)]
    return case.outcome(Unlock.AUTO, reason, frozenset(answered), proofs)


def _no_proof(case: _Case, pins: Pin, answered: Mapping[str, str]) -> str:
    name = case.volume.name
    silent = [leaf for leaf in leaves(pins) if leaf.name not in answered]
    if any(isinstance(leaf, TangPin) for leaf in silent):
        return f"{name} auto-unlocked under a Tang policy with no recovery in Tang's log"
    if case.witnesses.tpm is None:
        return f"{name} auto-unlocked under a TPM policy and nobody listened to the TPM"
    return f"{name} auto-unlocked under a TPM policy with no TPM2_Unseal that succeeded"


def _by_passphrase(case: _Case, opened: VolumeUnlocked) -> Outcome:
    """It opened after something was typed for it."""
    name, pins = case.volume.name, case.volume.pins
    if not case.prompts:
        raise case.contradiction(f"something was typed for {name} and no prompt was seen")
    first, last = case.typed[0], case.typed[-1]
    if opened.at < first.at:
        raise case.contradiction(f"{name} was open before its passphrase was typed")
    if raced := [event for event in case.clevis if _may_have_opened(case, event, opened)]:
        raise case.contradiction(f"{name} opened when both clevis and we had answered: {raced[0].line}")
    failed = frozenset(failure.pin for failure in case.failed)
    held = first.at - case.prompts[0].at
    hold = hold_time(case.seen.hold, case.prompts[0].at)
    if pins is None:
        why = "no pin guards it"
    elif not can_hold(pins, failed):
        why = f"{' and '.join(sorted(failed))} failed, so its pins could not open it"
    elif held < hold:
        raise case.contradiction(f"the passphrase of {name} was typed {held:.1f} s after the prompt, and no pin failed")
    elif holds(pins, frozenset(case.answered)):
        raise case.contradiction(
            f"every pin that {name} needs answered, yet it was not open {held:.0f} s after the prompt: a slow host?"
        )
    else:
        also = f"; {' and '.join(sorted(failed))} failed" if failed else ""
        why = f"its pins did not open it within the hold time of {hold:.0f} s after the prompt{also}"
    reason = f"{why}; the passphrase typed at {last.at:.1f} s opened {name}"
    size = sum(entry.size for entry in case.typed)
    proofs = [_said(case.prompts[0]), f"{size} bytes typed, the last at {last.at:.1f} s", _said(opened)]
    return case.outcome(Unlock.PASSPHRASE_FALLBACK, reason, frozenset({PASSPHRASE}), proofs)


def _may_have_opened(case: _Case, answer: ClevisAnswered, opened: VolumeUnlocked) -> bool:
    """Whether clevis's answer was neither refused nor later than the opening."""
    wrong = (event.at for event in case.seen.events if isinstance(event, PassphraseWrong) and case.about(event.volume))
    return answer.at <= opened.at and not any(answer.at <= at <= opened.at for at in wrong)


def _enough_recoveries(volumes: Sequence[VolumePlan], outcomes: Mapping[str, Outcome], witnesses: Witnesses) -> None:
    """Several volumes may share a server: each that opened by it needs a recovery of its own."""
    for server in witnesses.tang:
        needing = [
            volume.name
            for volume in volumes
            if volume.pins
            and outcomes[volume.name].unlock is Unlock.AUTO
            and not can_hold(volume.pins, frozenset({server.server}))
        ]
        if server.recoveries < len(needing):
            raise RigError(
                f"{' and '.join(needing)} auto-unlocked by Tang, whose log shows {server.recoveries} recoveries",
                hint="the evidence does not agree, so there is no verdict; run it again, with --console",
            )


def _said(event: Event) -> str:
    return f"{event.stream} at {event.at:.1f} s: {event.line}"
