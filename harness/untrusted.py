"""Read, copy and chown files in folders that an unprivileged user controls, as root, without following its links.

Root's machines run as another user, which owns the folders of their sockets and logs and could put symbolic links
there. Below the first such folder each component is opened relative to its parent's descriptor without following links
(openat(2), O_NOFOLLOW), and only regular files are opened.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from harness.errors import RigError
from harness.ownership import changed_by_others


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file, open for reading within the block.

    Raises:
        FileNotFoundError: It is not there.
        RigError: It, or a folder on the way, is a link or no regular file.
    """
    with _parent(path) as (folder, name):
        handle = _file(folder, name, path)
    with os.fdopen(handle, "rb") as file:
        yield file


def read(path: Path) -> bytes:
    """What a file holds; raises as `opened` does."""
    with opened(path) as file:
        return file.read()


def copy(path: Path, to: Path, *, without: str = "") -> None:
    """Copy a file, or a folder of files with all below it, to a place in a folder that is the caller's alone.

    Args:
        path: What to copy; its copy is readable by the caller alone.
        to: A file that is there is replaced; a folder must not be there.
        without: The name of files to leave out.

    Raises:
        FileNotFoundError: It is not there.
        RigError: It, a folder on the way, or something in it is a link or no regular file.
    """
    with _parent(path) as (folder, name):
        _copy(folder, name, to, path, without)


def remove(path: Path) -> None:
    """Remove a file, or a link itself; it need not be there.

    Raises:
        RigError: A folder on the way is a link.
    """
    try:
        with _parent(path) as (folder, name):
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def give(path: Path, user: int, group: int) -> None:
    """Change the owner of a file, or of a folder and all in it; of a link itself, not of its target.

    Raises:
        FileNotFoundError: It is not there.
        RigError: A folder on the way is a link, or a file has another name elsewhere (link(2)).
    """
    with _parent(path) as (folder, name):
        _give(folder, name, path, user, group)


@contextmanager
def _parent(path: Path) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that a path is in, and the path's name in it."""
    path = path.absolute()
    above = list(reversed(path.parents))
    first = next((number for number, folder in enumerate(above) if changed_by_others(folder)), len(above) - 1)
    # Only what lies in a folder that others control can be replaced by a link; the root folder never does. In a sticky
    # folder, such as /tmp, others have links of their own.
    start = first if above[first].lstat().st_uid in (0, os.geteuid()) else first - 1
    handle = os.open(above[start], os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in above[start + 1 :]:
            below = _folder(handle, folder.name, path)
            os.close(handle)
            handle = below
        yield handle, path.name
    finally:
        os.close(handle)


def _folder(above: int, name: str, path: Path) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    except NotADirectoryError as error:
        raise _refused(path, f"{name} on the way to it is no folder") from error


def _file(folder: int, name: str, path: Path) -> int:
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its other end.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _refused(path, "it is a link, or no file") from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _refused(path, "it is no regular file")
    return handle


def _copy(folder: int, name: str, to: Path, path: Path, without: str) -> None:
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISDIR(mode):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(_file(folder, name, path), "rb") as source, os.fdopen(os.open(to, flags, 0o600), "wb") as target:
            shutil.copyfileobj(source, target)
        return
    inner = _folder(folder, name, path)
    try:
        to.mkdir(mode=0o700)
        for child in os.listdir(inner):  # noqa: PTH208
            if child != without:
                _copy(inner, child, to / child, path / child, without)
    finally:
        os.close(inner)


def _give(folder: int, name: str, path: Path, user: int, group: int) -> None:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        inner = _folder(folder, name, path)
        try:
            # The folder first: a former owner can then no longer replace what is in it.
            os.fchown(inner, user, group)
            for child in os.listdir(inner):  # noqa: PTH208
                _give(inner, child, path / child, user, group)
        finally:
            os.close(inner)
    elif (found.st_uid, found.st_gid) == (user, group):
        return
    elif found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
        raise _refused(path, "it has another name elsewhere")
    else:
        os.chown(name, user, group, dir_fd=folder, follow_symlinks=False)


def _refused(path: Path, what: str) -> RigError:
    return RigError(
        f"{path} is not what the harness put there: {what}",
        "the user that machines run as can change it; nothing was read or written through it",
        "a guest may have broken out of QEMU: look at the processes of that user",
    )
