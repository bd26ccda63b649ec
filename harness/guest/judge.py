"""Events and witnesses become an outcome (pure).

A verdict is given only on positive evidence, and only when all evidence agrees; what is missing or contradictory is the
rig's fault and raises `RigError`. A prompt is no verdict, nor is silence. What the test expects is not known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations
from types import MappingProxyType

from harness.errors import RigError
from harness.guest.events import (
    ClevisAnswered,
    EmergencyShell,
    NoPromptPossible,
    PassphraseWrong,
    PoweredOff,
    Rebooting,
    VolumeUnlocked,
)
from harness.guest.failures import can_hold
from harness.guest.outcome import Outcome, Seconds, Unlock
from harness.guest.volume_evidence import NO_VERDICT, VolumeEvidence, format_event
from harness.guest.volumes import VolumePlan, asked_at, rounds_of
from harness.guest.witness import End, ExternalEvidence, Observation, hold_time
from harness.policy.pins import OPENERS, Pin, ServiceId, holds, leaves

PASSPHRASE = "passphrase"
"""What `Outcome.unlocked_by` says when a person's passphrase opened the volume."""


def judge(volumes: Sequence[VolumePlan], seen: Observation, witnesses: ExternalEvidence) -> Outcome:
    """Judge a boot.

    Args:
        volumes: Those of the policy; at least one.
        seen: The boot as it was watched.
        witnesses: What the services, the TPM and the shell say about it.

    Returns:
        The verdict; with several volumes the worst of them, each one's own in `Outcome.volumes`.

    Raises:
        RigError: The evidence is missing or contradicts itself.
    """
    outcomes = {volume.name: judge_volume(volume, seen, witnesses, alone=len(volumes) == 1) for volume in volumes}
    _enough_answers(volumes, outcomes, witnesses)
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


def judge_volume(volume: VolumePlan, seen: Observation, witnesses: ExternalEvidence, *, alone: bool) -> Outcome:
    """Judge what a boot did to one volume.

    Args:
        volume: The volume, with the tree of its pins.
        seen: The boot as it was watched.
        witnesses: What the services, the TPM and the shell say about it.
        alone: Whether it is the only volume, so that words which name none are about it.

    Raises:
        RigError: The evidence is missing or contradicts itself.
    """
    case = VolumeEvidence(volume, seen, witnesses, alone)
    if seen.end is End.REFUSED:
        return case.outcome(Unlock.REFUSED, seen.why)
    opened = case.opened
    if opened is None:
        return _locked(case)
    if witnesses.open is not None and volume.name not in witnesses.open:
        raise case.contradiction(f"{volume.name} is said to have opened, and it is not open in the guest")
    if case.passphrases:
        return _by_passphrase(case, opened)
    return _by_pin(case, opened) if case.typed else _by_itself(case, opened)


_SEVERITY = {Unlock.AUTO: 0, Unlock.PASSPHRASE_FALLBACK: 1, Unlock.LOCKED: 2, Unlock.REFUSED: 3}


_SYSTEMD_OPENS_BY = tuple(opener.token_type for opener in OPENERS if opener.token_type)


def _locked(case: VolumeEvidence) -> Outcome:
    if case.volume.name in (case.witnesses.open or ()):
        raise case.contradiction(f"{case.volume.name} is open in the guest, and nobody was seen to open it")
    went_through = f"the boot finished and {case.volume.name} stayed shut"
    why = went_through if case.seen.end is End.UP else case.seen.why
    proofs = [
        format_event(event)
        for event in case.seen.events
        if isinstance(event, NoPromptPossible | PassphraseWrong | EmergencyShell | PoweredOff | Rebooting)
    ]
    proofs += [format_event(case.prompts[-1])] if case.prompts else []
    return case.outcome(Unlock.LOCKED, why, proofs=proofs)


def _by_itself(case: VolumeEvidence, opened: VolumeUnlocked) -> Outcome:
    """It opened, and nothing was typed for it."""
    name, pins = case.volume.name, case.volume.pins
    if pins is None:
        if case.keyslot is None:
            raise case.contradiction(f"{name} opened with nothing typed and no pin, and nothing says by which keyslot")
        reason = f"{name} opened with nothing typed, by a key that the guest has"
        return case.outcome(Unlock.AUTO, reason, proofs=[format_event(opened)])
    header = case.witnesses.headers.get(name)
    token = header.token_of(case.keyslot.keyslot) if header and case.keyslot else None
    by_systemd = case.token or (case.keyslot if token and token.type.startswith(_SYSTEMD_OPENS_BY) else None)
    # On IT there is one way in past a prompt that we did not answer: clevis writes to askpass's FIFO, and says nothing.
    past_prompt = case.prompts[-1:] if not opened.opener_is_logged else ()
    by_keyscript = case.answers[-1:]  # which says so itself, and asks nobody before
    if not case.clevis and by_systemd is None and not past_prompt and not by_keyscript:
        raise case.contradiction(
            f"{name} opened with nothing typed, and neither clevis nor a token is said to have done it"
        )
    answered = case.answered
    if not holds(pins, frozenset(answered)):
        raise case.contradiction(_no_proof(case, pins, answered))
    if header and case.keyslot and token is None:
        raise case.contradiction(f"keyslot {case.keyslot.keyslot} opened {name}, and no token leads to it")
    reason = f"{' and '.join(sorted(answered))} answered; {name} opened with nothing typed"
    openers = [*case.clevis[-1:], *([case.token] if case.token else []), *past_prompt, *by_keyscript]
    proofs = ["0 bytes typed", *answered.values(), *map(format_event, openers), format_event(opened)]
    return case.outcome(Unlock.AUTO, reason, frozenset(answered), proofs)


