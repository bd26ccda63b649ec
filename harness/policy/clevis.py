"""From a `clevis` section to the tree of pins that it makes (pure).

What Ignition does with the section (its internal/exec/stages/disks/luks.go): without `custom` it always binds one `sss`
pin over Tang and TPM2, with threshold 1 unless told otherwise; with `custom` it hands pin and config to clevis as they
are.
Limits of the configs: clevis-encrypt-sss(1), clevis-encrypt-tang(1), clevis-encrypt-tpm2(1).
"""

import difflib
import json
from collections import Counter
from collections.abc import Collection
from typing import Any

from harness.policy.document import Document, KeyPath
from harness.policy.pins import KINDS, Binding, Pin, Sss, changed, leaves
from harness.policy.pins.reading import Place
from harness.policy.pins.sss import check_threshold

_BINDINGS: tuple[type[Binding], ...] = (Sss, *KINDS)
_KINDS = {kind.clevis_name: kind for kind in _BINDINGS if kind.clevis_name}
_DEEPEST = 16
"""Thresholds within thresholds."""
_LONGEST = 64
"""What of a name is told, and compared with those that are known."""


def read_pins(document: Document, path: KeyPath, clevis: dict[str, Any]) -> Pin | None:
    """The tree of pins that a `clevis` section of a config makes; mistakes go to the document.

    Thumbprints that were left to the harness are written into the section, so that it can be installed as it stands.

    Args:
        document: Where the section comes from.
        path: Of the section there.
        clevis: The section as the Ignition config has it.
    """
    tree: Pin | None
    custom = clevis.get("custom")
    if custom:
        for other in ("tang", "tpm2", "threshold"):
            if clevis.get(other):
                document.mistake((*path, other), "cannot stand beside custom")
        tree = _custom(document, (*path, "custom"), custom)
    else:
        tree = _simple(document, path, clevis)
    return _named(tree) if tree else None


def _simple(document: Document, path: KeyPath, clevis: dict[str, Any]) -> Pin | None:
    place = Place(document, path)
    pins = [pin for name, value in clevis.items() if name in _KINDS for pin in _KINDS[name].read_section(place, value)]
    if not pins and not document.broken(path):
        document.mistake(path, "no pin: it needs tpm2: true, tang, or custom")
    if not pins:
        return None
    threshold = clevis.get("threshold", 1)
    check_threshold(place, "threshold", threshold, len(pins))
    return Sss(threshold, tuple(pins))


def _custom(document: Document, path: KeyPath, custom: dict[str, Any]) -> Pin | None:
    pin, text = custom["pin"], custom["config"]
    if pin not in _KINDS:
        document.mistake((*path, "pin"), _unknown_pin(pin))
        return None
    here = (*path, "config")
    try:
        config = json.loads(text, object_pairs_hook=_once)
        json.dumps(config, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        document.mistake(here, f"not JSON: {error}")
        return None
    before = json.dumps(config)
    tree = _read(pin, config, Place(document, here, inside=""))
    if json.dumps(config) != before:
        custom["config"] = json.dumps(config)
    return tree


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"the key {twice[0]} is there twice")
    return dict(pairs)


def _unknown_pin(name: str) -> str:
    return f"{name[:_LONGEST]!r} is not a pin that Ignition takes; {_hint(name, _KINDS)}"


def _hint(name: str, known: Collection[str]) -> str:
    """What a name may have meant that is not known."""
    near = difflib.get_close_matches(name[:_LONGEST], known)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


def _read(name: str, config: Any, place: Place) -> Pin | None:
    """The pin that a configuration makes; mistakes go to the place."""
    if name not in _KINDS:
        place.wrong(_unknown_pin(name))
        return None
    if place.depth > _DEEPEST:
        place.wrong(f"thresholds nested deeper than {_DEEPEST} levels")
        return None
    if not isinstance(config, dict):
        place.wrong(f"the config of a {name} pin is an object")
        return None
    known = _KINDS[name].clevis_keys
    for key in config:
        if key not in known:
            place.wrong(f"unknown key {key!r} of a {name} pin; {_hint(key, known)}")
            return None
    return _KINDS[name].read(place, config, _read)


def _named(tree: Pin) -> Pin:
    """The tree with leaves of one name told apart, as far as they can be."""
    names = Counter(leaf.name for leaf in leaves(tree))
    return changed(tree, lambda leaf: leaf.distinct() if names[leaf.name] > 1 else leaf)
