"""Folders that are removed when the owning process exits, SIGKILL included.

Each has a reaper: a shell that waits for the end of a pipe that only this process holds, then removes the folder. So an
orderly end, an exception, Ctrl-C (the reaper has a session of its own) and SIGKILL all end the same way. A lock on the
folder (flock(2), shared with the reaper) tells `remove_orphaned_in` which folders a power cut left behind.
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
from harness.ownership import claim
from harness.paths import build_root

KEEP = "keep"
"""A file of this name in a scratch folder keeps the folder when its owner ends. It names the machine that was left on
with its sockets there, if one was."""

_REMOVE_SECONDS = 300.0
"""The files of a guest, on a host with other work, take more than one minute (seen)."""

# What the owner started may go on for a while, and write.
_REAPER = f"""read -r _
tries=100
test -e "$1/{KEEP}" || until rm -rf -- "$1" || test $((tries -= 1)) -le 0; do sleep 2; done"""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder of the caller's alone, on the disk of TMPDIR, removed after the block.

    Raises:
        UsageError: The folder around it is not ours.
        HostError: It cannot be written to.
    """
    with guarded(temporary_root()) as folder:
        yield folder


@contextmanager
def guarded(root: Path) -> Iterator[Path]:
    """A new folder in a claimed one, removed after the block."""
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
        except BaseException:
            with suppress(HostError):  # what happened in the block is what its caller must hear
                _dismiss(reaper, folder)
            raise
        _dismiss(reaper, folder)
    finally:
        os.close(lock)


def _dismiss(reaper: "subprocess.Popen[bytes]", folder: Path) -> None:
    assert reaper.stdin is not None
    reaper.stdin.close()
    try:
        ended = reaper.wait(_REMOVE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{folder} was not removed within {_REMOVE_SECONDS:.0f} s; that goes on") from error
    if (folder / KEEP).exists():
        return
    if ended < 0:  # a signal ended it before its time
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise HostError(f"{folder} cannot be removed", hint=f"see what is in it, and rm -rf {folder}")


def remove_orphaned_in(root: Path) -> None:
    """Remove the folders in a claimed one whose owner and reaper are both gone."""
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


def temporary_root() -> Path:
    """The folder that all temporary ones lie in, claimed."""
    # mmdebstrap without root works as another user of a namespace, which must be able to enter.
    return claim(claim(build_root(), "TMPDIR", 0o755) / "b", "TMPDIR", 0o755, adopt=True)
