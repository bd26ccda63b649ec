"""Files and folders of this host: written whole or not at all, numbered, and read whole or from their end.

What takes shape lies beside its place under a name that begins with a dot, so that a look into the folder, or a
kill -9, finds the old content, the new one, or none. What is read is a regular file: others may have put a pipe, a
device or something without an end in its place.
"""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 64 * 2**20
"""Of a file that is read whole."""


@contextmanager
def whole_file(place: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place, held by the disk, at the end of the block unless that raises.

    Args:
        place: Where it will lie, in a folder that is there. What lies there already is replaced.
        mode: Permission bits; by default the caller alone may read it.
    """
    handle, name = tempfile.mkstemp(prefix=f".{place.name}.part-", dir=place.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def write_whole(place: Path, content: str | bytes, mode: int = 0o600) -> None:
    """`whole_file` with this content; what UTF-8 cannot say becomes ``?``."""
    with whole_file(place, mode) as file:
        file.write(content.encode(errors="replace") if isinstance(content, str) else content)


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes its place, held by the disk, at the end of the block unless that raises.

    Args:
        place: Where it will lie, in a folder that is there, and the caller alone may enter. When the block ends nothing
            may lie there, or an empty one.
    """
    part = Path(tempfile.mkdtemp(prefix=f".{place.name}.part-", dir=place.parent))
    try:
        yield part
        _flush(part)
        part.rename(place)
        _sync(place.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink() and (path.is_file() or path.is_dir()):
            _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def numbered_folder(parent: Path, label: str) -> Path:
    """Make the next of the folders ``label-0``, ``label-1`` and so on."""
    number = 0
    while True:
        folder = parent / f"{label}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def is_full(error: OSError) -> bool:
    """Whether it says that a disk is full, or a user's share of it; `shutil.Error` joins those of a folder."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    joined = isinstance(error, shutil.Error) and any(os.strerror(number) in str(error) for number in numbers)
    return error.errno in numbers or joined


def why_unread(error: OSError | ValueError) -> str:
    """Why a file could not be read or written, for people who named it themselves: without errno and its name."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is no text: byte {error.start} is not UTF-8"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def read_whole(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """What a file holds.

    Raises:
        OSError: It cannot be read, is no regular file, or has more than `most_bytes`.
    """
    with _regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes // 2**20} MiB", str(path))
    return content


def _regular(path: Path) -> BinaryIO:
    # O_NONBLOCK: opening a pipe would wait for its other end.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def end_of(log: Path, most_bytes: int = 65536) -> bytes:
    """The end of a file, of this many bytes at most.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    with _regular(log) as file:
        file.seek(-min(most_bytes, file.seek(0, os.SEEK_END)), os.SEEK_CUR)
        return file.read()


def tail(log: Path | str | bytes, lines: int = 15) -> str:
    """The last lines of a log, for the detail of an error.

    Args:
        log: A file, or what it holds.
        lines: How many at most.

    Returns:
        The lines; of a file that cannot be read, why.
    """
    try:
        data = end_of(log) if isinstance(log, Path) else log
    except OSError as error:
        return f"(a log could not be read: {error})"
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    return "\n".join(text.splitlines()[-lines:])
