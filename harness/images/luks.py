"""Encrypts a root file system in a disk image: a LUKS2 volume, the same bytes for the same name, without device-mapper.

And decrypts it again, for what reads an image's files without a machine.

cryptsetup would take every salt and key at random, and device-mapper needs root on the host; so the header is written
here. That makes the volume key a function of a public text: the volume hides nothing from anybody. It is there to be
opened, or not, by the guests of this laboratory.

Source: kernel, Documentation/admin-guide/device-mapper/dm-crypt.rst (plain64 counts sectors of 512).
"""

import base64
import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from harness.luks2.header import BINARY_BYTES, HEADER_BYTES, HeaderCopy, LuksFormatError
from harness.luks2.splitter import STRIPES, split

ITERATIONS = 1000
"""Of PBKDF2: the least that cryptsetup allows. Emulated processors pay for more, and the passphrase is no secret."""

_COPY_BYTES = 16384
_KEY_BYTES = 64
_KEYSLOT_OFFSET = 2 * _COPY_BYTES
_SECTOR_BYTES = 4096
_IV_SECTOR_BYTES = 512
_CHUNK_BYTES = 2**20
_CIPHER = "aes-xts-plain64"


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
    with image.open("r+b") as disk:
        # From the end, so that nothing is overwritten before it was read.
        for at in range(size - _CHUNK_BYTES, -1, -_CHUNK_BYTES):
            plain = os.pread(disk.fileno(), _CHUNK_BYTES, offset + at)
            os.pwrite(disk.fileno(), _encrypted(key, plain, at, _SECTOR_BYTES), offset + HEADER_BYTES + at)
        os.pwrite(disk.fileno(), header(volume).ljust(HEADER_BYTES, b"\0"), offset)


def decrypt(partition: Path, size: int, volume: LuksLayout) -> None:
    """Undo `encrypt` in place: the file system moves down to the beginning, and what comes after it is cut off.

    Args:
        partition: A file that begins where the volume does.
        size: Of the file system, bytes, a multiple of 1 MiB.
        volume: What it is.

    Raises:
        LuksFormatError: It begins with another header.
    """
    key = volume.secret("volume key", _KEY_BYTES)
    with partition.open("r+b") as disk:
        expected = header(volume)
        if os.pread(disk.fileno(), len(expected), 0) != expected:
            raise LuksFormatError(f"the header is not that of the image {volume.name}")
        for at in range(0, size, _CHUNK_BYTES):
            hidden = os.pread(disk.fileno(), _CHUNK_BYTES, HEADER_BYTES + at)
            os.pwrite(disk.fileno(), _decrypted(key, hidden, at, _SECTOR_BYTES), at)
        disk.truncate(size)


def header(volume: LuksLayout) -> bytes:
    """Both copies of the header, and the area of keyslot 0."""
    key = volume.secret("volume key", _KEY_BYTES)
    keyslot_salt, digest_salt = volume.secret("keyslot salt", 32), volume.secret("digest salt", 32)
    slot_key = hashlib.pbkdf2_hmac("sha256", volume.passphrase.encode(), keyslot_salt, ITERATIONS, _KEY_BYTES)
    filling = volume.secret("stripes", _KEY_BYTES * (STRIPES - 1))
    material = _encrypted(slot_key, split(key, filling), 0, _IV_SECTOR_BYTES)
    area_bytes = -(-len(material) // 4096) * 4096
    metadata = {
        "keyslots": {
            "0": {
                "type": "luks2",
                "key_size": _KEY_BYTES,
                "af": {"type": "luks1", "stripes": STRIPES, "hash": "sha256"},
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
            "json_size": str(_COPY_BYTES - BINARY_BYTES),
            "keyslots_size": str(HEADER_BYTES - _KEYSLOT_OFFSET),
        },
    }
    copies = (
        HeaderCopy(metadata, volume.uuid, volume.secret(f"header salt {offset}", 64), offset, _COPY_BYTES)
        for offset in (0, _COPY_BYTES)
    )
    return b"".join(copy.encode() for copy in copies) + material


def _encrypted(key: bytes, plain: bytes, at: int, sector: int) -> bytes:
    """AES-XTS over whole sectors, the first of which lies `at` bytes from where counting begins."""
    return b"".join(cipher.encryptor().update(part) for cipher, part in _sectors(key, plain, at, sector))


def _decrypted(key: bytes, hidden: bytes, at: int, sector: int) -> bytes:
    return b"".join(cipher.decryptor().update(part) for cipher, part in _sectors(key, hidden, at, sector))


def _sectors(key: bytes, data: bytes, at: int, sector: int) -> Iterator[tuple[Cipher[XTS], bytes]]:
    algorithm = AES(key)
    for start in range(0, len(data), sector):
        tweak = struct.pack("<QQ", (at + start) // _IV_SECTOR_BYTES, 0)
        yield Cipher(algorithm, XTS(tweak)), data[start : start + sector]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
