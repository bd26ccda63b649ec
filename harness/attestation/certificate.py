"""Whether a certificate vouches for an EK (pure).

Source: TCG EK Credential Profile for TPM Family 2.0, 2.5, 3.2; RFC 5280, 6.1, of which this checks signatures, dates
and who may sign: all that a chain without policies and name constraints can be refused for.
"""

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

EK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate, the extended key usage of such a certificate."""

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion)
"""Raised by reading bytes that are no certificate, and by checking one that its issuer did not sign."""


def flaw(
    certificate: bytes,
    key: RSAPublicKey | EllipticCurvePublicKey,
    authorities: Sequence[x509.Certificate],
    at: datetime,
) -> str:
    """Why a certificate does not vouch for a key as an EK, in a few words; "" when it does.

    Args:
        certificate: In DER; a TPM's memory may have filled it up with bytes of no meaning.
        key: What it should be for.
        authorities: From the one that signs EKs to the root; the root is trusted.
        at: When.
    """
    try:
        found = x509.load_der_x509_certificate(_whole(certificate))
    except _UNREADABLE as error:
        return f"it is no certificate: {error}"
    # Only what an authority has signed is looked into.
    for lower, upper in zip((found, *authorities), (*authorities, authorities[-1]), strict=True):
        if problem := _not_issued(lower, upper, at):
            return problem
    try:
        usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usages = None
    if usages is None or EK_CERTIFICATE not in usages:
        return "it is not for an EK"
    return "" if found.public_key() == key else "it is another key's"


def _not_issued(lower: x509.Certificate, upper: x509.Certificate, at: datetime) -> str:
    authority = upper.subject.rfc4514_string()
    try:
        lower.verify_directly_issued_by(upper)
    except _UNREADABLE:
        return f"{authority} has not signed it"
    if not upper.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        return f"{authority} may not sign certificates"
    if not lower.not_valid_before_utc <= at <= lower.not_valid_after_utc:
        return f"what {authority} has signed is not valid at {at.isoformat()}"
    return ""


def _whole(certificate: bytes) -> bytes:
    """The DER sequence at the start, without what fills the rest of a TPM's memory (X.690, 8.1.3)."""
    head = certificate[:4]
    if len(head) < 4 or head[:2] != b"\x30\x82":
        return certificate
    return certificate[: 4 + int.from_bytes(head[2:])]