def _by_pin(case: VolumeEvidence, opened: VolumeUnlocked) -> Outcome:
    """It opened after a PIN was typed: a person was asked, and a token answered."""
    name, pins, answered = case.volume.name, case.volume.pins, case.answered
    if pins is None or not holds(pins, frozenset(answered)):
        lacking = _lacking(case, pins, answered)[0][1] if pins else "and it has no pins"
        raise case.contradiction(f"{name} opened after a PIN was typed, {lacking}")
    reason = f"it asked for the PIN; {' and '.join(sorted(answered))} answered and {name} opened"
    proofs = [f"{sum(entry.size for entry in case.typed)} bytes of PIN typed", *answered.values(), format_event(opened)]
    return case.outcome(Unlock.PASSPHRASE_FALLBACK, reason, frozenset(answered), proofs)


def _no_proof(case: VolumeEvidence, pins: Pin, answered: Mapping[str, str]) -> str:
    under = " and ".join(f"a {title} policy {lacking}" for title, lacking in _lacking(case, pins, answered))
    return f"{case.volume.name} auto-unlocked under {under}"


def _lacking(case: VolumeEvidence, pins: Pin, answered: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a policy is called that needs a leaf which is not proved to have answered, and what is missing of it."""
    found = []
    for leaf in leaves(pins):
        if leaf.name not in answered:
            testimony = case.witnesses.testimonies.get(leaf.service) if leaf.service else None
            nothing = (leaf.name, "and nothing says that it answered")
            found.append((testimony.title, testimony.lacking) if testimony else nothing)
    return list(dict.fromkeys(found))


def _by_passphrase(case: VolumeEvidence, opened: VolumeUnlocked) -> Outcome:
    """It opened after something was typed for it."""
    name, pins = case.volume.name, case.volume.pins
    if not case.prompts:
        raise case.contradiction(f"something was typed for {name} and no prompt was seen")
    first, last = case.passphrases[0], case.passphrases[-1]
    if opened.at < first.at:
        raise case.contradiction(f"{name} was open before its passphrase was typed")
    if raced := [event for event in case.clevis if _may_have_opened(case, event, opened)]:
        raise case.contradiction(f"{name} opened when both clevis and we had answered: {raced[0].line}")
    failed = frozenset(failure.pin for failure in case.failed)
    asked = asked_at(case.volume, case.seen.events, case.prompts[0])
    held = first.at - asked
    hold = hold_time(case.seen.hold, asked)
    rounds = rounds_of(case.volume, case.seen.events, first.at)
    if pins is None:
        why = "no pin guards it"
    elif not can_hold(pins, failed):
        why = f"{' and '.join(sorted(failed))} failed, so its pins could not open it"
    elif held < hold and not rounds:
        raise case.contradiction(f"the passphrase of {name} was typed {held:.1f} s after the prompt, and no pin failed")
    elif holds(pins, frozenset(case.answered)):
        raise case.contradiction(
            f"every pin that {name} needs answered, yet it was not open {held:.0f} s after the prompt: a slow host?"
        )
    elif rounds:
        why = f"clevis went through its pins {rounds} times, and they did not open it"
    else:
        also = f"; {' and '.join(sorted(failed))} failed" if failed else ""
        why = f"its pins did not open it within the hold time of {hold:.0f} s after the prompt{also}"
    reason = f"{why}; the passphrase typed at {last.at:.1f} s opened {name}"
    size = sum(entry.size for entry in case.passphrases)
    proofs = [format_event(case.prompts[0]), f"{size} bytes typed, the last at {last.at:.1f} s", format_event(opened)]
    return case.outcome(Unlock.PASSPHRASE_FALLBACK, reason, frozenset({PASSPHRASE}), proofs)


def _may_have_opened(case: VolumeEvidence, answer: ClevisAnswered, opened: VolumeUnlocked) -> bool:
    """Whether clevis's answer was neither refused nor later than the opening."""
    wrong = (event.at for event in case.seen.events if isinstance(event, PassphraseWrong) and case.about(event.volume))
    return answer.at <= opened.at and not any(answer.at <= at <= opened.at for at in wrong)


def _enough_answers(
    volumes: Sequence[VolumePlan], outcomes: Mapping[str, Outcome], witnesses: ExternalEvidence
) -> None:
    """Several volumes may share services: each that did not open without some of them needs an answer of theirs."""
    names: dict[ServiceId, set[str]] = {}
    for volume in volumes:
        for leaf in volume.leaves:
            if leaf.service:
                names.setdefault(leaf.service, set()).add(leaf.name)
    opened = frozenset().union(*(each.unlocked_by for each in outcomes.values() if each.unlock is Unlock.AUTO))
    # Those that opened nothing change nothing, and the subsets of all servers of a policy may be many.
    asked = [
        (testimony, names[service])
        for service, testimony in witnesses.testimonies.items()
        if not opened.isdisjoint(names.get(service, ()))
    ]
    for some in chain.from_iterable(combinations(asked, count + 1) for count in range(len(asked))):
        own = frozenset().union(*(named for _, named in some))
        needing = [
            volume.name
            for volume in volumes
            if volume.pins
            and outcomes[volume.name].unlock is Unlock.AUTO
            and not holds(volume.pins, outcomes[volume.name].unlocked_by - own)
        ]
        if sum(testimony.answers for testimony, _ in some) < len(needing):
            shown = " and ".join(f"{testimony.shown_by} {testimony.answers}" for testimony, _ in some)
            raise RigError(
                f"{' and '.join(needing)} auto-unlocked by {' or '.join(sorted(own))}, and {shown} answers",
                hint=NO_VERDICT,
            )
