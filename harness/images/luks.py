"""Encrypts a root file system in a disk image: a LUKS2 volume, the same bytes for the same name, without device-mapper.

cryptsetup would take every salt and key at random, and device-mapper needs root on the host; so the header is written
here. That makes the volume key a function of a public text: the volume hides nothing from anybody. It is there to be
opened, or not, by the guests of this laboratory.

Source: LUKS2 On-Disk Format Specification 1.1.3; the anti-forensic splitter is LUKS1's (LUKS On-Disk Format
Specification 1.2.3, 2.4); kernel, Documentation/admin-guide/device-mapper/dm-crypt.rst (plain64 counts sectors of 512).
"""

import base64
import hashlib
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

HEADER_BYTES = 16 * 2**20
"""What lies before the encrypted data, as with cryptsetup's defaults."""

ITERATIONS = 1000
"""Of PBKDF2: the least that cryptsetup allows. Emulated processors pay for more, and the passphrase is no secret."""

_COPY_BYTES = 16384
_BINARY_BYTES = 4096
_KEY_BYTES = 64
_STRIPES = 4000
_KEYSLOT_OFFSET = 2 * _COPY_BYTES
_SECTOR_BYTES = 4096
_IV_SECTOR_BYTES = 512
_CIPHER = "aes-xts-plain64"
_BINARY = struct.Struct(">6sHQQ48s32s64s40s48sQ184s64s3584s")


@dataclass(frozen=True)
class LuksLayout:
    """A LUKS2 volume with one keyslot.

    Attributes:
        name: What its keys and salts are derived from.
        uuid: Of the volume.
        passphrase: Opens keyslot 0.
    """

    name: str
    uuid: str
    passphrase: str

    def secret(self, what: str, size: int) -> bytes:
        """Bytes that follow from the name."""
        return hashlib.shake_256(f"unlock-lab {self.name} {what}".encode()).digest(size)


def encrypt(image: Path, offset: int, size: int, volume: LuksLayout) -> None:
    """Encrypt a file system in place: it moves up by `HEADER_BYTES`, and the header takes its place.

    Args:
        image: A raw disk image, with room for `HEADER_BYTES` after the file system.
        offset: Where the file system begins, bytes.
        size: Of the file system, bytes, a multiple of 1 MiB.
        volume: What it becomes.
    """
    key = volume.secret("volume key", _KEY_BYTES)
    chunk = 2**20
    with image.open("r+b") as disk:
        # From the end, so that nothing is overwritten before it was read.
        for at in range(size - chunk, -1, -chunk):
            plain = os.pread(disk.fileno(), chunk, offset + at)
            os.pwrite(disk.fileno(), _encrypted(key, plain, at, _SECTOR_BYTES), offset + HEADER_BYTES + at)
        os.pwrite(disk.fileno(), header(volume).ljust(HEADER_BYTES, b"\0"), offset)


def header(volume: LuksLayout) -> bytes:
    """Both copies of the header, and the area of keyslot 0."""
    key = volume.secret("volume key", _KEY_BYTES)
    keyslot_salt, digest_salt = volume.secret("keyslot salt", 32), volume.secret("digest salt", 32)
    slot_key = hashlib.pbkdf2_hmac("sha256", volume.passphrase.encode(), keyslot_salt, ITERATIONS, _KEY_BYTES)
    material = _encrypted(slot_key, _split(key, volume), 0, _IV_SECTOR_BYTES)
    area_bytes = -(-len(material) // 4096) * 4096
    metadata = {
        "keyslots": {
            "0": {
                "type": "luks2",
                "key_size": _KEY_BYTES,
                "af": {"type": "luks1", "stripes": _STRIPES, "hash": "sha256"},
                "area": {
                    "type": "raw",
                    "offset": str(_KEYSLOT_OFFSET),
                    "size": str(area_bytes),
                    "encryption": _CIPHER,
                    "key_size": _KEY_BYTES,
                },
                "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": ITERATIONS, "salt": _base64(keyslot_salt)},
            }
        },
        "tokens": {},
        "segments": {
            "0": {
                "type": "crypt",
                "offset": str(HEADER_BYTES),
                "size": "dynamic",
                "iv_tweak": "0",
                "encryption": _CIPHER,
                "sector_size": _SECTOR_BYTES,
            }
        },
        "digests": {
            "0": {
                "type": "pbkdf2",
                "keyslots": ["0"],
                "segments": ["0"],
                "hash": "sha256",
                "iterations": ITERATIONS,
                "salt": _base64(digest_salt),
                "digest": _base64(hashlib.pbkdf2_hmac("sha256", key, digest_salt, ITERATIONS)),
            }
        },
        "config": {
            "json_size": str(_COPY_BYTES - _BINARY_BYTES),
            "keyslots_size": str(HEADER_BYTES - _KEYSLOT_OFFSET),
        },
    }
    text = json.dumps(metadata, separators=(",", ":")).encode().ljust(_COPY_BYTES - _BINARY_BYTES, b"\0")
    return _copy(volume, b"LUKS", 0, text) + _copy(volume, b"SKUL", _COPY_BYTES, text) + material


def _copy(volume: LuksLayout, magic: bytes, offset: int, text: bytes) -> bytes:
    salt = volume.secret(f"header salt {offset}", 64)

    def binary(checksum: bytes) -> bytes:
        return _BINARY.pack(
            magic + b"\xba\xbe",
            2,  # LUKS2
            _COPY_BYTES,
            1,  # how often it was written
            b"",
            b"sha256",
            salt,
            volume.uuid.encode(),
            b"",
            offset,
            b"",
            checksum,
            b"",
        )

    return binary(hashlib.sha256(binary(b"") + text).digest()) + text


def _split(key: bytes, volume: LuksLayout) -> bytes:
    """The key inflated to stripes that are all needed to get it back."""
    stripes = volume.secret("stripes", _KEY_BYTES * (_STRIPES - 1))
    mixed = bytes(_KEY_BYTES)
    for at in range(0, len(stripes), _KEY_BYTES):
        mixed = _diffused(_xor(mixed, stripes[at : at + _KEY_BYTES]))
    return stripes + _xor(mixed, key)


def _diffused(block: bytes) -> bytes:
    parts = (block[at : at + 32] for at in range(0, len(block), 32))
    return b"".join(hashlib.sha256(struct.pack(">I", number) + part).digest() for number, part in enumerate(parts))


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _encrypted(key: bytes, plain: bytes, at: int, sector: int) -> bytes:
    """AES-XTS over whole sectors, the first of which lies `at` bytes from where counting begins."""
    cipher = AES(key)
    return b"".join(
        Cipher(cipher, XTS(struct.pack("<QQ", (at + start) // _IV_SECTOR_BYTES, 0)))
        .encryptor()
        .update(plain[start : start + sector])
        for start in range(0, len(plain), sector)
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
