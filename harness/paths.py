"""Where things live on this host.

Environment: ``UNLOCK_LAB_CACHE`` (what is slow to make) and ``UNLOCK_LAB_RUN`` (sockets and scratch disks of running
machines; short, since a UNIX socket path may have 107 bytes, unix(7)). ``TMPDIR``: images under way.
"""

import os
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
IMAGES = REPOSITORY / "images"
POLICIES = REPOSITORY / "scenarios" / "policies"


def cache_dir() -> Path:
    """The cache. Root's lies outside /root, where the unprivileged user that runs the machines cannot look."""
    if named := os.environ.get("UNLOCK_LAB_CACHE"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/unlock-lab")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlock-lab"


def run_dir() -> Path:
    """The folder for sockets and the copies that running machines write to."""
    if named := os.environ.get("UNLOCK_LAB_RUN"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/run/unlock-lab")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/unlock-lab-{os.geteuid()}") / "unlock-lab"


def build_root() -> Path:
    """The folder for images under way: some GB each, on the disk of TMPDIR."""
    return Path(tempfile.gettempdir(), f"unlock-lab-build-{os.geteuid()}")
