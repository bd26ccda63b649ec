"""What the owner of a policy should hear before anything else, each with its source (pure)."""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.policy.pins import CryptenrollPin, Pin, Policy, Sss, TangPin, Tpm2Pin, Volume, bindings, leaves

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
    """Every warning about a policy, volume by volume."""
    return tuple(
        Advice(volume.name, text, source)
        for volume in policy.volumes
        for rule in _RULES
        for text, source in rule(policy, volume)
    )


def _threshold(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    for tree in _trees(volume.pins):
        kinds = {isinstance(leaf, TangPin) for leaf in leaves(tree)}
        if isinstance(tree, Sss) and not tree.separate and tree.threshold == 1 and len(kinds) == 2:
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


def _no_pcrs(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    unbound = [
        leaf
        for leaf in _leaves(volume)
        if (isinstance(leaf, Tpm2Pin) and not leaf.pcr_ids)
        or (
            isinstance(leaf, CryptenrollPin)
            and not (leaf.pcr_ids or leaf.initrd_pcr_ids or leaf.signed_pcr_ids or leaf.pcrlock)
        )
    ]
    if unbound:
        yield (
            "its TPM seal is bound to no PCR: any system started on this machine can unseal it",
            "clevis-encrypt-tpm2(1), pcr_ids; clevis#331, #335; test_stolen_foreign_os",
        )


def _pcr_7(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    bound = (
        leaf.pcr_ids
        if isinstance(leaf, Tpm2Pin)
        else (*leaf.pcr_ids, *leaf.initrd_pcr_ids, *leaf.signed_pcr_ids)
        if isinstance(leaf, CryptenrollPin)
        else ()
        for leaf in _leaves(volume)
    )
    if any(ids and set(ids) <= {0, 1, 2, 3, 7} and 7 in ids for ids in bound):
        yield (
            "PCR 7 tells by whose key the boot image was let in: under a vendor's keys every distribution's medium has "
            "the same value; only keys of your own make it yours",
            "TCG PC Client Platform Firmware Profile, 3.3.4.8; bootc#476; test_stolen_foreign_os_under_secure_boot",
        )
        yield (
            "an update of db or dbx changes PCR 7: have the passphrase at hand before you install one",
            "clevis#536; fwupd#7939",
        )


def _bank(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    if any(isinstance(leaf, Tpm2Pin) and leaf.pcr_ids and leaf.pcr_bank in (None, "sha1") for leaf in _leaves(volume)):
        yield (
            "its PCRs are those of the bank sha1, clevis's default: a TPM without that bank refuses the binding",
            "clevis-encrypt-tpm2(1), pcr_bank; clevis#300, #329",
        )


def _inline_key(policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    if policy.source and volume.passphrase is not None and "inline" in policy.source:
        where = (
            "stays in a keyslot beside clevis's"
            if volume.pins
            else "lies in the clear under /etc/luks of the installed system"
        )
        yield (
            f"its key stands in this file, and {where}: whoever reads the file, or the config that the machine was "
            "installed with, opens the volume",
            "Ignition, luks.go; CVE-2022-1706; test_ignition_inline_key",
        )


def _tang_in_initrd(policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    tangs = [leaf for leaf in _leaves(volume) if isinstance(leaf, TangPin)]
    if not tangs:
        return
    if volume.mount_point in _IN_INITRD and not any(
        word.startswith("rd.neednet=1") for word in policy.kernel_arguments
    ):
        yield (
            "it needs Tang in the initrd, and the kernel arguments lack rd.neednet=1: the initrd of Fedora CoreOS then "
            "has no network, and asks; a guest that mounts this volume later opens it",
            "fedora-coreos-tracker#1409; clevis#232, #555",
        )
    for tang in tangs:
        host = urlsplit(tang.url).hostname or ""
        if host and not tang.url.startswith("@") and not _is_address(host):
            yield (
                f"its Tang server goes by the name {host}: the initrd must resolve it, and a name in .local it cannot",
                "clevis#148",
            )


def _one_server(_policy: Policy, volume: Volume) -> Iterator[tuple[str, str]]:
    servers = {leaf.server for leaf in _leaves(volume) if isinstance(leaf, TangPin)}
    if len(servers) == 1 and volume.passphrase is None:
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
    _no_pcrs,
    _pcr_7,
    _bank,
    _inline_key,
    _tang_in_initrd,
    _one_server,
    _headless,
)


def _leaves(volume: Volume) -> tuple[Pin, ...]:
    return tuple(leaves(volume.pins)) if volume.pins else ()


def _trees(pin: Pin | None) -> Iterator[Pin]:
    if pin is None:
        return
    yield pin
    if isinstance(pin, Sss):
        for child in pin.pins:
            yield from _trees(child)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
