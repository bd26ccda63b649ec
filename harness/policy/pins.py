"""Pins and the tree that a threshold makes of them.

The words are clevis's (clevis(1)): a *pin* is one way to get at a share of the key, `sss` is the pin that joins others
under a *threshold*, a *binding* is a pin that was sealed into a LUKS header. A token of systemd-cryptenroll(1) is a
binding too: `CryptenrollPin`.

Placeholders
============
The harness makes the Tang servers, so a policy file leaves their addresses open: ``@TANG_URL@`` and
``@TANG_THUMBPRINT@`` mean the server called ``tang``, ``@TANG_URL:two@`` and ``@TANG_THUMBPRINT:two@`` the one called
``two``. A thumbprint may be left out beside a placeholder URL. A literal URL of the guest's gateway (`GATEWAY`) with a
placeholder thumbprint is a server that the harness provides at exactly that port.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

GATEWAY = "10.0.2.2"
"""The host as a guest on QEMU's user network sees it (qemu(1), -netdev user)."""

DEFAULT_SERVER = "tang"
"""The server that a placeholder without a name means."""

PLACEHOLDER = re.compile(r"@TANG_(?P<what>URL|THUMBPRINT)(?::(?P<server>[a-z][a-z0-9-]*))?@")


def placeholder(what: str, server: str) -> str:
    """The placeholder of a server's ``URL`` or ``THUMBPRINT``, as a policy file writes it."""
    return f"@TANG_{what}@" if server == DEFAULT_SERVER else f"@TANG_{what}:{server}@"


def placeholder_server(text: str, what: str) -> str | None:
    """The name of the server whose ``URL`` or ``THUMBPRINT`` `text` stands for, or None when it is literal."""
    match = PLACEHOLDER.fullmatch(text)
    return (match["server"] or DEFAULT_SERVER) if match and match["what"] == what else None


@dataclass(frozen=True)
class TangAddress:
    """Where a Tang server is, and who it is.

    Attributes:
        url: As the guest reaches it.
        thumbprint: Of its signing key (RFC 7638), as ``tang-show-keys`` prints it.
    """

    url: str
    thumbprint: str


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
class CryptenrollPin:
    """A TPM2 token of systemd-cryptenroll(1), which the owner enrolls in the installed guest.

    Attributes:
        pcr_ids: PCRs whose values at enrolment it is bound to (``--tpm2-pcrs=``).
        initrd_pcr_ids: PCRs that it is bound to as the initrd will find them: 11 and 15, which change before the system
            runs (``--tpm2-pcrs=INDEX:BANK=VALUE``), or those that the pcrlock policy foretells.
        signed_pcr_ids: PCRs that a signature by the owner's key must vouch for (``--tpm2-public-key-pcrs=``).
        asks_pin: Whether a person must type a PIN too (``--tpm2-with-pin=``).
        pcrlock: Whether a pcrlock policy says what may change (``--tpm2-pcrlock=``).
        measures: Whether the volume key is measured into PCR 15 (``tpm2-measure-pcr=`` of crypttab(5)).
        name: What failed pins are called in an outcome.
        further_phases: Those after ``enter-initrd`` that PCR 11 of `initrd_pcr_ids` has seen when it is unsealed
            (systemd-pcrphase.service(8)): of a volume that is opened later than root.
    """

    pcr_ids: tuple[int, ...] = ()
    initrd_pcr_ids: tuple[int, ...] = ()
    signed_pcr_ids: tuple[int, ...] = ()
    asks_pin: bool = False
    pcrlock: bool = False
    measures: bool = False
    name: str = "tpm2"
    further_phases: tuple[str, ...] = ()


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

    @property
    def provided(self) -> bool:
        """Whether the harness provides this server; a server with literal URL and thumbprint is the user's own."""
        return self.server != self.url

    @property
    def port(self) -> int | None:
        """The port that the policy file fixes for a server of the harness, or None when any will do."""
        if not self.provided or placeholder_server(self.url, "URL"):
            return None
        return urlsplit(self.url).port or 80


@dataclass(frozen=True)
class Sss:
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


Pin = Tpm2Pin | CryptenrollPin | TangPin | Sss
Leaf = Tpm2Pin | CryptenrollPin | TangPin

TPM_PINS = (Tpm2Pin, CryptenrollPin)
"""The leaves that a TPM answers for."""


def leaves(pin: Pin) -> Iterator[Leaf]:
    """The pins of a tree that are not `Sss`, in the order in which they were written."""
    if isinstance(pin, Sss):
        for child in pin.pins:
            yield from leaves(child)
    else:
        yield pin


def bindings(pin: Pin | None) -> tuple[Pin, ...]:
    """The bindings that a volume's pins are, each in a keyslot of its own."""
    if pin is None:
        return ()
    return pin.pins if isinstance(pin, Sss) and pin.separate else (pin,)


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
        passphrase: What opens it by hand, or None when the policy leaves no keyslot that can be typed.
        mount_point: Where its file system is mounted, or None.
        key_file: Whether the guest itself holds a key that opens it.
        headless: Whether the guest never asks (``headless=`` of crypttab(5)).
        tpm_pin: What a person types at the prompt for the TPM's PIN, or None where none is asked for.
    """

    name: str
    device: str
    pins: Pin | None
    passphrase: str | None
    mount_point: str | None
    key_file: bool = False
    headless: bool = False
    tpm_pin: str | None = None


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
        enrolment: Lines for root's shell in the installed guest, one boot later, still with the Tang placeholders: what
            an owner does by hand (`harness.policy.enrolment`).
    """

    name: str
    config: dict[str, object]
    volumes: tuple[Volume, ...]
    disk: str
    kernel_arguments: tuple[str, ...]
    source: str
    enrolment: tuple[str, ...] = ()

    @property
    def tang_pins(self) -> tuple[TangPin, ...]:
        """Every Tang pin of every volume, in order."""
        found = (leaf for volume in self.volumes if volume.pins for leaf in leaves(volume.pins))
        return tuple(leaf for leaf in found if isinstance(leaf, TangPin))

    @property
    def tang_servers(self) -> tuple[str, ...]:
        """Names of the servers that the harness must provide, in order, each once."""
        return tuple(dict.fromkeys(pin.server for pin in self.tang_pins if pin.provided))

    def tang_port(self, server: str) -> int | None:
        """The port that the policy file fixes for a server of the harness, or None when any will do."""
        return next((pin.port for pin in self.tang_pins if pin.server == server and pin.port), None)
