"""Whoever owns a disk is who qemu-img runs as: so root is not made to read what only root may read."""

import os
import pwd
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import HostError
from harness.host.scratch import scratch
from harness.host.user import LAB_USER, chown_to
from harness.machine.disk import blank, overlay
from harness.machine.partition import read_disk, write_disk

MIB = 1 << 20
SECRET = b"root's secret".ljust(512, b".")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root runs its machines as another user"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Root's, and open to the machines' user."""
    with scratch(LAB_USER) as folder:
        yield folder


@pytest.fixture
def theirs(folder: Path) -> Path:
    """A disk of the machines' user."""
    disk = blank(folder / "disk.qcow2", MIB)
    chown_to(disk, LAB_USER)
    return disk


def owner(path: Path) -> str:
    return pwd.getpwuid(path.stat().st_uid).pw_name


def test_a_disk_of_the_machines_user_is_read_and_written(theirs: Path) -> None:
    write_disk(theirs, 512, SECRET)
    assert read_disk(theirs, 0, 1024) == bytes(512) + SECRET
    assert owner(theirs) == LAB_USER


def test_a_copy_of_such_a_disk_can_be_written_to(theirs: Path, folder: Path) -> None:
    write_disk(theirs, 512, SECRET)
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    copy = overlay(theirs, closed / "copy.qcow2")
    assert owner(copy) == LAB_USER
    closed.chmod(0o711)
    assert read_disk(copy, 512, 512) == SECRET


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_base_that_the_guest_side_named_is_not_read_as_root(theirs: Path, folder: Path, mode: int) -> None:
    """Who has taken over QEMU writes another file's name into the header (qcow2 specification, "Header")."""
    secret = folder / "secret"
    secret.write_bytes(SECRET * 2048)
    secret.chmod(mode)
    name = os.fsencode(secret)
    with theirs.open("r+b") as file:
        file.seek(8)
        file.write(struct.pack(">QI", 0x1000, len(name)))
        file.seek(0x1000)
        file.write(name)
    if mode == 0o644:
        assert read_disk(theirs, 0, 512) == SECRET, "the control: such a header is followed"
        return
    with pytest.raises(HostError, match="Permission denied"):
        read_disk(theirs, 0, 512)
    with pytest.raises(HostError, match="Permission denied"):
        overlay(theirs, folder / "copy.qcow2")
