"""What the owner of a policy should hear before anything else, each with its source (pure)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.policy.merge import elsewhere
from harness.policy.needs import mapping
from harness.policy.notes import not_exercised
from harness.policy.pins import Leaf, bindings, evaluate, leaves, subtrees
from harness.policy.pins.sss import has_sibling_thresholds
from harness.policy.policy import Policy, Volume

_IN_INITRD = frozenset({"/", "/usr", "/etc", "/var"})
"""What the initrd of Fedora CoreOS mounts itself, or needs before it switches roots."""


@dataclass(frozen=True)
class Advice:
    """One warning.

    Attributes:
        volume: Which volume it is about.
        text: What is so, and what follows.
        source: Where it is written, or was seen.
    """

    volume: str
    text: str
    source: str


Rule = Callable[[Policy, Volume], Iterator[tuple[str, str]]]


def advice(policy: Policy) -> tuple[Advice, ...]:
    """Every warning about a policy: what the guest cannot have, then volume by volume, then what no boot shows."""
    return (
        *_of_the_file(policy),
        *(
            Advice(volume.name, text, source)
            for volume in policy.volumes
            for rule in _RULES
            for text, source in rule(policy, volume)
        ),
        *_of_the_guest(policy),
    )


def _of_the_file(policy: Policy) -> Iterator[Advice]:
    if not policy.volumes:
        unread = f" (what {', '.join(missing)} adds was not read)" if (missing := elsewhere(policy.config)) else ""
        nothing = f"it encrypts nothing: it has no storage.luks and no boot_device.luks{unread}"
        yield Advice(policy.name, nothing, "Butane, docs")
    for obstacle in policy.obstacles:
        yield Advice(policy.name, f"the laboratory cannot install it: {obstacle}", "images/debian-13/recipe.yaml")


def _of_the_guest(policy: Policy) -> Iterator[Advice]:
    if notes := not_exercised(policy):
        yield Advice(policy.name, f"not exercised here: {'; '.join(notes)}", "docs/explanation/limits.md")


def _threshold(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    for tree in subtrees(volume.pins) if volume.pins and evaluate(volume.pins, _is_local) else ():
        both = len({leaf.needs_network for leaf in leaves(tree)}) == 2
        if both and not isinstance(tree, Leaf) and not tree.separate and tree.threshold == 1:
            yield (
                "the threshold is 1 (so it is when it is left out): TPM or Tang, either opens it, so whoever takes the "
                "machine has the TPM and needs no Tang",
                "Ignition, internal/exec/stages/disks/luks.go; seed 000; test_ignition_threshold",
            )
    if len(bindings(volume.pins)) > 1:
        yield (
            "it has several bindings, and any one of them opens it",
            "clevis-luks-bind(1): each binding has a keyslot of its own",
        )


def _siblings(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    if volume.pins and has_sibling_thresholds(volume.pins):
        yield (
            "a threshold joins several others: `clevis luks list` shows the last of them only, and `clevis luks regen` "
            "fails, or binds less than there was; unbind and bind anew (repaired in clevis 24)",
            "clevis#505, #570; docs/explanation/levels.md",
        )


def _is_local(leaf: Leaf) -> bool:
    return not leaf.needs_network


def _pins(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    """What each pin says of itself, once."""
    yield from dict.fromkeys(warning for leaf in volume.leaves for warning in leaf.warnings())


def _section(policy: Policy, volume: Volume) -> dict[str, Any]:
    """What the config says of a volume."""
    sections = policy.config.get("storage", {}).get("luks", [])
    return next((luks for luks in sections if luks["name"] == volume.name), {})


def _inline_key(policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    key = _section(policy, volume).get("keyFile", {}).get("source", "")
    if volume.passphrase is not None and key.startswith("data:"):
        lies = f"on {volume.key_on.name}" if volume.key_on else "in the clear"
        where = (
            "stays in a keyslot beside clevis's"
            if volume.pins
            else f"lies {lies} under /etc/luks of the installed system"
        )
        yield (
            f"its key stands in this file, and {where}: whoever reads the file, or the config that the machine was "
            "installed with, opens the volume",
            "Ignition, luks.go; CVE-2022-1706; test_ignition_inline_key",
        )


def _tang_in_initrd(policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    asked = any(word.startswith("rd.neednet=1") for word in policy.kernel_arguments)
    if volume.mount_point in _IN_INITRD and not asked and volume.tang_servers:
        yield (
            "it needs Tang in the initrd, and the kernel arguments lack rd.neednet=1: the initrd of Fedora CoreOS then "
            "has no network, and asks; a guest that mounts this volume later opens it",
            "fedora-coreos-tracker#1409; clevis#232, #555",
        )


def _network_later(policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    """What keeps systemd from waiting for the network, where the initrd has not brought it up."""
    if not volume.tang_servers or volume.mount_point == "/" or "rd.neednet=1" in policy.kernel_arguments:
        return
    custom = _section(policy, volume).get("clevis", {}).get("custom")
    if custom and not custom.get("needsNetwork"):
        yield (
            "its custom pin asks Tang, and does not say needs_network: Ignition leaves _netdev out of crypttab, so "
            "it is wanted before the network is up",
            "Ignition 2.26, createCrypttabEntries; crypttab(5), _netdev",
        )
    for unit in policy.config.get("systemd", {}).get("units", []):
        mounted = re.search(r"^What=(.+)$", unit.get("contents") or "", re.MULTILINE)
        if mounted and mapping(mounted[1]) == volume.name and "_netdev" not in unit["contents"]:
            yield (
                f"its mount unit {unit['name']} does not say _netdev, which Butane adds for `tang` and for no custom "
                "pin: local-fs.target waits for it before the network is up",
                "Butane, mount units; systemd.mount(5), _netdev; clevis#457; systemd#27101",
            )


def _one_server(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    if len(volume.tang_servers) == 1 and volume.passphrase is None:
        yield (
            "it has one Tang server and no passphrase: when that server is lost, so is the volume",
            "clevis#472; talos#7868",
        )


def _headless(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    if volume.headless:
        yield (
            "it never asks (headless): when its pins fail the boot ends in an emergency shell",
            "crypttab(5), headless=",
        )


_RULES: tuple[Rule, ...] = (
    _threshold,
    _siblings,
    _pins,
    _inline_key,
    _tang_in_initrd,
    _network_later,
    _one_server,
    _headless,
)
