"""Slow things, kept by the hash of all that went into them.

An entry is written whole or not at all: it is built in a folder beside its place under a lock, flushed, and renamed.
Whoever asks for an entry that another process is building waits for that build.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import HostError
from harness.files import whole_folder
from harness.paths import cache_dir


def digest(*parts: object) -> str:
    """A hash over JSON-able values and over files and folders.

    A `Path` counts by what is there, wherever it lies: a file by its content and whether it is executable; a folder by
    the names in it and what they stand for, however deep, a symbolic link in it by where it points; ``__pycache__``
    is left out. A path where nothing is raises FileNotFoundError, lest it hash to the same whatever comes there.
    """
    total = hashlib.sha256()
    for part in parts:
        # The kind goes in too, so that a value cannot pass for a file.
        if isinstance(part, Path):
            total.update(b"path\0" + _tree(part.resolve(strict=True)))
        else:
            total.update(b"value\0" + hashlib.sha256(json.dumps(part, sort_keys=True).encode()).digest())
    return total.hexdigest()[:32]


def _tree(path: Path) -> bytes:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return hashlib.sha256(b"link\0" + os.fsencode(path.readlink())).digest()
    if not stat.S_ISDIR(mode):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        return hashlib.sha256(b"file\0" + (b"x" if mode & 0o100 else b"-") + content).digest()
    total = hashlib.sha256(b"folder\0")
    for child in sorted(path.iterdir(), key=lambda child: os.fsencode(child.name)):
        if child.name != "__pycache__":
            total.update(hashlib.sha256(os.fsencode(child.name)).digest() + _tree(child))
    return total.digest()


def entry(kind: str, key: str) -> Path:
    """Where the entry lies, or would."""
    return cache_dir() / kind / key


def build_once(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of an entry, building it first if it is not there.

    Args:
        kind: What sort of thing, and the folder that it is kept in.
        key: `digest` of everything that decides its content.
        build: Fills an empty folder. What it raises goes to the caller, and the folder goes away.

    Raises:
        HostError: The disk is full, or the cache cannot be written to.
    """
    place = entry(kind, key)
    if place.is_dir():
        return place
    _make_home(place.parent)
    with FileLock(_lock(place)):
        if place.is_dir():
            return place
        for leftover in _parts(place):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            with whole_folder(place) as part:
                build(part)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise HostError(
                    f"no room left on the disk of {place.parent} while making {kind}",
                    str(error),
                    "free some room, or point UNLOCK_LAB_CACHE at a larger disk; nothing half-made was kept",
                ) from error
            raise
    return place


def remove_abandoned() -> Iterator[Path]:
    """Remove what interrupted builds left and no build under way uses; yields what went."""
    for part in sorted(cache_dir().glob("*/.*.part-*")):
        key = part.name[1:].rpartition(".part-")[0]
        try:
            with FileLock(_lock(part.with_name(key)), timeout=0):
                shutil.rmtree(part, ignore_errors=True)
                yield part
        except Timeout:
            continue


def disk_use(folder: Path) -> int:
    """Bytes that a folder takes on its disk, which for sparse disk images is less than their sizes."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def _lock(place: Path) -> Path:
    return place.with_name(f".{place.name}.lock")


def _parts(place: Path) -> Iterator[Path]:
    return place.parent.glob(f".{place.name}.part-*")


def _make_home(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"the cache cannot be written to: {folder}", str(error), "point UNLOCK_LAB_CACHE at a folder that can"
        ) from error
