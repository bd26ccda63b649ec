"""What lies on a disk image, read on the host while its machine is off.

Source: UEFI specification 2.10, 5.3 (GUID Partition Table).
"""

import json
import struct
import tempfile
from pathlib import Path

from harness import process
from harness.errors import RigError

_SECTOR = 512
_ENTRIES_AT = 72
"""In the GPT's header: where the entries start, how many there are, and how long each is."""

_READ_SECONDS = 60.0


def read_disk(disk: Path, offset: int, size: int) -> bytes:
    """Bytes of a qcow2 image as its machine sees them; both numbers are multiples of 512.

    Raises:
        HostError: qemu-img failed.
    """
    with tempfile.TemporaryDirectory(prefix="unlock-lab-") as folder:
        part = Path(folder, "part")
        window = {
            "driver": "raw",
            "offset": offset,
            "size": size,
            "file": {"driver": "qcow2", "file": {"driver": "file", "filename": str(disk)}},
        }
        command: list[str | Path] = ["qemu-img", "convert", "-q", "-U", "-O", "raw", f"json:{json.dumps(window)}", part]
        process.run(command, timeout=_READ_SECONDS)
        return part.read_bytes()


def read_partition(disk: Path, label: str, size: int) -> bytes:
    """The first `size` bytes of the partition of that label.

    Raises:
        HostError: qemu-img failed.
        RigError: The disk has no GPT, or none of that label.
    """
    head = read_disk(disk, _SECTOR, _SECTOR)
    if not head.startswith(b"EFI PART"):
        raise RigError(f"{disk.name} has no partition table of the kind GPT")
    first, count, length = struct.unpack_from("<QII", head, _ENTRIES_AT)
    entries = read_disk(disk, first * _SECTOR, -(-count * length // _SECTOR) * _SECTOR)
    for at in range(0, count * length, length):
        if entries[at + 56 : at + 128].decode("utf-16-le").rstrip("\0") == label:
            (start,) = struct.unpack_from("<Q", entries, at + 32)
            return read_disk(disk, start * _SECTOR, size)
    raise RigError(f"{disk.name} has no partition {label}")
