"""A LUKS2 header's metadata (pure): keyslots, tokens, and which belongs to which.

Source: LUKS2 On-Disk Format Specification, section 3; ``cryptsetup luksDump --dump-json-metadata`` prints the JSON.
"""

import hashlib
import hmac
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import RigError

LUKS_BYTES = 16 * 2**20
"""Size of a header with its keyslots as cryptsetup makes it: both copies of the metadata, and the key material."""


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
    """What a volume key is checked against: PBKDF2 of the key (LUKS2 specification, 3.6, "digests").

    Attributes:
        hash: Of the PBKDF2, such as ``sha256``.
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
    """Read the JSON metadata of a LUKS2 header.

    Raises:
        RigError: It is not that.
    """
    try:
        metadata = json.loads(text)
        keyslots = tuple(
            (int(number), str(slot["kdf"]["type"]))
            for number, slot in sorted(metadata["keyslots"].items(), key=_number)
        )
        tokens = tuple(
            Token(int(number), str(token["type"]), tuple(int(slot) for slot in token["keyslots"]), token.get("jwe", {}))
            for number, token in sorted(metadata["tokens"].items(), key=_number)
        )
        digests = tuple(
            Digest(held["hash"], b64decode(held["salt"]), int(held["iterations"]), b64decode(held["digest"]))
            for _, held in sorted(metadata["digests"].items(), key=_number)
            if held["segments"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RigError(f"that is no LUKS2 metadata: {error!r}", text[:400], "was it a LUKS1 device?") from error
    return LuksHeader(keyslots, tokens, digests)


def parse_luks_header(data: bytes) -> LuksHeader:
    """Read the beginning of a LUKS2 device: its primary header, at least.

    Source: LUKS2 specification, 2.1: magic, version and size of the header, and the JSON after 4096 bytes.

    Raises:
        RigError: It is no LUKS2 device.
    """
    if not data.startswith(b"LUKS\xba\xbe\x00\x02"):
        raise RigError("that is no LUKS2 header", data[:8].hex())
    size = int.from_bytes(data[8:16], "big")
    return parse_luks_dump(data[4096:size].rstrip(b"\0").decode())


def _number(item: tuple[str, object]) -> int:
    return int(item[0])
