"""Which recorded verdicts speak of a volume: those of volumes that differ from it by names alone (pure).

Servers are numbered in the order in which a policy names them, so the verdicts on ``any 2 of tang, two, three`` speak
of ``any 2 of paris, rome, oslo`` too, and ``without two`` is then ``without rome``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.policy.pins import Pin, Sss, TangPin, Volume, leaves

_WITHOUT = "without "
"""How `harness.matrix.conditions.subsets` names a column."""


@dataclass(frozen=True)
class Shape:
    """What decides how a volume opens, without names.

    Attributes:
        pins: The tree, its servers numbered.
        passphrase: Whether one can be typed.
        key_file: Whether the guest holds a key.
        headless: Whether it never asks.
    """

    pins: Pin | None
    passphrase: bool
    key_file: bool
    headless: bool


def shape(volume: Volume) -> Shape:
    """A volume without its names."""
    numbers = numbered(volume)
    pins = _renamed(volume.pins, numbers) if volume.pins else None
    return Shape(pins, volume.passphrase is not None, volume.key_file, volume.headless)


def numbered(volume: Volume) -> Mapping[str, str]:
    """Each server of a volume and its number, as text, in order."""
    servers = (
        dict.fromkeys(leaf.server for leaf in leaves(volume.pins) if isinstance(leaf, TangPin)) if volume.pins else {}
    )
    return {server: str(number) for number, server in enumerate(servers)}


def nameless(condition: str, numbers: Mapping[str, str]) -> str:
    """The name of a column with its servers numbered and sorted; those that the volume lacks are left out."""
    if not condition.startswith(_WITHOUT):
        return condition
    missing = condition.removeprefix(_WITHOUT).split("+")
    return _WITHOUT + "+".join(sorted(numbers.get(name, name) for name in missing if name in numbers or name == "tpm2"))


def _renamed(pin: Pin, numbers: Mapping[str, str]) -> Pin:
    match pin:
        case Sss():
            return replace(pin, pins=tuple(_renamed(child, numbers) for child in pin.pins))
        case TangPin():
            return TangPin(numbers[pin.server], numbers[pin.server])
        case _:
            return pin
