"""Disk images: qcow2 files, made by qemu-img(1).

A copy-on-write overlay is the copy to use: it takes milliseconds whatever the size. Its base must not change as long
as the overlay is in use.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from harness import process

_SECONDS = 30.0
_COPY_SECONDS = 600.0


@dataclass(frozen=True)
class DiskInfo:
    """What an image says about itself.

    Attributes:
        virtual_size: Bytes that the guest sees.
        actual_size: Bytes that it takes on the host's disk, without its base.
        base: What it is an overlay of, or None.
    """

    virtual_size: int
    actual_size: int
    base: Path | None


def overlay(base: Path, to: Path, *, size: int | None = None) -> Path:
    """A copy-on-write copy, as large as its base or as `size` bytes; returns `to`.

    Raises:
        HostError: qemu-img failed; `to` may be missing its base.
    """
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base.absolute()), str(to)]
    process.run([*command, str(size)] if size else command, timeout=_SECONDS)
    return to


def blank(to: Path, size: int) -> Path:
    """An empty disk of `size` bytes; returns `to`."""
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", str(to), str(size)], timeout=_SECONDS)
    return to


def grow(disk: Path, size: int) -> None:
    """Make a disk that is not in use larger, to `size` bytes."""
    process.run(["qemu-img", "resize", "-q", "-f", "qcow2", str(disk), str(size)], timeout=_SECONDS)


def copy(disk: Path, to: Path) -> Path:
    """The same file again: by reference where the file system can, else without its holes; returns `to`."""
    process.run(["cp", "--reflink=auto", "--sparse=always", disk, to], timeout=_COPY_SECONDS)
    return to


def info(disk: Path) -> DiskInfo:
    """What `qemu-img info` says, also of a disk that is in use."""
    said = json.loads(process.run(["qemu-img", "info", "-U", "--output=json", disk], timeout=_SECONDS))
    base = said.get("full-backing-filename") or said.get("backing-filename")
    return DiskInfo(said["virtual-size"], said["actual-size"], Path(base) if base else None)
