"""Pins and the tree that a threshold makes of them.

The words are clevis's (clevis(1)): a *pin* is one way to get at a share of the key, `sss` is the pin that joins others
under a *threshold*, a *binding* is a pin that was sealed into a LUKS header.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Tpm2Pin:
    """clevis-encrypt-tpm2(1).

    Attributes:
        pcr_ids: PCRs that the seal is bound to; none means any state of the same TPM.
        pcr_bank: The bank of those PCRs; clevis's own default is used when it is None.
        name: What failed pins are called in an outcome.
    """

    pcr_ids: tuple[int, ...] = ()
    pcr_bank: str | None = None
    name: str = "tpm2"


@dataclass(frozen=True)
class TangPin:
    """clevis-encrypt-tang(1).

    Attributes:
        server: The name of the harness's own server for a placeholder (``tang``, or what the placeholder names),
            else the URL that the policy file gives.
        url: As the guest will see it, or a placeholder.
        thumbprint: Of the signing key (RFC 7638), or a placeholder.
    """

    server: str
    url: str
    thumbprint: str | None = None

    @property
    def name(self) -> str:
        """What failed pins are called in an outcome."""
        return self.server


@dataclass(frozen=True)
class Sss:
    """clevis-encrypt-sss(1): at least `threshold` of `pins` must answer."""

    threshold: int
    pins: tuple["Pin", ...]


Pin = Tpm2Pin | TangPin | Sss
Leaf = Tpm2Pin | TangPin


def leaves(pin: Pin) -> Iterator[Leaf]:
    """The pins of a tree that are not `Sss`, in the order in which they were written."""
    if isinstance(pin, Sss):
        for child in pin.pins:
            yield from leaves(child)
    else:
        yield pin


def holds(pin: Pin, available: frozenset[str]) -> bool:
    """Whether the tree yields the key when just the leaves of these names answer."""
    if isinstance(pin, Sss):
        return sum(holds(child, available) for child in pin.pins) >= pin.threshold
    return pin.name in available


@dataclass(frozen=True)
class Volume:
    """One encrypted volume of a policy.

    Attributes:
        name: Of the mapping under /dev/mapper.
        device: What it is made on, as the policy names it.
        pins: The tree that unlocks it by itself, or None.
        passphrase: What opens it by hand, or None when the policy leaves no such keyslot.
        mount_point: Where its file system is mounted, or None.
    """

    name: str
    device: str
    pins: Pin | None
    passphrase: str | None
    mount_point: str | None


@dataclass(frozen=True)
class Policy:
    """An encryption config that can be installed.

    Attributes:
        name: File name without its ending.
        config: The Ignition config as a JSON-able value, still with the Tang placeholders.
        volumes: In the order in which they are opened.
        disk: The device node that the config partitions (``/dev/nvme0n1`` or ``/dev/vda``): it decides the bus.
        kernel_arguments: Those that should exist.
        source: The file's text, for the evidence.
    """

    name: str
    config: dict[str, object]
    volumes: tuple[Volume, ...]
    disk: str
    kernel_arguments: tuple[str, ...]
    source: str

    @property
    def tang_servers(self) -> tuple[str, ...]:
        """Names of the servers that the harness must provide, in order, each once."""
        names = (leaf for volume in self.volumes if volume.pins for leaf in leaves(volume.pins))
        return tuple(dict.fromkeys(leaf.server for leaf in names if isinstance(leaf, TangPin)))
