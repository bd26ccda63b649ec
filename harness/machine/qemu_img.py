"""qemu-img(1), run as whoever owns the disk that it opens.

A qcow2 file names its base, and may name where its data lies: other files, or a server. Root's machines run as another
user, which can write into their disks; so root does not open such a disk itself. What qemu-img reads or writes beside
the disk is passed on as a descriptor, so that its folder may stay closed to that user.
"""

import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness import process
from harness.errors import HostError


def qemu_img(disk: Path, command: Sequence[str | Path], beside: Path | None = None, *, timeout: float) -> None:
    """Run a command of qemu-img.

    Args:
        disk: The disk that it opens; its owner is who it runs as.
        command: The words after ``qemu-img``; `beside` among them stands for that file.
        beside: A file of the caller's that it reads or writes too; made when it is not there. It becomes the disk's
            owner's.
        timeout: Seconds after which it is killed.

    Raises:
        HostError: It is not installed, it failed, or it took too long; or the disk is not there.
    """
    user = _owner(disk)
    if user is None or beside is None:
        process.run(["qemu-img", *command], timeout=timeout, user=user)
        return
    with _given(beside, user) as descriptor:
        words = [f"/dev/fd/{descriptor}" if word == beside else word for word in command]
        process.run(["qemu-img", *words], timeout=timeout, user=user, pass_fds=(descriptor,))


def _owner(disk: Path) -> str | None:
    """Who owns a disk, if root is to become that user first."""
    try:
        owner = disk.stat().st_uid
    except OSError as error:
        raise HostError(f"qemu-img failed: the disk {disk} cannot be opened", str(error)) from error
    return None if os.geteuid() != 0 or owner == 0 else pwd.getpwuid(owner).pw_name


@contextmanager
def _given(path: Path, user: str) -> Iterator[int]:
    entry = pwd.getpwnam(user)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.fchown(descriptor, entry.pw_uid, entry.pw_gid)
        yield descriptor
    finally:
        os.close(descriptor)
