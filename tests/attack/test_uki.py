"""Sections of a UKI, on the smallest PE file that has some."""

import struct

import pytest

from harness.attack.uki import section, with_section, without_section
from harness.errors import UsageError

INITRD = b"the initrd".ljust(100)


def pe(sections: dict[str, bytes]) -> bytes:
    """A PE32+ file with these sections, each in 512 bytes of its own."""
    optional = struct.pack("<H", 0x20B).ljust(240, b"\0")
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    head += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, len(optional), 0x22) + optional
    body = b""
    for number, (name, data) in enumerate(sections.items()):
        at = 1024 + 512 * number
        head += name.encode().ljust(8, b"\0") + struct.pack("<IIII", len(data), at, 512, at) + bytes(16)
        body += data.ljust(512, b"\xff")
    return head.ljust(1024, b"\0") + body


@pytest.fixture
def uki() -> bytes:
    return pe({".cmdline": b"root=LABEL=root quiet", ".initrd": INITRD})


def test_a_section_is_found_and_filled_up(uki: bytes) -> None:
    assert section(uki, ".initrd") == INITRD
    other = with_section(uki, ".cmdline", b"root=/dev/sda", padding=b" ")
    assert section(other, ".cmdline") == b"root=/dev/sda".ljust(21)
    assert section(other, ".initrd") == INITRD
    assert len(other) == len(uki)


def test_a_section_under_another_name_is_not_found(uki: bytes) -> None:
    bare = without_section(uki, ".initrd")
    assert section(bare, ".cmdline") == section(uki, ".cmdline")
    with pytest.raises(UsageError, match=r"no section \.initrd"):
        section(bare, ".initrd")


def test_what_does_not_fit_is_refused(uki: bytes) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        with_section(uki, ".initrd", bytes(101))
    with pytest.raises(UsageError, match="no PE file"):
        section(b"something else", ".initrd")
