"""A volume that is watched in a boot, and which of the guest's words are about it (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.guest.events import ClevisAnswered, ClevisDone, ClevisTries, Event, PinFailed, PromptShown, VolumeAttaching
from harness.policy.pins import Leaf, Pin, leaves


@dataclass(frozen=True)
class VolumePlan:
    """What to do about one volume.

    Attributes:
        name: Of the mapping, as the prompt says it.
        device: What it lies on, or "".
        pins: The tree that may open it.
        typing: What to type, one at each prompt for a passphrase; empty to type nothing.
        tpm_pins: What to type, one at each prompt for the TPM's PIN.
    """

    name: str
    device: str = ""
    pins: Pin | None = None
    typing: tuple[str, ...] = ()
    tpm_pins: tuple[str, ...] = ()

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every leaf of its pins, in the order in which they were written."""
        return tuple(leaves(self.pins))


def volume_of(name: str, volumes: Sequence[VolumePlan]) -> VolumePlan | None:
    """The volume that a prompt or a message means: by name, by device, or because there is only one."""
    for volume in volumes:
        if name in (volume.name, volume.device):
            return volume
    return volumes[0] if len(volumes) == 1 and name.startswith("/dev/") else None


def answers_for(volume: VolumePlan, events: Sequence[Event], alone: bool) -> tuple[ClevisAnswered, ...]:
    """Clevis's answers that were meant for a volume.

    Args:
        volume: The volume.
        events: All that was seen.
        alone: Whether it is the only volume, so that there is no doubt.
    """
    names = _names(volume, events)
    return tuple(event for event in events if isinstance(event, ClevisAnswered) and (alone or event.device in names))


def concerning(volume: VolumePlan, events: Sequence[Event], alone: bool) -> tuple[Event, ...]:
    """All events but those failures of pins that were said about another volume, or about nobody knows which.

    A Tang server that is named fails for every volume that needs it.

    Args:
        volume: The volume.
        events: All that was seen.
        alone: Whether it is the only volume, so that there is no doubt.
    """
    names = _names(volume, events)

    def meant(event: PinFailed) -> bool:
        return event.about in names or bool(not event.about and event.url)

    return tuple(event for event in events if alone or not isinstance(event, PinFailed) or meant(event))


def asked_at(volume: VolumePlan, events: Sequence[Event], prompt: PromptShown) -> float:
    """Since when a volume has been waiting for an answer, in seconds from power-on.

    The console shows one question after the other, so with several volumes a prompt may come long after its question
    was put, which pins answer at once.
    """
    shown = (event.at for event in events if isinstance(event, PromptShown) and event.volume == prompt.volume)
    put = (event.at for event in events if isinstance(event, VolumeAttaching) and event.volume == volume.name)
    return min(prompt.at, *shown, *put)


def turn_of(volume: VolumePlan, events: Sequence[Event]) -> float | None:
    """When clevis first set to work on a volume, in seconds from power-on, if it is known to have."""
    names = _names(volume, events)
    return next((event.at for event in events if isinstance(event, ClevisTries) and event.device in names), None)


def rounds_of(volume: VolumePlan, events: Sequence[Event], until: float) -> int:
    """How often clevis is known to have gone through a volume's pins, before a time in seconds from power-on.

    Only on IT does it say so. A round that answered is one, too: its answer opens the volume before the next one ends.
    """
    return sum(isinstance(event, ClevisDone) and event.volume == volume.name and event.at < until for event in events)


def _names(volume: VolumePlan, events: Sequence[Event]) -> set[str]:
    """What the guest calls a volume: its mapping, its device, and the device by its UUID."""
    attaching = (event for event in events if isinstance(event, VolumeAttaching) and event.volume == volume.name)
    return {volume.name, volume.device, *(event.device for event in attaching)} - {""}
