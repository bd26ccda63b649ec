"""The structures of a TPM 2.0 that attestation reads, from their bytes (pure).

Source: TCG TPM 2.0 Library, Part 2: Structures; the sections are named where they are read.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

BANKS = {0x4: "sha1", 0xB: "sha256", 0xC: "sha384", 0xD: "sha512"}
"""PCR banks by their number (6.3 TPM_ALG_ID)."""

_RSA, _ECC, _NULL, _SHA256, _NIST_P256 = 0x1, 0x23, 0x10, 0xB, 0x3
_NO_DETAILS = frozenset({_NULL, 0x15})
"""Schemes that name no hash: none, and TPM_ALG_RSAES (11.2.3)."""

_GENERATED, _QUOTE = 0xFF544347, 0x8018
"""TPM_GENERATED_VALUE (6.2): no other data that a restricted key signs begins with it; TPM_ST_ATTEST_QUOTE (6.9)."""

_EXPONENT = 65537


class Attribute:
    """Bits of TPMA_OBJECT (8.3)."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


@dataclass(frozen=True)
class PublicArea:
    """The public area of a key of a TPM (12.2.4 TPMT_PUBLIC), whose names are made by SHA-256.

    Attributes:
        name: What the TPM calls it: the number of the hash, and the hash of all of the area (Part 1, 16).
        attributes: The bits of `Attribute`.
        key: The key.
        symmetric_bits: Size of the AES key that protects its children, 0 for a key that has none.
    """

    name: bytes
    attributes: int
    key: RSAPublicKey | EllipticCurvePublicKey
    symmetric_bits: int


@dataclass(frozen=True)
class Quote:
    """What a TPM says of its PCRs (10.12.8 TPMS_ATTEST with 10.12.1 TPMS_QUOTE_INFO).

    Attributes:
        signer: Qualified name of the key that signs.
        nonce: What the caller had it sign along.
        resets: How often the TPM was reset: once each power-on. Obfuscated unless the key is the endorsement
            hierarchy's (Part 1, 36.7).
        restarts: How often it was resumed or restarted since.
        selection: Bank and number of each PCR, in the order in which they were hashed.
        digest: Hash over their values, one behind the other.
    """

    signer: bytes
    nonce: bytes
    resets: int
    restarts: int
    selection: tuple[tuple[str, int], ...]
    digest: bytes


class _Reader:
    """Takes one field after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        start, self._position = self._position, self._position + size
        if self._position > len(self._data):
            raise ValueError(f"{len(self._data)} bytes, where there should be {self._position} or more")
        return self._data[start : self._position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def sized(self) -> bytes:
        return self.take(self.number(2))

    def end(self) -> None:
        if left := len(self._data) - self._position:
            raise ValueError(f"{left} bytes too many")


def read_public(data: bytes) -> PublicArea:
    """Read a TPM2B_PUBLIC (12.2.5): an RSA key, or one on the curve P-256.

    Raises:
        ValueError: It is cut short, goes on, or is of another kind.
    """
    outer = _Reader(data)
    area = outer.sized()
    outer.end()
    reader = _Reader(area)
    kind, name_hash, attributes = reader.number(2), reader.number(2), reader.number(4)
    if name_hash != _SHA256:
        raise ValueError(f"a key whose names are made by the algorithm {name_hash:#x}")
    reader.sized()  # the policy that authorizes its use
    bits = _symmetric(reader)
    _scheme(reader)
    if kind not in _KEYS:
        raise ValueError(f"a key of the kind {kind:#x}")
    key = _KEYS[kind](reader)
    reader.end()
    return PublicArea(name_hash.to_bytes(2) + hashlib.sha256(area).digest(), attributes, key, bits)


def _symmetric(reader: _Reader) -> int:
    """TPMT_SYM_DEF_OBJECT (11.1.7)."""
    if reader.number(2) == _NULL:
        return 0
    bits = reader.number(2)
    reader.number(2)  # the mode
    return bits


def _scheme(reader: _Reader) -> None:
    """TPMT_RSA_SCHEME (11.2.4.2), TPMT_ECC_SCHEME (11.2.5.6), TPMT_KDF_SCHEME (11.2.3.3)."""
    if reader.number(2) not in _NO_DETAILS:
        reader.number(2)  # the hash


def _rsa(reader: _Reader) -> RSAPublicKey:
    bits, exponent, modulus = reader.number(2), reader.number(4) or _EXPONENT, reader.sized()
    if 8 * len(modulus) != bits:
        raise ValueError(f"a modulus of {len(modulus)} bytes in a key of {bits} bits")
    return RSAPublicNumbers(exponent, int.from_bytes(modulus)).public_key()


def _ecc(reader: _Reader) -> EllipticCurvePublicKey:
    curve = reader.number(2)
    _scheme(reader)
    if curve != _NIST_P256:
        raise ValueError(f"a key on the curve {curve:#x}")
    x, y = (int.from_bytes(reader.sized()) for _ in range(2))
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()


_KEYS: Mapping[int, Callable[[_Reader], RSAPublicKey | EllipticCurvePublicKey]] = {_RSA: _rsa, _ECC: _ecc}


def read_quote(data: bytes) -> Quote:
    """Read a TPMS_ATTEST that is a quote.

    Raises:
        ValueError: It is cut short, goes on, is something else that was signed, or no TPM made it.
    """
    reader = _Reader(data)
    if reader.number(4) != _GENERATED:
        raise ValueError("this was not made by a TPM: it does not begin with TPM_GENERATED_VALUE")
    if (kind := reader.number(2)) != _QUOTE:
        raise ValueError(f"an attestation of the kind {kind:#x} is no quote")
    signer, nonce = reader.sized(), reader.sized()
    reader.number(8)  # milliseconds
    resets, restarts = reader.number(4), reader.number(4)
    reader.number(1 + 8)  # whether the time is safe, version of the firmware
    selection = tuple(_selection(reader))
    quote = Quote(signer, nonce, resets, restarts, selection, reader.sized())
    reader.end()
    return quote


def _selection(reader: _Reader) -> Iterator[tuple[str, int]]:
    """TPML_PCR_SELECTION (10.9.7)."""
    for _ in range(reader.number(4)):
        algorithm, bits = reader.number(2), reader.take(reader.number(1))
        bank = BANKS.get(algorithm, f"{algorithm:#x}")
        yield from ((bank, pcr) for pcr in range(8 * len(bits)) if bits[pcr // 8] >> pcr % 8 & 1)
