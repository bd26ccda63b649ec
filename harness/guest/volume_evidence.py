"""The evidence about one volume, drawn from the events and from everybody else who says something (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import RigError
from harness.guest.events import (
    ClevisAnswered,
    Event,
    KeyslotUsed,
    PinAnswered,
    PinFailed,
    PromptShown,
    TokenUsed,
    VolumeUnlocked,
)
from harness.guest.failures import failures
from harness.guest.outcome import Outcome, PinFailure, Seconds, Unlock
from harness.guest.volumes import VolumePlan, answers_for, concerning, volume_of
from harness.guest.witness import ExternalEvidence, Observation, TypedPassphrase

NO_VERDICT = "the evidence does not agree, so there is no verdict; run it again, with --lab-console"
"""What to do about it."""


@dataclass(frozen=True)
class VolumeEvidence:
    """The evidence about one volume.

    Attributes:
        volume: The volume.
        seen: The boot as it was watched.
        witnesses: What the services, the TPM and the shell say about it.
        alone: Whether it is the only volume, so that words which name none are about it.
    """

    volume: VolumePlan
    seen: Observation
    witnesses: ExternalEvidence
    alone: bool

    def about(self, name: str) -> bool:
        """Whether words that name a volume or a device like that are about this one."""
        if self.alone:
            return not name or volume_of(name, [self.volume]) is not None
        return name in (self.volume.name, self.volume.device)

    @property
    def opened(self) -> VolumeUnlocked | None:
        """When it opened, if it did."""
        found = (event for event in self.seen.events if isinstance(event, VolumeUnlocked))
        return next((event for event in found if event.volume == self.volume.name), None)

    @property
    def prompts(self) -> tuple[PromptShown, ...]:
        """Its prompts, in order."""
        found = (event for event in self.seen.events if isinstance(event, PromptShown))
        return tuple(event for event in found if self.about(event.volume))

    @property
    def typed(self) -> tuple[TypedPassphrase, ...]:
        """What was typed for it."""
        return tuple(entry for entry in self.seen.typed if entry.volume == self.volume.name)

    @property
    def passphrases(self) -> tuple[TypedPassphrase, ...]:
        """What was typed for it, without PINs."""
        return tuple(entry for entry in self.typed if not entry.pin)

    @property
    def clevis(self) -> tuple[ClevisAnswered, ...]:
        """Clevis's answers for it."""
        return answers_for(self.volume, self.seen.events, self.alone)

    @property
    def keyslot(self) -> KeyslotUsed | None:
        """The keyslot that opened it last."""
        found = [event for event in self.seen.events if isinstance(event, KeyslotUsed) and self.about(event.volume)]
        return found[-1] if found else None

    @property
    def reported_failures(self) -> dict[str, list[PinFailed]]:
        """What the guest said about leaves that failed, by their names."""
        if self.volume.pins is None:
            return {}
        about = concerning(self.volume, self.seen.events, self.alone)
        return failures(self.volume.pins, about, self.witnesses.urls)

    @property
    def token(self) -> TokenUsed | None:
        """The token that systemd-cryptsetup says it opened it by."""
        found = (event for event in self.seen.events if isinstance(event, TokenUsed) and self.about(event.volume))
        return next(found, None)

    @property
    def answered(self) -> dict[str, str]:
        """Leaves that are proved to have answered, with the proof.

        A service does not know for which volume it answers. With several, a leaf of this one counts only if the volume
        opened by itself and nothing said that this leaf failed; `judge` counts the answers over all volumes.
        """
        if self.volume.pins is None or (not self.alone and (self.opened is None or self.typed)):
            return {}
        silent = {} if self.alone else self.reported_failures
        testimonies = self.witnesses.testimonies
        proofs: dict[str, str] = {}
        for leaf in self.volume.leaves:
            if leaf.name in silent:
                continue
            if leaf.service is None:
                if own := [event for event in self.answers if event.pin == leaf.reported_as]:
                    proofs[leaf.name] = format_event(own[0])
            elif (
                (testimony := testimonies.get(leaf.service))
                and testimony.answers
                and (testimony.conclusive or self._opened_by_pins)
            ):
                proofs[leaf.name] = testimony.proof
        return proofs

    @property
    def _opened_by_pins(self) -> bool:
        """Whether it opened, and no passphrase was typed."""
        return self.opened is not None and not self.passphrases

    @property
    def answers(self) -> tuple[PinAnswered, ...]:
        """What the guest said about leaves that answered, if what they gave opened the volume.

        A PKCS#11 token with another key of that size "decrypts" too: to something else (PKCS #1 v1.5 with implicit
        rejection; seen with SoftHSM2 2.6 and OpenSSL 3.5).
        """
        if not self._opened_by_pins:
            return ()
        found = (event for event in self.seen.events if isinstance(event, PinAnswered))
        return tuple(event for event in found if self.about(event.about))

    @property
    def failed(self) -> tuple[PinFailure, ...]:
        """Leaves that did not answer, each with everything that says so."""
        if self.volume.pins is None:
            return ()
        found: list[PinFailure] = []
        said, testimonies = self.reported_failures, self.witnesses.testimonies
        for leaf in self.volume.leaves:
            if leaf.name in self.answered:
                continue  # it failed first and answered later: a network that was late
            words = dict.fromkeys((event.reason, str(event.stream)) for event in said.get(leaf.name, ()))
            found += [PinFailure(leaf.name, reason, stream) for reason, stream in words]
            testimony = testimonies.get(leaf.service) if leaf.service else None
            if testimony and (self.alone or testimony.concerns_all):
                found += [PinFailure(leaf.name, reason, source) for reason, source in testimony.failures]
        return tuple(dict.fromkeys(found))

    def outcome(
        self, unlock: Unlock, reason: str, unlocked_by: frozenset[str] = frozenset(), proofs: Sequence[str] = ()
    ) -> Outcome:
        """The verdict, with all that is known about this volume."""
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
            proofs=(*proofs, *([format_event(self.keyslot)] if self.keyslot and self.opened else [])),
            prompts=len(self.prompts),
            typed_bytes=sum(entry.size for entry in self.typed),
            seconds=Seconds(
                prompt=self.prompts[0].at if self.prompts else None,
                unlock=self.opened.at if self.opened else None,
                end=self.seen.at,
            ),
            pcrs=self.witnesses.pcrs,
            canary=self.witnesses.canaries.get(self.volume.name),
        )

    def contradiction(self, what: str) -> RigError:
        """The error for evidence that does not agree."""
        events = "\n".join(format_event(event) for event in self.seen.events if not isinstance(event, PromptShown))
        return RigError(what, events, NO_VERDICT)


def format_event(event: Event) -> str:
    """An event as a proof."""
    return f"{event.stream} at {event.at:.1f} s: {event.line}"
