"""Disk images: qcow2 files, made by qemu-img(1).

A copy-on-write overlay is the copy to use: it takes milliseconds whatever the size. Its base must not change as long
as the overlay is in use.
"""

from pathlib import Path

from harness import process
from harness.machine.qemu_img import qemu_img

_SECONDS = 30.0


def overlay(base: Path, to: Path, *, size: int | None = None) -> Path:
    """A copy-on-write copy, as large as its base or as `size` bytes; returns `to`.

    Raises:
        HostError: qemu-img failed; `to` may be missing its base.
    """
    command: list[str | Path] = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base.absolute(), to]
    qemu_img(base, [*command, str(size)] if size else command, to, timeout=_SECONDS)
    return to


def blank(to: Path, size: int) -> Path:
    """An empty disk of `size` bytes; returns `to`."""
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", str(to), str(size)], timeout=_SECONDS)
    return to
