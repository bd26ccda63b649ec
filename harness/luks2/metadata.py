"""What a LUKS2 header's metadata says: keyslots, tokens, digests, and which belongs to which. Pure.

Source: LUKS2 On-Disk Format Specification 1.1.3, section 3.
"""

import hashlib
import hmac
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.luks2.header import HASHES, NO_LUKS2, LuksFormatError, Metadata, decode_copy, decode_metadata

_MOST_ITERATIONS = 2**31 - 1  # more than hashlib takes


@dataclass(frozen=True)
class Token:
    """A LUKS2 token.

    Attributes:
        number: Its index in the header.
        type: ``clevis``, ``systemd-tpm2``, …
        keyslots: What it leads to.
        jwe: What clevis sealed (RFC 7516, 7.2.2); empty in a token of another type.
    """

    number: int
    type: str
    keyslots: tuple[int, ...]
    jwe: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Digest:
    """What a volume key is checked against: PBKDF2 of the key (specification, 3.4).

    Attributes:
        hash: Of the PBKDF2, of `HASHES`.
        salt: Of the PBKDF2.
        iterations: Of the PBKDF2.
        digest: What must come out.
    """

    hash: str
    salt: bytes
    iterations: int
    digest: bytes

    def matches(self, volume_key: bytes) -> bool:
        """Whether this is the key."""
        found = hashlib.pbkdf2_hmac(self.hash, volume_key, self.salt, self.iterations, len(self.digest))
        return hmac.compare_digest(found, self.digest)


@dataclass(frozen=True)
class LuksHeader:
    """What a header holds, without any key material.

    Attributes:
        keyslots: Index and key derivation function (``pbkdf2``, ``argon2id``) of each.
        tokens: All tokens.
        digests: Of the keys that data segments are encrypted with; an unbound keyslot's is not among them.
    """

    keyslots: tuple[tuple[int, str], ...]
    tokens: tuple[Token, ...]
    digests: tuple[Digest, ...] = ()

    def vouches_for(self, volume_key: bytes) -> bool:
        """Whether a data segment is encrypted with this key."""
        return any(digest.matches(volume_key) for digest in self.digests)

    def token_of(self, keyslot: int) -> Token | None:
        """The token that leads to a keyslot, or None: then a passphrase does."""
        return next((token for token in self.tokens if keyslot in token.keyslots), None)


def parse_luks_dump(text: str) -> LuksHeader:
    """Read the JSON metadata of a header, as ``cryptsetup luksDump --dump-json-metadata`` prints it.

    Raises:
        LuksFormatError: It is not that.
    """
    return _header(decode_metadata(text.encode(errors="surrogatepass")))


def parse_luks_header(data: bytes) -> LuksHeader:
    """Read the beginning of a LUKS2 device: its primary header, at least.

    Raises:
        LuksFormatError: It is no LUKS2 device.
    """
    return _header(decode_copy(data).metadata)


def _header(metadata: Metadata) -> LuksHeader:
    try:
        return LuksHeader(
            keyslots=tuple((number, _str(slot["kdf"]["type"])) for number, slot in _numbered(metadata["keyslots"])),
            tokens=tuple(_token(number, token) for number, token in _numbered(metadata["tokens"])),
            digests=tuple(_digest(held) for _, held in _numbered(metadata["digests"]) if held["segments"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        has = f"it has: {', '.join(metadata)}"[:400]
        raise LuksFormatError(f"that is no LUKS2 metadata: {error!r}", has, NO_LUKS2) from error


def _token(number: int, token: Mapping[str, Any]) -> Token:
    keyslots = token["keyslots"]
    if not isinstance(keyslots, list):
        raise TypeError(f"token {number}: keyslots are no list")
    jwe = token.get("jwe")
    return Token(number, _str(token["type"]), tuple(map(_number, keyslots)), jwe if isinstance(jwe, dict) else {})


def _digest(held: Mapping[str, Any]) -> Digest:
    digest = Digest(_str(held["hash"]), _bytes(held["salt"]), _number(held["iterations"]), _bytes(held["digest"]))
    if digest.hash not in HASHES or not 0 < digest.iterations <= _MOST_ITERATIONS or not digest.digest:
        raise ValueError(f"no digest that can be computed: {digest}")
    return digest


def _numbered(table: object) -> list[tuple[int, Mapping[str, Any]]]:
    if not isinstance(table, dict) or not all(isinstance(value, dict) for value in table.values()):
        raise TypeError("no object of objects")
    numbered = {_number(key): value for key, value in table.items()}
    return [(number, numbered[number]) for number in sorted(numbered)]


def _number(value: object) -> int:
    """An integer, as JSON has it or in a string."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{type(value).__name__} where a number belongs")
    return int(value)


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where a string belongs")
    return value


def _bytes(value: object) -> bytes:
    return b64decode(_str(value))
