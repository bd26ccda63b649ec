"""What lies on a disk image, read and written on the host while its machine is off.

qemu-img opens a window of the disk: no loop device, no root. Source: UEFI specification 2.10, 5.3 (GUID Partition
Table).
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import RigError
from harness.machine.qemu_img import qemu_img
from harness.temporary import temporary_folder

_SECTOR = 512
_ENTRIES_AT = 72
"""In the GPT's header: where the entries start, how many there are, and how long each is."""

_MD_SUPERBLOCK = 4096
_MD_MAGIC = 0xA92B4EFC
_MD_DATA_OFFSET = 128
"""Of a member of an array, version 1.2: Linux, include/uapi/linux/raid/md_p.h, struct mdp_superblock_1."""

_SECONDS = 60.0


def read_disk(disk: Path, offset: int, size: int) -> bytes:
    """Bytes of a qcow2 image as its machine sees them; both numbers are multiples of 512.

    Raises:
        HostError: qemu-img failed.
    """
    with temporary_folder() as folder:
        part = folder / "part"
        _copy_out(disk, offset, size, part)
        return part.read_bytes()


def write_disk(disk: Path, offset: int, data: bytes) -> None:
    """Write into a qcow2 image that nobody uses; offset and length are multiples of 512.

    Raises:
        HostError: qemu-img failed.
    """
    with temporary_folder() as folder:
        part = folder / "part"
        part.write_bytes(data)
        _copy_in(disk, offset, len(data), part)


def read_partition(disk: Path, partition: str | int, size: int) -> bytes:
    """The first `size` bytes of a partition, or of what the array holds that it is a member of.

    Args:
        disk: A qcow2 image that nobody writes to.
        partition: Its label, or its number; 0 for the whole disk.
        size: Bytes.

    Raises:
        HostError: qemu-img failed.
        RigError: The disk has no GPT, or no such partition.
    """
    return read_disk(disk, _data(disk, partition), size)


def write_partition(disk: Path, partition: str | int, data: bytes, at: int = 0) -> None:
    """Write into a partition, `at` so many bytes from its beginning, or into one member of an array.

    Args:
        disk: A qcow2 image that nobody uses.
        partition: Its label, or its number; 0 for the whole disk.
        data: What is written.
        at: Where.

    Raises:
        HostError: qemu-img failed.
        RigError: The disk has no GPT, or no such partition.
    """
    write_disk(disk, _data(disk, partition) + at, data)


@contextmanager
def copied_partition(disk: Path, label: str) -> Iterator[Path]:
    """A copy of the partition of that label as a raw file, for the length of the block.

    Args:
        disk: A qcow2 image that nobody writes to.
        label: Of the partition.

    Raises:
        HostError: qemu-img failed.
        RigError: The disk has no GPT, or none of that label.
    """
    start, size = _partition(disk, label)
    with temporary_folder() as folder:
        part = folder / "part"
        _copy_out(disk, start, size, part)
        yield part


@contextmanager
def edited_partition(disk: Path, label: str) -> Iterator[Path]:
    """`copied_partition`, but what was changed is written back at the end of the block.

    Args:
        disk: A qcow2 image that nobody uses; make an overlay of one that is to be changed and must stay as it is.
        label: Of the partition.
    """
    with copied_partition(disk, label) as part:
        # Not the time of the copy: what is written in the same tick of the kernel's clock would not be seen.
        os.utime(part, ns=(0, 0))
        yield part
        if part.stat().st_mtime_ns:
            _copy_in(disk, *_partition(disk, label), part)


def _data(disk: Path, partition: str | int) -> int:
    """Where the data of a partition or of the whole disk begin; bytes."""
    start = _partition(disk, partition)[0] if partition else 0
    block = read_disk(disk, start + _MD_SUPERBLOCK, _SECTOR)
    if struct.unpack_from("<I", block)[0] != _MD_MAGIC:
        return start
    return start + int(struct.unpack_from("<Q", block, _MD_DATA_OFFSET)[0]) * _SECTOR


def _partition(disk: Path, partition: str | int) -> tuple[int, int]:
    """Where a partition begins, and how long it is; bytes."""
    head = read_disk(disk, _SECTOR, _SECTOR)
    if not head.startswith(b"EFI PART"):
        raise RigError(f"{disk.name} has no partition table of the kind GPT")
    first, count, length = struct.unpack_from("<QII", head, _ENTRIES_AT)
    entries = read_disk(disk, first * _SECTOR, -(-count * length // _SECTOR) * _SECTOR)
    for number, at in enumerate(range(0, count * length, length), 1):
        label = entries[at + 56 : at + 128].decode("utf-16-le", errors="replace").rstrip("\0")
        if partition == label or (partition == number and any(entries[at : at + 16])):
            start, last = struct.unpack_from("<QQ", entries, at + 32)
            return start * _SECTOR, (last + 1 - start) * _SECTOR
    raise RigError(f"{disk.name} has no partition {partition}")


def _window(disk: Path, offset: int, size: int) -> str:
    place = f"driver=raw,offset={offset},size={size},file.driver=qcow2,file.file.driver=file"
    return f"{place},file.file.filename={str(disk).replace(',', ',,')}"


def _copy_out(disk: Path, offset: int, size: int, to: Path) -> None:
    window = _window(disk, offset, size)
    qemu_img(disk, ["convert", "-q", "-U", "--image-opts", "-O", "raw", window, to], to, timeout=_SECONDS)


def _copy_in(disk: Path, offset: int, size: int, part: Path) -> None:
    window = _window(disk, offset, size)
    qemu_img(disk, ["convert", "-q", "-n", "-f", "raw", "--target-image-opts", part, window], part, timeout=_SECONDS)
