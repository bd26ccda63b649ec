"""Which recorded verdicts speak of a volume: those of volumes that differ from it by names alone (pure).

The pins that a threshold joins are asked at the same time, so their order is nothing. Servers are numbered in the order
that is left: the verdicts on ``any 2 of tang, two, three`` speak of ``any 2 of paris, rome, oslo`` too, and
``without two`` is then ``without rome``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.policy.pins import Leaf, Pin, ServiceId, changed, leaves
from harness.policy.policy import Volume

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
        key_on: That of the volume which the key lies on, where that is encrypted.
    """

    pins: Pin | None
    passphrase: bool
    key_file: bool
    headless: bool
    key_on: "Shape | None" = None


def shape(volume: Volume) -> Shape:
    """A volume without its names."""
    numbers = numbered(volume)
    pins = _renamed(_ordered(volume.pins), lambda name: numbers.get(name, name)) if volume.pins else None
    key_on = shape(volume.key_on) if volume.key_on else None
    return Shape(pins, volume.passphrase is not None, volume.key_file, volume.headless, key_on)


def numbered(volume: Volume) -> Mapping[str, str]:
    """Each server of a volume and its number, as text, in order."""
    return {service.name: str(number) for number, service in enumerate(_servers(volume))}


def nameless(condition: str, numbers: Mapping[str, str]) -> str:
    """The name of a column with its servers numbered and sorted; those that the volume lacks are left out."""
    if not condition.startswith(_WITHOUT):
        return condition
    missing = condition.removeprefix(_WITHOUT).split("+")
    return _WITHOUT + "+".join(sorted(numbers.get(name, name) for name in missing if name in numbers or name == "tpm2"))


def _servers(volume: Volume) -> tuple[ServiceId, ...]:
    found = (leaf.service for leaf in leaves(volume.pins and _ordered(volume.pins)) if leaf.needs_network)
    return tuple(dict.fromkeys(service for service in found if service))


def _ordered(pin: Pin) -> Pin:
    """The same tree with the pins that a threshold joins in one order, whatever their servers are called."""
    if isinstance(pin, Leaf):
        return pin
    children = map(_ordered, pin.pins)
    return replace(pin, pins=tuple(children if pin.separate else sorted(children, key=_likeness)))


def _likeness(pin: Pin) -> str:
    return repr(_renamed(pin, lambda _name: ""))


def _renamed(pin: Pin, name_of: Callable[[str], str]) -> Pin:
    return changed(pin, lambda leaf: leaf.renamed(name_of(leaf.name)))
