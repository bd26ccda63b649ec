"""What an owner does to the volumes of a machine in use: renew, edit, unbind (pure).

A `MaintenanceTask` says what root runs in the guest, and what its volumes are afterwards; the boots that follow are
judged, and predicted, by those::

    sealed = sealed.maintained(edited(lambda pins: replace(pins, threshold=1)))

Sources: clevis-luks-regen(1), clevis-luks-edit(1), clevis-luks-unbind(1), systemd-cryptenroll(1).
"""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.errors import UsageError
from harness.policy.enrolment import clevis_config, cryptenroll, volume_env
from harness.policy.pins import CryptenrollPin, Pin, Volume, bindings


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


def _clevis(volume: Volume) -> list[Pin]:
    return [pin for pin in bindings(volume.pins) if not isinstance(pin, CryptenrollPin)]


def _renew(volume: Volume) -> Iterator[str]:
    if _clevis(volume):
        yield from _for_each_slot(volume, 'clevis luks regen -q -d "$device" -s "$slot"')
    for pin in bindings(volume.pins):
        if isinstance(pin, CryptenrollPin):
            yield from volume_env(volume)
            yield from cryptenroll(pin, "--wipe-slot=tpm2")


def _edit(old: Volume, new: Volume) -> Iterator[str]:
    if new == old:
        return
    if len(bindings(old.pins)) != 1 or not old.pins or not new.pins:
        raise UsageError(f"the volume {old.name} has not just one binding to edit")
    (was, _), (kind, config) = clevis_config(old.pins), clevis_config(new.pins)
    if was != kind:
        raise UsageError(f"clevis cannot edit a binding of {was} into one of {kind}", hint="unbind, and bind anew")
    yield from _for_each_slot(old, f'clevis luks edit -d "$device" -s "$slot" -c {shlex.quote(json.dumps(config))}')


def _unbind(volume: Volume) -> Iterator[str]:
    if _clevis(volume):
        yield from _for_each_slot(volume, 'clevis luks unbind -f -d "$device" -s "$slot"')
    if len(_clevis(volume)) < len(bindings(volume.pins)):
        yield from volume_env(volume)
        yield 'systemd-cryptenroll --wipe-slot=tpm2 "$device"'


def _for_each_slot(volume: Volume, command: str) -> Iterator[str]:
    """One command of clevis for each of its bindings, of which there must be as many as the policy says."""
    yield from volume_env(volume)
    yield 'slots=$(clevis luks list -d "$device" | cut -d: -f1)'
    yield f'test "$(wc -w <<< "$slots")" = {len(_clevis(volume))}'
    yield f"for slot in $slots; do printf '%s\\n' \"$PASSWORD\" | {command}; done"
