"""What a log tells of Secure Boot: one as a firmware writes it, decoded by the tool itself."""

import shutil
import struct
from uuid import UUID

import pytest
from event_log.firmware_log import (
    AUTHORITY,
    DRIVER_CONFIG,
    SHA256,
    VARIABLE_BOOT,
    X509,
    log,
    signature,
    signatures,
    variable,
)

from harness.event_log.decode import TOOL, decode_event_log, told_apart

pytestmark = pytest.mark.skipif(shutil.which(TOOL) is None, reason="tpm2-tools is not installed here")

OWNER, OTHER = UUID(int=0xA), UUID(int=0xB)
ENTRY = struct.pack("<IH", 1, 4) + 'so "it" is\0'.encode("utf-16-le") + bytes.fromhex("7fff0400")


def held(number: UUID) -> str:
    """As it lies in a variable."""
    return number.bytes_le.hex()


def booted(*, on: bool = True, db: tuple[UUID, ...] = (OWNER,), order: tuple[int, ...] = (1, 0)) -> bytes:
    """The log of a boot with Secure Boot, by shim."""
    return log(
        (7, DRIVER_CONFIG, variable("SecureBoot", bytes([on]))),
        (7, DRIVER_CONFIG, variable("PK", b"")),
        (7, DRIVER_CONFIG, variable("db", b"".join(signatures(X509, [(owner, b"\x30\x82")]) for owner in db))),
        (7, DRIVER_CONFIG, variable("dbx", signatures(SHA256, [(OWNER, bytes(32)), (OTHER, bytes(32))]))),
        (1, VARIABLE_BOOT, variable("BootOrder", b"".join(struct.pack("<H", number) for number in order))),
        (1, VARIABLE_BOOT, variable("Boot0001", ENTRY)),
        (7, AUTHORITY, variable("db", signature(db[0], b"\x30\x82"))),
        (7, AUTHORITY, variable("SbatLevel", b"sbat,1,2021030218")),
        (7, AUTHORITY, variable("MokListTrusted", b"\x01")),
    )


def test_each_variable_is_told_with_what_it_holds() -> None:
    assert [(event.subject, event.content) for event in decode_event_log(booted())] == [
        ("whether Secure Boot is on", ("01",)),
        ("the platform key of Secure Boot (PK)", ()),
        ("the signatures that Secure Boot allows (db)", (f"{held(X509)} {held(OWNER)}3082",)),
        (
            "the signatures that Secure Boot forbids (dbx)",
            tuple(f"{held(SHA256)} {held(owner)}{'00' * 32}" for owner in (OWNER, OTHER)),
        ),
        ("the order of the boot entries", ("01000000",)),
        ("the boot entry Boot0001", (ENTRY.hex(),)),
        ("the key by which the boot image was let in (db)", (f"{held(OWNER)}3082",)),
        ("the versions that shim takes for revoked (SbatLevel)", (b"sbat,1,2021030218".hex(),)),
        ("whether the system trusts shim's list of the owner's keys (MokListTrusted)", ("01",)),
    ]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (booted(), ()),
        (booted(on=False), ("PCR 7: whether Secure Boot is on: '00' instead of '01'",)),
        (booted(db=(OWNER, OTHER)), ("PCR 7: the signatures that Secure Boot allows (db): gained 1",)),
        (booted(db=(OTHER, OTHER)), ("PCR 7: the signatures that Secure Boot allows (db): gained 2 and lost 1",)),
        (
            booted(order=(0,)),
            ("PCR 1: the order of the boot entries: '0000' instead of '01000000'",),
        ),
    ],
)
def test_the_logs_of_two_boots_are_told_apart_by_what_they_hold(after: bytes, said: tuple[str, ...]) -> None:
    assert told_apart(booted(), after) == said
