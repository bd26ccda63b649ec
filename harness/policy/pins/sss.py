"""Pins joined under a threshold, and the one evaluation of the trees that this makes (pure).

Sources: clevis-encrypt-sss(1); clevis 20 decrypt-sss.c.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from harness.policy.pins.clevis import CLEVIS
from harness.policy.pins.kind import Binding, Leaf, Opener, ReadPin
from harness.policy.pins.reading import Place


@dataclass(frozen=True)
class Sss(Binding):
    """clevis-encrypt-sss(1): at least `threshold` of `pins` must answer.

    Attributes:
        threshold: How many are enough.
        pins: They are asked at the same time.
        separate: Whether they are no `sss` but bindings of their own, any of which opens the volume; then they are
            asked in turn, and one that hangs keeps the later ones waiting.
    """

    threshold: int
    pins: tuple["Pin", ...]
    separate: bool = False

    opener: ClassVar[Opener] = CLEVIS
    clevis_name: ClassVar[str] = "sss"
    clevis_keys: ClassVar[tuple[str, ...]] = ("t", "pins")

    def clevis_config(self) -> dict[str, Any]:
        """Threshold and pins, by clevis's names of their kinds."""
        children: dict[str, list[object]] = {}
        for pin in self.pins:
            config = pin.clevis_config()
            children.setdefault(pin.clevis_name, []).append(config)
        return {"t": self.threshold, "pins": children}

    @classmethod
    def read(cls, place: Place, config: dict[str, Any], read_pin: ReadPin) -> "Sss | None":
        """Threshold and pins."""
        pins, threshold = config.get("pins"), config.get("t", 1)
        if not isinstance(threshold, int) or isinstance(threshold, bool):
            place.wrong(f"expected a whole number, found {json.dumps(threshold)}", "t")
            return None
        listed = [
            (name, child, place.at(f"pins.{name}" + (f"[{index}]" if isinstance(configs, list) else "")))
            for name, configs in (pins.items() if isinstance(pins, dict) else ())
            for index, child in enumerate(configs if isinstance(configs, list) else [configs])
        ]
        if not listed:
            place.wrong("an sss pin needs pins: an object with at least one pin")
            return None
        children = [read_pin(name, child, inside) for name, child, inside in listed]
        known = tuple(child for child in children if child)
        if len(known) < len(children):
            return None
        check_threshold(place, "t", threshold, len(known))
        return cls(threshold, known)


Pin = Leaf | Sss
"""A pin, or the tree of pins that a threshold makes of them."""


def check_threshold(place: Place, key: str, threshold: int, pins: int) -> None:
    """Note a threshold that makes no sense for so many pins."""
    if threshold < 1:
        place.wrong(f"a threshold is at least 1, not {threshold}", key)
    elif threshold > pins:
        are = "pin is" if pins == 1 else "pins are"
        place.wrong(f"a threshold of {threshold} can never be reached, {pins} {are} listed", key)


def leaves(pin: Pin | None) -> Iterator[Leaf]:
    """The leaves of a tree, in the order in which they were written; no tree has none."""
    if isinstance(pin, Leaf):
        yield pin
    elif pin:
        for child in pin.pins:
            yield from leaves(child)


def subtrees(pin: Pin) -> Iterator[Pin]:
    """A tree, and every tree and leaf in it."""
    yield pin
    if not isinstance(pin, Leaf):
        for child in pin.pins:
            yield from subtrees(child)


def has_sibling_thresholds(pin: Pin) -> bool:
    """Whether a threshold joins several others: ``clevis luks list`` shows the last of them only (clevis#505)."""
    joined = (tree.pins for tree in subtrees(pin) if not isinstance(tree, Leaf) and not tree.separate)
    return any(sum(not isinstance(child, Leaf) for child in pins) > 1 for pins in joined)


def bindings(pin: Pin | None) -> tuple[Pin, ...]:
    """The bindings that a volume's pins are, each in a keyslot of its own."""
    if pin is None or isinstance(pin, Leaf):
        return (pin,) if pin else ()
    return pin.pins if pin.separate else (pin,)


def with_threshold(pin: Pin, threshold: Callable[[Sss], int]) -> Pin:
    """The same tree under another threshold at its top, if it has one."""
    return pin if isinstance(pin, Leaf) else replace(pin, threshold=threshold(pin))


def changed(pin: Pin, change: Callable[[Leaf], Leaf]) -> Pin:
    """The same tree of other leaves."""
    if isinstance(pin, Leaf):
        return change(pin)
    return replace(pin, pins=tuple(changed(child, change) for child in pin.pins))


def evaluate(pin: Pin, answers: Callable[[Leaf], bool]) -> bool:
    """Whether the tree yields the key, given which leaves answer."""
    if isinstance(pin, Leaf):
        return answers(pin)
    return sum(evaluate(child, answers) for child in pin.pins) >= pin.threshold


def holds(pin: Pin, available: frozenset[str]) -> bool:
    """Whether the tree yields the key when just the leaves of these names answer."""
    return evaluate(pin, lambda leaf: leaf.name in available)
