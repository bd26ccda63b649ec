"""What is known about a boot beside the guest's own words: what we typed, what services and the TPM did (pure).

All of it is frozen data. The judge weighs it against the events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.guest.events import Event
from harness.luks2.metadata import LuksHeader
from harness.machine.ctap2_log import REFUSALS, CtapExchange
from harness.machine.tpm_log import TpmExchange
from harness.policy.pins import ServiceId
from harness.policy.pins.tpm import TPM
from harness.services.log import Testimony


@dataclass(frozen=True)
class TypedPassphrase:
    """Something that the harness typed at a prompt; never the words themselves.

    Attributes:
        at: Seconds from power-on.
        volume: Whose prompt.
        size: Bytes, with the line end.
        pin: Whether it was the TPM's PIN that was asked for.
    """

    at: float
    volume: str
    size: int
    pin: bool = False


class End(StrEnum):
    """Why the harness stopped watching."""

    UP = "up"
    """The boot went through."""
    WAITING = "waiting"
    """It asks, and there is nothing (more) that we are to type."""
    SHUT = "shut"
    """The guest gave up on the volume."""
    REFUSED = "refused"
    """The firmware started nothing."""


@dataclass(frozen=True)
class Observation:
    """One boot as it was watched.

    Attributes:
        events: All of them, in the order in which they were read.
        typed: All that was typed.
        end: Why watching stopped.
        why: The same in a sentence.
        at: When, in seconds from power-on.
        hold: Seconds after a prompt for which pins were given the chance to answer, at the least; see `hold_time`.
    """

    events: tuple[Event, ...]
    typed: tuple[TypedPassphrase, ...]
    end: End
    why: str
    at: float
    hold: float


def hold_time(least: float, prompt: float) -> float:
    """How many seconds after a prompt pins that neither answered nor failed are given up.

    A guest that took a minute to ask is given a minute to answer: a busy host slows both.

    Args:
        least: What it is at the least.
        prompt: When the prompt came, in seconds from power-on.
    """
    return max(least, prompt)


_TPM_STEPS = ("Load", "Unseal", "LoadKey2")
"""The commands that fail when the seal does not fit: of clevis-decrypt-tpm2, and of tpm_unsealdata, which a 1.2 has."""

_TPM_TRY_AGAIN = frozenset({0x902, 0x903, 0x908, 0x90A, 0x922})
"""Answers that the kernel's resource manager takes for "later" (TPM 2.0 Library, Part 2, 6.6.3): memory for objects and
sessions, yielded, testing, retry."""


def tpm_testimony(exchanges: tuple[TpmExchange, ...] | None) -> Testimony:
    """What a TPM's exchanges with the machine say; None when nothing listened."""
    refused = (
        str(exchange)
        for exchange in exchanges or ()
        if exchange.command in _TPM_STEPS and not exchange.ok and exchange.response not in _TPM_TRY_AGAIN
    )
    unseals = [exchange for exchange in exchanges or () if exchange.command == "Unseal" and exchange.ok]
    name = unseals[0].full_name if unseals else "TPM2_Unseal"
    return Testimony(
        answers=len(unseals),
        proof=f"tpm: {len(unseals)} × {name} succeeded",
        failures=tuple((words, "tpm") for words in dict.fromkeys(refused)),
        concerns_all=False,
        shown_by="the TPM shows",
        title="TPM",
        lacking="and nobody listened to the TPM" if exchanges is None else "with no TPM2_Unseal that succeeded",
    )


def security_key_testimony(exchanges: tuple[CtapExchange, ...]) -> Testimony:
    """What a FIDO2 security key says of what it was asked."""
    secrets = sum(exchange.gave_secret for exchange in exchanges)
    refused = (str(exchange) for exchange in exchanges if exchange.status in REFUSALS)
    return Testimony(
        answers=secrets,
        proof=f"security key: {secrets} × getAssertion with hmac-secret",
        failures=tuple((words, "security key") for words in dict.fromkeys(refused)),
        concerns_all=False,
        shown_by="the security key shows",
        title="FIDO2",
        lacking="with no secret that the security key gave",
    )


@dataclass(frozen=True)
class ExternalEvidence:
    """What everybody but the guest's console says about a boot.

    Attributes:
        services: What each service says that a pin may talk to, but for the TPM.
        tpm: The exchanges of this boot; empty for a machine without a TPM, None when nobody listened.
        urls: Where the guest finds each server, by the server's name.
        headers: LUKS headers by the name of the volume, when they could be read.
        pcrs: PCR values (sha256, hex) by index, when they could be read.
        canaries: The secrets on the encrypted volumes that this boot could read, by the name of the volume.
        open: Names of the volumes that are open in the end; None when the guest could not be asked.
    """

    services: Mapping[ServiceId, Testimony] = field(default_factory=dict)
    tpm: tuple[TpmExchange, ...] | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, LuksHeader] = field(default_factory=dict)
    pcrs: Mapping[int, str] = field(default_factory=dict)
    canaries: Mapping[str, str] = field(default_factory=dict)
    open: frozenset[str] | None = None

    @property
    def testimonies(self) -> Mapping[ServiceId, Testimony]:
        """What each service says that a pin may talk to."""
        return {**self.services, TPM: tpm_testimony(self.tpm)}
