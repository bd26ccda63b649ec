"""A LUKS2 header's metadata (pure): keyslots, tokens, and which belongs to which.

Source: LUKS2 On-Disk Format Specification, section 3; ``cryptsetup luksDump --dump-json-metadata`` prints the JSON.
"""

import json
from dataclasses import dataclass

from harness.errors import RigError


@dataclass(frozen=True)
class Token:
    """A LUKS2 token.

    Attributes:
        number: Its index in the header.
        type: ``clevis``, ``systemd-tpm2``, …
        keyslots: What it leads to.
    """

    number: int
    type: str
    keyslots: tuple[int, ...]


@dataclass(frozen=True)
class LuksHeader:
    """What a header holds, without any key material.

    Attributes:
        keyslots: Index and key derivation function (``pbkdf2``, ``argon2id``) of each.
        tokens: All tokens.
    """

    keyslots: tuple[tuple[int, str], ...]
    tokens: tuple[Token, ...]

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
            Token(int(number), str(token["type"]), tuple(int(slot) for slot in token["keyslots"]))
            for number, token in sorted(metadata["tokens"].items(), key=_number)
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RigError(f"that is no LUKS2 metadata: {error!r}", text[:400], "was it a LUKS1 device?") from error
    return LuksHeader(keyslots, tokens)


def _number(item: tuple[str, object]) -> int:
    return int(item[0])
