"""An initrd with a file added (pure): the kernel unpacks one archive after the other, and later files win.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from collections.abc import Iterable

_REGULAR, _EXECUTABLE = 0o100000, 0o755
_ALIGNMENT = 4


def with_file(initrd: bytes, path: str, data: bytes) -> bytes:
    """The same initrd, compressed or not, and a file more, which root owns and may run; its folder is there."""
    file = _entry(path, _REGULAR | _EXECUTABLE, data)
    return _padded(initrd) + file + _entry("TRAILER!!!", 0, b"")


def _entry(path: str, mode: int, data: bytes) -> bytes:
    name = path.encode() + b"\0"
    # inode, mode, owner, group, links, date, size, four numbers of devices, length of the name, checksum (unused)
    fields: Iterable[int] = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(head + name) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
