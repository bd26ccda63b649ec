"""Slow things, kept by the hash of all that went into them.

An entry is written whole or not at all: it is built in a folder beside its place under a lock, flushed, and renamed.
Whoever asks for an entry that another process is building waits for that build.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from harness.errors import HostError
from harness.paths import cache_dir


def digest(*parts: object) -> str:
    """A hash over JSON-able values and over files and folders (given as `Path`, by content, name and mode)."""
    total = hashlib.sha256()
    for part in parts:
        total.update(_tree(part) if isinstance(part, Path) else json.dumps(part, sort_keys=True).encode())
        total.update(b"\0")
    return total.hexdigest()[:32]


def _tree(path: Path) -> bytes:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).digest()
    total = hashlib.sha256()
    for entry in sorted(path.rglob("*")):
        if entry.is_file() and "__pycache__" not in entry.parts:
            total.update(f"{entry.relative_to(path)} {entry.stat().st_mode & 0o111}\0".encode())
            total.update(hashlib.sha256(entry.read_bytes()).digest())
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
        HostError: The disk is full.
    """
    place = entry(kind, key)
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.parent / f".{key}.lock"):
        if place.is_dir():
            return place
        for leftover in place.parent.glob(f".{key}.part-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=f".{key}.part-", dir=place.parent))
        part.chmod(0o755)
        try:
            build(part)
            _flush(part)
            part.rename(place)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise HostError(
                    f"no room left on the disk of {place.parent} while making {kind}",
                    str(error),
                    "free some room, or point UNLOCK_LAB_CACHE at a larger disk; nothing half-made was kept",
                ) from error
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return place


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
