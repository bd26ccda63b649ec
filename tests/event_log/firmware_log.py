"""Event logs as a firmware writes them (TCG PC Client Platform Firmware Profile, 10; UEFI, 32.4.1), made for a test."""

import hashlib
import struct
from collections.abc import Iterable
from uuid import UUID

X509, SHA256 = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072"), UUID("c1c41626-504c-4092-aca9-41f936934328")
DRIVER_CONFIG, VARIABLE_BOOT, AUTHORITY = 0x80000001, 0x80000002, 0x800000E0
_SHA256_BANK = 0x0B
_SPEC_ID = b"Spec ID Event03\0" + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, _SHA256_BANK, 32, 0)
_IMAGE_SECURITY = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")


def log(*events: tuple[int, int, bytes]) -> bytes:
    """A log of events, each a PCR, a kind and what was measured."""
    head = struct.pack("<II20xI", 0, 3, len(_SPEC_ID)) + _SPEC_ID
    return head + b"".join(
        struct.pack("<IIIH", pcr, kind, 1, _SHA256_BANK)
        + hashlib.sha256(data).digest()
        + struct.pack("<I", len(data))
        + data
        for pcr, kind, data in events
    )


def variable(name: str, data: bytes) -> bytes:
    """UEFI_VARIABLE_DATA."""
    return _IMAGE_SECURITY.bytes_le + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


def signatures(kind: UUID, signed: Iterable[tuple[UUID, bytes]]) -> bytes:
    """EFI_SIGNATURE_LIST of what an owner signed, all of one length."""
    entries = [signature(owner, data) for owner, data in signed]
    return kind.bytes_le + struct.pack("<III", 28 + sum(map(len, entries)), 0, len(entries[0])) + b"".join(entries)


def signature(owner: UUID, data: bytes) -> bytes:
    """EFI_SIGNATURE_DATA."""
    return owner.bytes_le + data
