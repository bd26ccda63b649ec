"""What an owner does to the volumes of a machine in use: renew, edit, unbind (pure).

A `MaintenanceTask` says what root runs in the guest, and what its volumes are afterwards; the boots that follow are
judged, and predicted, by those::

    sealed = sealed.maintained(edited(lambda pins: replace(pins, threshold=1)))

Sources: clevis-luks-regen(1), clevis-luks-edit(1), clevis-luks-unbind(1), systemd-cryptenroll(1).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.errors import UsageError
from harness.policy.enrolment import volume_env
from harness.policy.pins import OPENERS, Pin, bindings
from harness.policy.pins.clevis import CLEVIS
from harness.policy.policy import Volume


@dataclass(frozen=True)
class MaintenanceResult:
    """What becomes of a machine's volumes, and by what.

    Attributes:
        volumes: What they are afterwards, in the same order.
        commands: Lines for root's shell in the guest, still with the Tang placeholders.
    """

    volumes: tuple[Volume, ...]
    commands: tuple[str, ...]


MaintenanceTask = Callable[[Sequence[Volume]], MaintenanceResult]
"""What an owner does to a machine with these volumes."""


def rebound(volumes: Sequence[Volume]) -> MaintenanceResult:
    """Every binding made anew as it was: by Tang's present key, and in the present state of the TPM's PCRs.

    clevis takes the passphrase where the old binding does not open any more, as after a deleted key or new firmware. It
    trusts whatever answers in Tang's place meanwhile: ``clevis luks regen`` says ``-y`` and asks for no thumbprint.
    """
    return MaintenanceResult(tuple(volumes), tuple(line for volume in volumes for line in _renew(volume)))


def edited(change: Callable[[Pin], Pin]) -> MaintenanceTask:
    """Every clevis binding under another configuration of the same kind: another threshold, another server."""

    def chore(volumes: Sequence[Volume]) -> MaintenanceResult:
        after = [replace(volume, pins=change(volume.pins)) if volume.pins else volume for volume in volumes]
        lines = [line for old, new in zip(volumes, after, strict=True) for line in _edit(old, new)]
        return MaintenanceResult(tuple(after), tuple(lines))

    return chore


def unbound(volumes: Sequence[Volume]) -> MaintenanceResult:
    """No binding is left, nor its keyslot."""
    after = tuple(replace(volume, pins=None) for volume in volumes)
    return MaintenanceResult(after, tuple(line for volume in volumes for line in _unbind(volume)))


def _renew(volume: Volume) -> Iterator[str]:
    for opener in OPENERS:
        if own := [pin for pin in bindings(volume.pins) if pin.opener is opener]:
            yield from volume_env(volume)
            yield from opener.renew(own)


def _edit(old: Volume, new: Volume) -> Iterator[str]:
    if new == old:
        return
    if len(bindings(old.pins)) != 1 or not old.pins or not new.pins:
        raise UsageError(f"the volume {old.name} has not just one binding to edit")
    was, kind = old.pins.clevis_name, new.pins.clevis_name
    if was != kind:
        raise UsageError(f"clevis cannot edit a binding of {was} into one of {kind}", hint="unbind, and bind anew")
    yield from volume_env(old)
    yield from CLEVIS.edit(new.pins)


def _unbind(volume: Volume) -> Iterator[str]:
    for opener in OPENERS:
        if own := [pin for pin in bindings(volume.pins) if pin.opener is opener]:
            yield from volume_env(volume)
            yield from opener.remove(own)
