"""Slow things, kept by the hash of all that went into them.

An entry is written whole or not at all: it is built in a folder beside its place under a lock, flushed, and renamed.
Whoever asks for an entry that another process is building waits for that build.
"""

import fcntl
import hashlib
import json
import os
import pwd
import shutil
import stat
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from harness.contents import CONTENTS, damage, record
from harness.errors import HostError, UsageError
from harness.files import is_full, whole_folder
from harness.ownership import MARK, SHARED, claim, claimed_cache_dir, emptied, is_ours
from harness.paths import build_root, cache_dir
from harness.progress import Progress
from harness.untrusted import give

EVERYBODY = "*"
"""`readers` of an entry that holds no secret: images and firmware that anyone could build from this repository."""

_IN_USE = f"{MARK}.in-use"
"""The lock file of the cache (flock(2)): shared by the runs that use it, exclusive for `remove`."""

_REMOVE_SECONDS = 60.0


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


def shelf(kind: str, mode: int = SHARED) -> Path:
    """The folder that entries of a kind lie in, claimed.

    Raises:
        UsageError: The cache is a folder that is not ours.
        HostError: It cannot be written to.
    """
    return claim(claimed_cache_dir() / kind, "UNLOCK_LAB_CACHE", mode, adopt=True)


@contextmanager
def in_use() -> Iterator[None]:
    """Keep `remove` of any process away from the cache, for the length of the block.

    Raises:
        UsageError: The cache is a folder that is not ours.
        HostError: It cannot be written to, or is being removed all the time.
    """
    with _use_lock() as handle:
        waiting = Retrying(
            retry=retry_if_exception_type(BlockingIOError), stop=stop_after_delay(_REMOVE_SECONDS), wait=wait_fixed(0.1)
        )
        try:
            waiting(fcntl.flock, handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except RetryError as error:
            raise HostError(f"the cache {cache_dir()} was being removed for {_REMOVE_SECONDS:.0f} s") from error
        yield


def build_once(
    kind: str,
    key: str,
    build: Callable[[Path], None],
    *,
    readers: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return the folder of an entry, building it first if it is not there or is damaged.

    A damaged entry is renamed, so that it can be looked at, until `remove_abandoned`.

    Args:
        kind: What sort of thing, and the folder that it is kept in.
        key: `digest` of everything that decides its content.
        build: Fills an empty folder. What it raises goes to the caller, and the folder goes away.
        readers: Who may read it beside the caller: a user, or `EVERYBODY`. Only the caller may write.
        progress: Says that an entry was damaged, and where it is now.

    Raises:
        UsageError: The cache is a folder that is not ours.
        HostError: The disk is full, or the cache cannot be written to.
    """
    place = entry(kind, key)
    if place.is_dir() and not damage(place):
        return place
    shelf(kind)
    with in_use(), FileLock(_lock(place)):
        if place.is_dir():
            if not (wrong := damage(place)):
                return place
            _set_aside(place, wrong, progress or Progress())
        for leftover in _parts(place):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            with whole_folder(place) as part:
                _open_to(part, readers)
                build(part)
                record(part)
                _close(part, readers)
        except OSError as error:
            if is_full(error):
                raise HostError(
                    f"no room left while making {kind}",
                    f"{error}\n{_room('UNLOCK_LAB_CACHE', place.parent)}\n{_room('TMPDIR', build_root().parent)}",
                    "free some room, or point that variable at a larger disk; nothing half-made was kept",
                ) from error
            raise
    return place


def entries() -> Iterator[Path]:
    """All entries of the cache, whole or damaged."""
    for kind in sorted(cache_dir().glob("*")):
        if is_ours(kind):
            yield from sorted(path for path in kind.glob("[!.]*") if path.is_dir() and (path / CONTENTS).exists())


def set_damaged_aside(progress: Progress) -> list[Path]:
    """Read every entry whole, and rename those that are not as they were recorded; each is made anew at its next use.

    Args:
        progress: Says which, what is wrong, and where it is now.

    Returns:
        Those that were damaged.

    Raises:
        UsageError: The cache is a folder that is not ours.
    """
    damaged = []
    for place in entries():
        with in_use(), FileLock(_lock(place)):
            if place.is_dir() and (wrong := damage(place, thorough=True)):
                _set_aside(place, wrong, progress)
                damaged.append(place)
    return damaged


def remove_abandoned() -> Iterator[Path]:
    """Remove what interrupted builds left and no build under way uses, and damaged entries; yields what went.

    Raises:
        UsageError: The cache is a folder that is not ours.
    """
    if not cache_dir().exists():
        return
    for kind in filter(is_ours, sorted(claimed_cache_dir().iterdir())):
        for part in sorted([*kind.glob(".*.part-*"), *kind.glob(".*.damaged-*")]):
            key = part.name[1:].rpartition(".")[0]
            try:
                with FileLock(_lock(part.with_name(key)), timeout=0):
                    shutil.rmtree(part, ignore_errors=True)
                    yield part
            except Timeout:
                continue


def remove() -> list[Path]:
    """Remove all that is ours in the cache; returns what else is in it.

    Raises:
        UsageError: It is not ours, or a run or a machine is using it.
    """
    if not cache_dir().exists():
        return []
    with _use_lock() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy("another run is using it") from error
        for disk in cache_dir().glob("*/*/*.qcow2"):
            if _is_opened_by_qemu(disk):
                raise _busy(f"a machine that is on uses {disk}")
        return emptied(cache_dir())


def disk_use(folder: Path) -> int:
    """Bytes that a folder takes on its disk, which for sparse disk images is less than their sizes.

    What goes while it looks does not count: another process may be building there.
    """
    total = 0
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                total += os.lstat(f"{above}/{name}").st_blocks * 512
    return total


@contextmanager
def _use_lock() -> Iterator[int]:
    handle = os.open(claimed_cache_dir() / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _busy(why: str) -> UsageError:
    return UsageError(f"the cache {cache_dir()} was not removed", why, "wait for the end of that run")


def _is_opened_by_qemu(disk: Path) -> bool:
    """Whether a process holds one of the byte-range locks that QEMU sets on the images that it has open, fcntl(2)."""
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with disk.open("rb") as file:
        found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, wanted)
    kind: int = struct.unpack("hhqqi4x", found)[0]
    return kind != fcntl.F_UNLCK


def _set_aside(place: Path, wrong: str, progress: Progress) -> None:
    aside = place.with_name(f".{place.name}.damaged-{uuid.uuid4().hex[:8]}")
    place.rename(aside)
    progress.say(
        f"! the cache entry {place} is damaged: {wrong}. It is now {aside.name}, until the next `clean`, and made anew"
    )


def _group(readers: str | None) -> int:
    return os.getegid() if readers in (None, EVERYBODY) else pwd.getpwnam(str(readers)).pw_gid


def _open_to(folder: Path, readers: str | None) -> int:
    """Let `readers` into a folder; returns its mode."""
    mode = {None: 0o700, EVERYBODY: 0o755}.get(readers, 0o750)
    os.chown(folder, -1, _group(readers))
    folder.chmod(mode)
    return mode


def _close(folder: Path, readers: str | None) -> None:
    """Make the caller the owner of an entry, who alone may write, and let `readers` read it."""
    give(folder, os.geteuid(), _group(readers))
    read = _open_to(folder, readers)
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue  # chmod(2) would change what it points to
        if stat.S_ISDIR(mode):
            path.chmod(read)
        elif readers == EVERYBODY:
            path.chmod(stat.S_IMODE(mode) & read)
        else:
            path.chmod(read if mode & 0o100 else read & 0o666)


def _room(variable: str, folder: Path) -> str:
    return f"{variable}: {shutil.disk_usage(folder).free / 1e6:.0f} MB are free on the disk of {folder}"


def _lock(place: Path) -> Path:
    return place.with_name(f".{place.name}.lock")


def _parts(place: Path) -> Iterator[Path]:
    return place.parent.glob(f".{place.name}.part-*")
