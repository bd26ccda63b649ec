"""Folders that a running machine writes to, and that are removed when the owning process exits, SIGKILL included.

`harness.temporary` says how.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from harness.errors import HostError
from harness.ownership import claim, claimed_run_dir
from harness.paths import run_dir
from harness.temporary import guarded, remove_orphaned_in, temporary_root

_LONGEST_RUN_DIR = 50  # of the 107 bytes of a UNIX socket's path (unix(7)), what libvirt's own sockets leave


@contextmanager
def scratch(user: str | None) -> Iterator[Path]:
    """A new folder with a short path for a machine, removed after the block.

    It stays the caller's, so that no link can be put into it; `user` (the caller when None) may enter it, and owns what
    is given to that user in it (`chown_to`).

    Raises:
        UsageError: The folder for running machines is not ours.
        HostError: It cannot be written to, or has too long a name.
    """
    with guarded(scratch_root()) as folder:
        folder.chmod(0o711 if user else 0o700)
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


def remove_orphaned() -> None:
    """Remove the folders whose owner and reaper are both gone (after a power cut, say)."""
    for root in (scratch_root(), _runs(), temporary_root()):
        remove_orphaned_in(root)


def scratch_root() -> Path:
    """The folder that all scratch folders lie in, claimed.

    Raises:
        UsageError: The folder for running machines is not ours.
        HostError: It cannot be written to, or has too long a name.
    """
    if len(os.fsencode(run_dir())) > _LONGEST_RUN_DIR:
        raise HostError(
            f"the folder for running machines has a name of over {_LONGEST_RUN_DIR} bytes, too long for sockets in it",
            str(run_dir()),
            "point UNLOCK_LAB_RUN at a folder with a shorter name",
        )
    return claim(claimed_run_dir() / "m", "UNLOCK_LAB_RUN", adopt=True)


def _runs() -> Path:
    return claim(claimed_run_dir() / "runs", "UNLOCK_LAB_RUN", 0o700, adopt=True)
