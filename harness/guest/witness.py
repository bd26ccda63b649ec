"""What is known about a boot beside the guest's own words: what we typed, what Tang and the TPM say they did (pure).

All of it is frozen data. The judge weighs it against the events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.guest.events import Event
from harness.luks2.metadata import LuksHeader
from harness.machine.ctap2_log import REFUSALS, CtapExchange
from harness.machine.tpm_log import TpmExchange
from harness.policy.pins import TANG, Service
from harness.policy.pins.tpm import TPM
from harness.services.hsm_log import HsmCalls
from harness.services.tang_log import TangRequest


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


@dataclass(frozen=True)
class Testimony:
    """What the log of a service says about one boot. It does not know for which volume it answered.

    Attributes:
        answers: How often it answered.
        proof: The same as a proof.
        failures: What it refused or left unanswered, and who says so.
        concerns_all: Whether its failures concern every volume that needs it: it is one server for all of them.
        shown_by: What shows the number of answers, in words.
        title: What a policy is called that needs it.
        lacking: What is missing where it did not answer, after "it auto-unlocked under such a policy".
        conclusive: Whether an answer is the secret, even if the volume does not open. A PKCS#11 token with another key
            decrypts too: to something else (PKCS #1 v1.5 with implicit rejection).
    """

    answers: int
    proof: str
    failures: tuple[tuple[str, str], ...]
    concerns_all: bool
    shown_by: str
    title: str
    lacking: str
    conclusive: bool = True


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


def hsm_testimony(had: HsmCalls) -> Testimony:
    """What an HSM, and the fault proxy before it, say of what one machine asked."""
    decrypted = sum(call.decrypted for call in had.calls)
    failures = [(words, "hsm log") for words in dict.fromkeys(str(call) for call in had.calls if call.refused)]
    if had.unanswered:
        failures.append((f"{had.unanswered} connections, none answered", "fault proxy"))
    return Testimony(
        answers=decrypted,
        proof=f"hsm log: {decrypted} × C_Decrypt => CKR_OK",
        failures=tuple(failures),
        concerns_all=True,
        shown_by="the HSM's log shows",
        title="HSM",
        lacking="with no decryption in the HSM's log",
        conclusive=False,
    )


@dataclass(frozen=True)
class TangActivity:
    """What a Tang server of the harness, and the fault proxy before it, saw during this boot.

    Attributes:
        server: Its name in the policy.
        requests: From its log.
        unanswered: Connections or packets that the fault proxy saw and let nobody answer.
        tampered: Replies that the fault proxy changed.
    """

    server: str
    requests: tuple[TangRequest, ...] = ()
    unanswered: int = 0
    tampered: int = 0

    @property
    def recoveries(self) -> int:
        """How often it did its half of an exchange, and the guest got that."""
        return max(0, sum(request.is_recovery for request in self.requests) - self.tampered)

    @property
    def testimony(self) -> Testimony:
        """What that says."""
        refused = (
            f"{request.method} {request.path} => {request.status}"
            for request in self.requests
            if request.method == "POST" and not request.is_recovery
        )
        failures = [(words, "tang log") for words in dict.fromkeys(refused)]
        if self.unanswered:
            failures.append((f"{self.unanswered} connections, none answered", "fault proxy"))
        if self.tampered:
            failures.append((f"{self.tampered} replies changed on their way", "fault proxy"))
        return Testimony(
            answers=self.recoveries,
            proof=f"tang log: {self.server} served {self.recoveries} × POST /rec => 200",
            failures=tuple(failures),
            concerns_all=True,
            shown_by=f"{self.server}'s log shows",
            title="Tang",
            lacking="with no recovery in Tang's log",
        )


@dataclass(frozen=True)
class ExternalEvidence:
    """What everybody but the guest's console says about a boot.

    Attributes:
        tang: One entry for each server that the harness provides.
        tpm: The exchanges of this boot; empty for a machine without a TPM, None when nobody listened.
        urls: Where the guest finds each server, by the server's name.
        headers: LUKS headers by the name of the volume, when they could be read.
        pcrs: PCR values (sha256, hex) by index, when they could be read.
        canaries: The secrets on the encrypted volumes that this boot could read, by the name of the volume.
        open: Names of the volumes that are open in the end, when the guest could be asked.
        services: What the logs of further services say.
    """

    tang: tuple[TangActivity, ...] = ()
    tpm: tuple[TpmExchange, ...] | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, LuksHeader] = field(default_factory=dict)
    pcrs: Mapping[int, str] = field(default_factory=dict)
    canaries: Mapping[str, str] = field(default_factory=dict)
    open: frozenset[str] = frozenset()
    services: Mapping[Service, Testimony] = field(default_factory=dict)

    @property
    def testimonies(self) -> Mapping[Service, Testimony]:
        """What each service says that a pin may talk to."""
        tangs = {Service(TANG, activity.server): activity.testimony for activity in self.tang}
        return {**tangs, TPM: tpm_testimony(self.tpm), **self.services}
