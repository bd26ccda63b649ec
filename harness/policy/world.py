"""The state of the world at a boot, as far as it decides what opens: the condition of a cell of the truth table (pure).

`World()` is the control: everything is as it was when the policy was sealed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Stack(StrEnum):
    """What runs in the initrd and opens the volumes."""

    DR = "dracut"
    """With systemd in the initrd."""
    IT = "initramfs-tools"
    """With cryptsetup-initramfs and clevis-initramfs."""


class TpmState(StrEnum):
    """The TPM that the guest finds."""

    PRESENT = "present"
    ABSENT = "absent"
    ANOTHER = "another"
    """A fresh one: another storage seed, nothing stored."""
    CLEARED = "cleared"
    VERSION_1_2 = "version 1.2"
    LOCKED_OUT = "locked out"
    """Its defence against guessing refuses every authorization (TPM 2.0 part 1, 19.8)."""
    OWNER_AUTH_SET = "owner authorization set"


class TokenState(StrEnum):
    """The security token that a person plugs in, or that the guest holds: a FIDO2 key, a PKCS#11 token."""

    PRESENT = "present"
    ABSENT = "absent"
    ANOTHER = "another"
    """One of the same kind that knows nothing of this machine."""
    PIN_BLOCKED = "PIN blocked"
    """The PIN was wrong too often."""


class Server(StrEnum):
    """A server that pins ask, as the guest finds it."""

    UP = "up"
    REFUSED = "refused"
    """Connections to it are refused."""
    SILENT = "silent"
    """Packets to it vanish: a connection fails after 127 s (tcp(7), tcp_syn_retries), after 75 s in QEMU's network."""
    STALLED = "stalled"
    """It accepts connections and never answers: clevis hangs, since its curl has no time limit (clevis#472)."""
    ROTATED = "rotated"
    """It advertises new keys; the old one, hidden, still serves."""
    KEY_DELETED = "key deleted"
    IMPOSTER = "imposter"
    """Another server answers at its address, with other keys."""


class Network(StrEnum):
    """The network of the initrd."""

    UP = "up"
    NO_LINK = "no link"
    LATE_DHCP = "late DHCP"
    """The address comes after the prompt, and while initramfs-tools still waits for it."""


class Header(StrEnum):
    """The volume's LUKS2 header."""

    INTACT = "intact"
    TOKEN_REMOVED = "token removed"
    """The tokens of its pins are gone, their keyslots are not."""
    KEYSLOT_WIPED = "keyslot wiped"
    """The keyslots of its pins are gone; clevis's tokens stay behind."""
    PRIMARY_ZEROED = "primary header zeroed"
    BOTH_ZEROED = "both headers zeroed"


@dataclass(frozen=True)
class World:
    """What is as it was, and what is not.

    Attributes:
        tpm: The TPM.
        changed_pcrs: Indices whose values in the initrd differ from those that were sealed.
        servers: Those that pins ask, by name (`ServiceId.name`); one that is not named is up.
        network: The network of the initrd.
        image_refused: Whether the firmware, or shim, does not start the boot image.
        header: The volume's LUKS2 header.
        signature_valid: Whether the initrd has a signature by the owner's key over the present PCR 11.
        pcrlock_valid: Whether the initrd has the pcrlock policy, and it allows the present PCRs.
        pin_typed: Whether a person types a PIN where the PIN of a TPM or a token is asked for.
        pin_right: Whether what they type is right.
        token: The security token.
        power_cuts: Boots before this one in which the pins were asked and the power was then cut.
    """

    tpm: TpmState = TpmState.PRESENT
    changed_pcrs: frozenset[int] = frozenset()
    servers: Mapping[str, Server] = field(default_factory=dict)
    network: Network = Network.UP
    image_refused: bool = False
    header: Header = Header.INTACT
    signature_valid: bool = True
    pcrlock_valid: bool = True
    pin_typed: bool = True
    pin_right: bool = True
    token: TokenState = TokenState.PRESENT
    power_cuts: int = 0
