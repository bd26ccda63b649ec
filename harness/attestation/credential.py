"""A secret that only the TPM can read which has both an EK and an attestation key (pure).

Source: TCG TPM 2.0 Library, Part 1, 24 (credential protection), 11.4.10.2 (KDFa), B.10.4 (OAEP), 9.2 of the EK
Credential Profile for the keys; the form of the file is tpm2-tools' (lib/files.c).
"""

import hmac
from hashlib import sha256
from operator import xor

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256

from harness.attestation.structures import PublicArea

SEED_BYTES = 32
"""Of the seed: the size of the hash that the EK's names are made by (B.10.4)."""

_MAGIC = bytes.fromhex("badcc0de 00000001")
_BLOCK = 16


def make_credential(ek: PublicArea, name: bytes, secret: bytes, seed: bytes) -> bytes:
    """TPM2_MakeCredential, without a TPM, in the file that tpm2_activatecredential(1) reads.

    Args:
        ek: An RSA key that protects its children with AES.
        name: Of the attestation key.
        secret: At most 32 bytes.
        seed: `SEED_BYTES` that nobody can guess.

    Raises:
        ValueError: It is no such key.
    """
    if not isinstance(ek.key, RSAPublicKey) or ek.symmetric_bits not in (128, 256):
        raise ValueError("no RSA key that protects others with AES")
    identity = _cfb(_kdfa(seed, b"STORAGE", name, ek.symmetric_bits), _sized(secret))
    proof = hmac.digest(_kdfa(seed, b"INTEGRITY", b"", 8 * SEED_BYTES), identity + name, sha256)
    encrypted = ek.key.encrypt(seed, OAEP(MGF1(SHA256()), SHA256(), b"IDENTITY\0"))
    return _MAGIC + _sized(_sized(proof) + identity) + _sized(encrypted)


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """One block of it is enough for what is made here."""
    return hmac.digest(key, b"\0\0\0\1" + label + b"\0" + context + bits.to_bytes(4), sha256)[: bits // 8]


def _cfb(key: bytes, data: bytes) -> bytes:
    """AES in CFB mode from an initialization vector of zeros; cryptography means to drop its own."""
    block = Cipher(AES(key), ECB()).encryptor()  # each key is used once, for one message
    encrypted, last = b"", bytes(_BLOCK)
    for start in range(0, len(data), _BLOCK):
        last = bytes(map(xor, data[start : start + _BLOCK], block.update(last)))
        encrypted += last
    return encrypted


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data
