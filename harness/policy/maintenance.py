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
from harness.policy.pins.sss import has_sibling_thresholds
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

    Raises:
        UsageError: A threshold joins several others: clevis before 24 binds the last of them alone. Seen with clevis 19
            and 20: "Invalid threshold (required: 1 <= 2 <= 1)!", or, of threshold 1, silently less than there was.
    """
    return MaintenanceResult(tuple(volumes), tuple(line for volume in volumes for line in _renew(volume)))


def edited(change: Callable[[Pin], Pin]) -> MaintenanceTask:
    """Every clevis binding under another configuration of the same kind: another threshold, another server."""

    def task(volumes: Sequence[Volume]) -> MaintenanceResult:
        done = [_edit(volume, change) for volume in volumes]
        return MaintenanceResult(
            tuple(volume for volume, _ in done), tuple(line for _, lines in done for line in lines)
        )

    return task


def unbound(volumes: Sequence[Volume]) -> MaintenanceResult:
    """No binding is left, nor its keyslot."""
    after = tuple(replace(volume, pins=None) for volume in volumes)
    return MaintenanceResult(after, tuple(line for volume in volumes for line in _unbind(volume)))


def _renew(volume: Volume) -> Iterator[str]:
    for opener in OPENERS:
        if own := [pin for pin in bindings(volume.pins) if pin.opener is opener]:
            if any(map(has_sibling_thresholds, own)):
                raise UsageError(
                    f"clevis luks regen loses a part of what opens {volume.name}",
                    "of several thresholds in a threshold it knows the last, before clevis 24 (clevis#505)",
                    "unbind, and bind anew",
                )
            yield from volume_env(volume)
            yield from opener.renew(own)


def _edit(volume: Volume, change: Callable[[Pin], Pin]) -> tuple[Volume, tuple[str, ...]]:
    """The volume under its new configuration, and the lines that bring it there: none where nothing changes."""
    if volume.pins is None or (pins := change(volume.pins)) == volume.pins:
        return volume, ()
    if len(bindings(volume.pins)) > 1:
        raise UsageError(f"the volume {volume.name} has not just one binding to edit")
    was, kind = volume.pins.clevis_name, pins.clevis_name
    if was != kind:
        raise UsageError(f"clevis cannot edit a binding of {was} into one of {kind}", hint="unbind, and bind anew")
    return replace(volume, pins=pins), (*volume_env(volume), *CLEVIS.edit(pins))


def _unbind(volume: Volume) -> Iterator[str]:
    for opener in OPENERS:
        if own := [pin for pin in bindings(volume.pins) if pin.opener is opener]:
            yield from volume_env(volume)
            yield from opener.remove(own)
