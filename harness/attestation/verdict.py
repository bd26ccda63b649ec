"""The judgement on a node: what its TPM vouches for, held against what is expected (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate

from harness.attestation.certificate import flaw
from harness.attestation.structures import Attribute, PublicArea, read_public, read_quote

PCRS = (*range(10), 11, 12, 13, 14)
"""What a node is asked to quote: all that firmware and boot loader extend. The kernel's own (10) is IMA's matter."""

BANK = "sha256"

_ATTESTATION_KEY = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN
_ATTESTATION_KEY |= Attribute.RESTRICTED | Attribute.SIGN
_DIGEST = sha256().digest_size


class Refusal(StrEnum):
    """Why a node is not trusted."""

    MALFORMED = "what it sent is not what it should be"
    FOREIGN_EK = "no trusted authority vouches for its EK"
    NO_ATTESTATION_KEY = "its key could sign what no TPM has made"
    ANOTHER_TPM = "it was admitted with another TPM"
    NOT_ACTIVATED = "it has not shown that its TPM has both keys"
    NO_QUOTE = "it gave no quote"
    SIGNATURE = "the quote is not signed by the key that was activated"
    NONCE = "the quote is not for the nonce that was given: an old one"
    SELECTION = "the quote is not about the PCRs that were asked for"
    VALUES = "the values are not those that were quoted"
    RESET_COUNT = "its TPM has been reset less often than when it was last heard of"
    PCRS = "PCRs are not as they should be"


class RefusedError(Exception):
    """A node is refused.

    Attributes:
        refusal: Why.
        detail: In words, what was found.
    """

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        super().__init__(f"{refusal}{f': {detail}' if detail else ''}")
        self.refusal = refusal
        self.detail = detail


@dataclass(frozen=True)
class Registration:
    """What a node says it is.

    Attributes:
        certificate: Of its EK (DER).
        ek: The EK's public area (TPM2B_PUBLIC).
        ak: The attestation key's (TPM2B_PUBLIC).
    """

    certificate: bytes
    ek: bytes
    ak: bytes


@dataclass(frozen=True)
class Identity:
    """A TPM that an authority vouches for, and a key that it has if it can read a credential made for both."""

    ek: PublicArea
    ak: PublicArea


@dataclass(frozen=True)
class Evidence:
    """A quote as a node sends it.

    Attributes:
        message: TPMS_ATTEST.
        signature: ECDSA in DER.
        values: The PCRs one behind the other, in the order of the selection.
    """

    message: bytes
    signature: bytes
    values: bytes


@dataclass(frozen=True)
class PcrMismatch:
    """A PCR that is not as it should be, in hex."""

    found: str
    expected: str


@dataclass(frozen=True)
class Verdict:
    """What a verifier thinks of a node.

    Attributes:
        refusal: Why it is not trusted, or None.
        detail: In words, what was found.
        differing: The PCRs that are not as they should be.
        pcrs: All that it quoted (hex), where the quote itself is to be believed.
        resets: How often its TPM was reset, as far as is known.
    """

    refusal: Refusal | None = None
    detail: str = ""
    differing: Mapping[int, PcrMismatch] = field(default_factory=dict)
    pcrs: Mapping[int, str] = field(default_factory=dict)
    resets: int = 0

    @property
    def trusted(self) -> bool:
        """Whether all is as it should be."""
        return self.refusal is None

    def __str__(self) -> str:
        return f"{self.refusal or 'trusted'}{f': {self.detail}' if self.detail else ''}"


def examine(registration: Registration, authorities: Sequence[Certificate], at: datetime) -> Identity:
    """Read what a node says it is.

    Args:
        registration: From the node.
        authorities: From the one that signs EKs to the trusted root.
        at: When, for the certificates.

    Raises:
        RefusedError: No authority vouches for its EK, or the attestation key is none.
    """
    try:
        identity = Identity(read_public(registration.ek), read_public(registration.ak))
    except ValueError as error:
        raise RefusedError(Refusal.MALFORMED, f"a public area of its keys: {error}") from error
    if problem := flaw(registration.certificate, identity.ek.key, authorities, at):
        raise RefusedError(Refusal.FOREIGN_EK, problem)
    attributes = identity.ak.attributes
    if attributes & _ATTESTATION_KEY != _ATTESTATION_KEY or attributes & Attribute.DECRYPT:
        raise RefusedError(Refusal.NO_ATTESTATION_KEY, f"attributes {attributes:#x}")
    if not isinstance(identity.ak.key, EllipticCurvePublicKey):
        raise RefusedError(Refusal.NO_ATTESTATION_KEY, "it is not on the curve P-256")
    return identity


def judge(
    evidence: Evidence, ak: PublicArea, nonce: bytes, expected: Mapping[int, str] | None = None, resets: int = 0
) -> Verdict:
    """Judge a quote. Whatever it says is believed only once its signature was checked.

    Args:
        evidence: From the node.
        ak: The key that was activated.
        nonce: The one that this quote was asked for with.
        expected: PCRs as they should be (hex); None takes any for good.
        resets: How often the TPM had been reset when it was last heard of.
    """
    try:
        values = _quoted(evidence, ak, nonce)
        found = read_quote(evidence.message).resets
        if found < resets:
            raise RefusedError(Refusal.RESET_COUNT, f"{found} times, and {resets} before")
    except RefusedError as error:
        return Verdict(error.refusal, error.detail)
    except ValueError as error:
        return Verdict(Refusal.MALFORMED, str(error))
    differing = {
        pcr: PcrMismatch(values.get(pcr, "not quoted"), should)
        for pcr, should in (expected or {}).items()
        if values.get(pcr) != should
    }
    detail = "; ".join(f"PCR {pcr} is {each.found}, should be {each.expected}" for pcr, each in differing.items())
    return Verdict(Refusal.PCRS if differing else None, detail, differing, values, found)


def _quoted(evidence: Evidence, ak: PublicArea, nonce: bytes) -> dict[int, str]:
    """The values of the PCRs that were quoted, in hex."""
    assert isinstance(ak.key, EllipticCurvePublicKey)
    try:
        ak.key.verify(evidence.signature, evidence.message, ECDSA(SHA256()))
    except InvalidSignature:
        raise RefusedError(Refusal.SIGNATURE) from None
    quote = read_quote(evidence.message)
    if quote.nonce != nonce:
        raise RefusedError(Refusal.NONCE, f"it is for {quote.nonce.hex() or 'none'}")
    if quote.selection != tuple((BANK, pcr) for pcr in PCRS):
        raise RefusedError(Refusal.SELECTION, " ".join(f"{bank}:{pcr}" for bank, pcr in quote.selection))
    values = evidence.values
    if len(values) != _DIGEST * len(PCRS) or sha256(values).digest() != quote.digest:
        raise RefusedError(Refusal.VALUES)
    return {pcr: values[_DIGEST * place :][:_DIGEST].hex() for place, pcr in enumerate(PCRS)}
