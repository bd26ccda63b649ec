"""Folders that a running machine writes to, and that go when their owner goes, however it goes.

Each has a guardian: a shell that waits for the end of a pipe that only this process holds, then removes the folder.
So an orderly end, an exception, Ctrl-C (the guardian has a session of its own) and kill -9 all end the same way. A lock
on the folder (flock(2), shared with the guardian) tells `sweep` which folders a power cut left behind.
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
from harness.host.user import hand_over
from harness.paths import run_dir

KEEP = "keep"
"""A file of this name in a scratch folder keeps the folder when its owner ends."""

_LONGEST_RUN_DIR = 50  # of the 107 bytes of a UNIX socket's path (unix(7)), what libvirt's own sockets leave
_REMOVE_SECONDS = 60.0
_GUARDIAN = f'read -r _; test -e "$1/{KEEP}" || rm -rf -- "$1"'


@contextmanager
def scratch(user: str | None) -> Iterator[Path]:
    """A new folder with a short path, owned by `user` (the caller when None), removed at the end of the block.

    Raises:
        HostError: The folder for running machines cannot be written to, or has too long a name.
    """
    root = _root()
    with FileLock(root / ".lock"):
        folder = Path(tempfile.mkdtemp(dir=root))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        guardian = subprocess.Popen(
            ["sh", "-c", _GUARDIAN, "unlock-lab-guardian", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
            start_new_session=True,
        )
        try:
            hand_over(folder, user)
            yield folder
        finally:
            _dismiss(guardian, folder)
    finally:
        os.close(lock)


def _dismiss(guardian: "subprocess.Popen[bytes]", folder: Path) -> None:
    assert guardian.stdin is not None
    guardian.stdin.close()
    try:
        guardian.wait(_REMOVE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{folder} was not removed within {_REMOVE_SECONDS:.0f} s; that goes on") from error


def sweep() -> None:
    """Remove the folders whose owner and guardian are both gone (after a power cut, say)."""
    root = _root()
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


def _root() -> Path:
    root = run_dir() / "m"
    if len(os.fsencode(run_dir())) > _LONGEST_RUN_DIR:
        raise HostError(
            f"the folder for running machines has a name of over {_LONGEST_RUN_DIR} bytes, too long for sockets in it",
            str(run_dir()),
            "point UNLOCK_LAB_RUN at a folder with a shorter name",
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        for folder in (run_dir(), root):
            folder.chmod(0o755)  # whatever the umask: the user that runs the machines must get through
    except OSError as error:
        raise HostError(
            f"cannot make the folder for running machines: {root}",
            str(error),
            "point UNLOCK_LAB_RUN at a folder that can be written to",
        ) from error
    return root
