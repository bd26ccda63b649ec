"""A SoftHSM2 token whose files lie on a disk in the clear: its PIN is found by trying, and then its key is read (pure).

A smart card counts wrong PINs and locks; files do not. What protects the key is as much as the PIN has digits: each try
is some 1,600 rounds of SHA-256.

Sources: SoftHSM 2.6.1, src/lib/object_store/ObjectFile.cpp, src/lib/data_mgr/SecureDataManager.cpp and RFC4880.cpp;
systemd 257, cryptsetup-tokens/luks2-pkcs11.c; PKCS #11 2.40, RSA private key objects.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TOKENS = "/etc/softhsm/tokens"
"""The folder of the tokens in images/debian-13-tokens: a folder for each."""

LIST_TOKENS = "find . -name '*.object' -printf '%f ' -exec base64 -w0 {} \\; -printf '\\n'"
"""The command that prints what `Store.of` reads, in that folder."""

_USER_PIN = 0x8000534D
_MODULUS, _PUBLIC_EXPONENT, _PRIVATE_EXPONENT = 0x120, 0x122, 0x123
_CLASS, _PRIVATE_KEY = 0x0, 3
_SIZES = {1: 1, 2: 8}
"""Bytes of an attribute by its kind: a truth value, a number."""
_UNITS = {3: 1, 4: 1, 5: 8}
"""Bytes of what an attribute says the count of, by its kind: bytes, a map in bytes, a set of mechanisms."""
_ROUNDS = 1500
"""PBE_ITERATION_BASE_COUNT; the last byte of the salt is added."""

_MAGIC = b"RJR"
_SALT, _BLOCK = 8, 16


@dataclass(frozen=True)
class Store:
    """The files of one token.

    Attributes:
        token: What ``token.object`` holds.
        objects: What the others do, keys among them.
    """

    token: bytes
    objects: tuple[bytes, ...]

    @classmethod
    def of(cls, listed: str) -> "Store":
        """What `LIST_TOKENS` printed of a folder with one token."""
        files = {name: base64.b64decode(text) for name, text in map(str.split, listed.splitlines())}
        return cls(files.pop("token.object"), tuple(files.values()))


def crack(store: Store, guesses: Iterable[str]) -> tuple[str, bytes] | None:
    """Find the PIN of a token.

    Args:
        store: Its files.
        guesses: PINs to try.

    Returns:
        The PIN, and the key that it opens, which encrypts the private objects; None when no guess is right.
    """
    blob = _attributes(store.token)[_USER_PIN]
    salt, sealed = blob[:_SALT], blob[_SALT:]
    for guess in guesses:
        opened = _decrypt(_derived(guess.encode(), salt), sealed)
        if opened.startswith(_MAGIC):
            return guess, opened[len(_MAGIC) :]
    return None


def private_key(store: Store, key: bytes) -> rsa.RSAPrivateKey:
    """The RSA key in a token.

    Args:
        store: Its files.
        key: As `crack` finds it.

    Raises:
        ValueError: There is none.
    """
    for found in map(_attributes, store.objects):
        if found.get(_CLASS) == struct.pack(">Q", _PRIVATE_KEY):
            names = (_MODULUS, _PUBLIC_EXPONENT, _PRIVATE_EXPONENT)
            n, e, d = (int.from_bytes(_decrypt(key, found[name]), "big") for name in names)
            p, q = rsa.rsa_recover_prime_factors(n, e, d)
            crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
            return rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, n)).private_key()
    raise ValueError("the token has no RSA key")


def passphrase(key: rsa.RSAPrivateKey, token: str) -> str:
    """What opens the keyslot of a token of type ``systemd-pkcs11``.

    Args:
        key: The private key in the PKCS#11 token.
        token: The LUKS2 token in JSON, as ``cryptsetup token export`` prints it.
    """
    decrypted = key.decrypt(base64.b64decode(json.loads(token)["pkcs11-key"]), padding.PKCS1v15())
    return base64.b64encode(decrypted).decode()


def _derived(pin: bytes, salt: bytes) -> bytes:
    digest = hashlib.sha256(salt + pin).digest()
    for _ in range(_ROUNDS + salt[-1] - 1):
        digest = hashlib.sha256(digest).digest()
    return digest


def _decrypt(key: bytes, sealed: bytes) -> bytes:
    """AES-256-CBC after its IV, without the padding (PKCS #7), whose last byte says how long it is."""
    context = Cipher(algorithms.AES(key), modes.CBC(sealed[:_BLOCK])).decryptor()
    opened = context.update(sealed[_BLOCK:]) + context.finalize()
    return opened[: -opened[-1]] if opened and opened[-1] <= _BLOCK else b""


def _attributes(data: bytes) -> dict[int, bytes]:
    return dict(_read(data[8:]))  # after the number of its generation


def _read(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        name, kind = struct.unpack_from(">QQ", data, at)
        at += 16
        if kind in _SIZES:
            size = _SIZES[kind]
        elif kind in _UNITS:
            (count,) = struct.unpack_from(">Q", data, at)
            size = count * _UNITS[kind]
            at += 8
        else:
            raise ValueError(f"an attribute of kind {kind} at {at}")
        yield name, data[at : at + size]
        at += size
