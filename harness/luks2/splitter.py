"""The anti-forensic splitter: key material inflated to stripes that are all needed to get it back. Pure.

Source: LUKS On-Disk Format Specification 1.2.3, 2.4; LUKS2 keeps it as ``"type": "luks1"`` (specification 1.1.3, 3.2).
"""

import hashlib

STRIPES = 4000
"""As cryptsetup makes them."""

HASH = "sha256"
"""Of the diffusion, as cryptsetup has it unless it is told otherwise."""


def split(key: bytes, filling: bytes, hash_name: str = HASH) -> bytes:
    """Inflate a key.

    Args:
        key: What is hidden.
        filling: All stripes but the last, random for whoever wants to hide something: a multiple of the key's length.
        hash_name: Of the diffusion.
    """
    return filling + _xor(_mixed(filling, len(key), hash_name), key)


def merge(material: bytes, key_bytes: int, hash_name: str = HASH) -> bytes:
    """Get a key back.

    Args:
        material: All stripes: a multiple of the key's length.
        key_bytes: Length of the key.
        hash_name: Of the diffusion.
    """
    return _xor(_mixed(material[:-key_bytes], key_bytes, hash_name), material[-key_bytes:])


def _mixed(filling: bytes, key_bytes: int, hash_name: str) -> bytes:
    mixed = bytes(key_bytes)
    for at in range(0, len(filling), key_bytes):
        mixed = _diffused(_xor(mixed, filling[at : at + key_bytes]), hash_name)
    return mixed


def _diffused(block: bytes, hash_name: str) -> bytes:
    length = hashlib.new(hash_name).digest_size
    parts = (block[at : at + length] for at in range(0, len(block), length))
    return b"".join(
        hashlib.new(hash_name, number.to_bytes(4) + part).digest()[: len(part)] for number, part in enumerate(parts)
    )


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
