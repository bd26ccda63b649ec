"""The LUKS2 volume that an image's root file system becomes, opened again by hand; guests open it with cryptsetup."""

import base64
import hashlib
import json
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from harness.images import luks
from harness.luks2.header import HEADER_BYTES, LuksFormatError
from harness.luks2.metadata import parse_luks_dump

VOLUME = luks.LuksLayout("toy", "b6a7d9a0-92c5-4bd3-8c0e-6ba1a3e0a3b1", "open sesame")
MIB = 2**20


def decrypted(key: bytes, data: bytes, number: int) -> bytes:
    """One sector of AES-XTS."""
    return Cipher(AES(key), XTS(struct.pack("<QQ", number, 0))).decryptor().update(data)


def volume_key(header: bytes, passphrase: bytes) -> bytes:
    """What the passphrase opens keyslot 0 to, right or wrong."""
    slot = json.loads(header[4096:16384].rstrip(b"\0"))["keyslots"]["0"]
    salt = base64.b64decode(slot["kdf"]["salt"])
    key = hashlib.pbkdf2_hmac("sha256", passphrase, salt, slot["kdf"]["iterations"], 64)
    at = int(slot["area"]["offset"])
    material = header[at : at + 64 * 4000]
    stripes = b"".join(decrypted(key, material[number * 512 :][:512], number) for number in range(len(material) // 512))
    mixed = bytes(64)
    for number in range(3999):
        mixed = bytes(a ^ b for a, b in zip(mixed, stripes[number * 64 :][:64], strict=True))
        mixed = b"".join(hashlib.sha256(struct.pack(">I", half) + mixed[half * 32 :][:32]).digest() for half in (0, 1))
    return bytes(a ^ b for a, b in zip(mixed, stripes[-64:], strict=True))


def fits(header: bytes, key: bytes) -> bool:
    digest = json.loads(header[4096:16384].rstrip(b"\0"))["digests"]["0"]
    salt = base64.b64decode(digest["salt"])
    found = hashlib.pbkdf2_hmac("sha256", key, salt, digest["iterations"])
    return found == base64.b64decode(digest["digest"])


def test_the_passphrase_opens_it_and_another_does_not() -> None:
    header = luks.header(VOLUME)
    assert fits(header, volume_key(header, b"open sesame"))
    assert not fits(header, volume_key(header, b"open barley"))


def test_the_header_is_the_same_for_the_same_name_alone() -> None:
    header = luks.header(VOLUME)
    assert header == luks.header(VOLUME)
    other = luks.header(luks.LuksLayout("other", VOLUME.uuid, VOLUME.passphrase))
    assert volume_key(other, b"open sesame") != volume_key(header, b"open sesame")


@pytest.mark.parametrize(("at", "magic"), [(0, b"LUKS\xba\xbe"), (16384, b"SKUL\xba\xbe")])
def test_both_copies_are_whole(at: int, magic: bytes) -> None:
    copy = luks.header(VOLUME)[at : at + 16384]
    assert copy.startswith(magic)
    assert copy[168:208].rstrip(b"\0").decode() == VOLUME.uuid
    assert struct.unpack(">Q", copy[256:264]) == (at,)
    checksum = copy[448:512]
    assert hashlib.sha256(copy[:448] + bytes(64) + copy[512:]).digest() == checksum[:32]
    assert parse_luks_dump(copy[4096:].rstrip(b"\0").decode()).keyslots == ((0, "pbkdf2"),)


def test_the_file_system_moves_up_and_can_be_read_back(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    plain = bytes(range(256)) * (2 * MIB // 256)
    image.write_bytes(b"before".ljust(MIB, b"\0") + plain + bytes(HEADER_BYTES) + b"after")
    luks.encrypt(image, MIB, len(plain), VOLUME)
    data = image.read_bytes()
    assert data.startswith(b"before")
    assert data.endswith(b"after")
    key = volume_key(data[MIB:], b"open sesame")
    start = MIB + HEADER_BYTES
    for sector in (0, 1, 300, 511):
        found = decrypted(key, data[start + sector * 4096 :][:4096], sector * 8)
        assert found == plain[sector * 4096 :][:4096]


def test_what_was_encrypted_is_decrypted_in_place(tmp_path: Path) -> None:
    image = tmp_path / "part.raw"
    plain = bytes(range(256)) * (3 * MIB // 256)
    image.write_bytes(plain + bytes(HEADER_BYTES) + b"after")
    luks.encrypt(image, 0, len(plain), VOLUME)
    assert plain[:MIB] not in image.read_bytes()
    luks.decrypt(image, len(plain), VOLUME)
    assert image.read_bytes() == plain


def test_the_root_of_another_image_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    image = tmp_path / "part.raw"
    image.write_bytes(bytes(MIB + HEADER_BYTES))
    luks.encrypt(image, 0, MIB, VOLUME)
    before = image.read_bytes()
    with pytest.raises(LuksFormatError, match="not that of the image other"):
        luks.decrypt(image, MIB, luks.LuksLayout("other", VOLUME.uuid, VOLUME.passphrase))
    assert image.read_bytes() == before
