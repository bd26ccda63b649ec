"""Folders that a running machine or a build writes to, and that go when their owner goes, however it goes.

Each has a reaper: a shell that waits for the end of a pipe that only this process holds, then removes the folder.
So an orderly end, an exception, Ctrl-C (the reaper has a session of its own) and kill -9 all end the same way. A lock
on the folder (flock(2), shared with the reaper) tells `remove_orphaned` which folders a power cut left behind.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from harness.errors import HostError
from harness.host.user import chown_to
from harness.ownership import claim, claimed_run_dir
from harness.paths import build_root, run_dir

KEEP = "keep"
"""A file of this name in a scratch folder keeps the folder when its owner ends."""

_LONGEST_RUN_DIR = 50  # of the 107 bytes of a UNIX socket's path (unix(7)), what libvirt's own sockets leave
_REMOVE_SECONDS = 60.0
# What the owner started may still be ending, and writing.
_REAPER = f'read -r _; test -e "$1/{KEEP}" || rm -rf -- "$1" || {{ sleep 2; rm -rf -- "$1"; }}'


@contextmanager
def scratch(user: str | None) -> Iterator[Path]:
    """A new folder with a short path for a machine, owned by `user` (the caller when None), removed after the block.

    Raises:
        UsageError: The folder for running machines is not ours.
        HostError: It cannot be written to, or has too long a name.
    """
    with _guarded(_machines()) as folder:
        chown_to(folder, user)
        yield folder


@contextmanager
def build_dir() -> Iterator[Path]:
    """A new folder on a disk that has room for an image under way, removed after the block.

    Raises:
        UsageError: The folder for images under way is not ours.
        HostError: It cannot be written to.
    """
    with _guarded(_builds()) as folder:
        yield folder


@contextmanager
def run_notes(run_id: str) -> Iterator[Path]:
    """A folder that all processes of one run share; `remove_orphaned` removes it once none of them is left."""
    root = _runs()
    with FileLock(root / ".lock"):
        folder = root / run_id
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        yield folder
    finally:
        os.close(lock)


@contextmanager
def _guarded(root: Path) -> Iterator[Path]:
    with FileLock(root / ".lock"):
        folder = Path(tempfile.mkdtemp(dir=root))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        reaper = subprocess.Popen(
            ["sh", "-c", _REAPER, "unlock-lab-reaper", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
            start_new_session=True,
        )
        try:
            yield folder
        finally:
            _dismiss(reaper, folder)
    finally:
        os.close(lock)


def _dismiss(reaper: "subprocess.Popen[bytes]", folder: Path) -> None:
    assert reaper.stdin is not None
    reaper.stdin.close()
    try:
        reaper.wait(_REMOVE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{folder} was not removed within {_REMOVE_SECONDS:.0f} s; that goes on") from error


def remove_orphaned() -> None:
    """Remove the folders whose owner and reaper are both gone (after a power cut, say)."""
    for root in (_machines(), _builds(), _runs()):
        with FileLock(root / ".lock"):
            for folder in root.iterdir():
                if folder.is_dir() and not (folder / KEEP).exists() and _orphaned(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _orphaned(folder: Path) -> bool:
    with suppress(OSError):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        finally:
            os.close(lock)
    return False


def _machines() -> Path:
    if len(os.fsencode(run_dir())) > _LONGEST_RUN_DIR:
        raise HostError(
            f"the folder for running machines has a name of over {_LONGEST_RUN_DIR} bytes, too long for sockets in it",
            str(run_dir()),
            "point UNLOCK_LAB_RUN at a folder with a shorter name",
        )
    return claim(claimed_run_dir() / "m", "UNLOCK_LAB_RUN", adopt=True)


def _runs() -> Path:
    return claim(claimed_run_dir() / "runs", "UNLOCK_LAB_RUN", 0o700, adopt=True)


def _builds() -> Path:
    # mmdebstrap without root works as another user of a namespace, which must be able to enter.
    return claim(claim(build_root(), "TMPDIR", 0o755) / "b", "TMPDIR", 0o755, adopt=True)
