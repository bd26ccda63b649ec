"""Where things live on this host.

Environment: ``UNLOCK_LAB_CACHE`` (what is slow to make) and ``UNLOCK_LAB_RUN`` (sockets and scratch disks of running
machines; short, since a UNIX socket path may have 107 bytes, unix(7)). ``TMPDIR``: images under way.
``UNLOCK_LAB_IMAGES``: more guest images.

Images, policies and docs lie beside the package in a clone, and in it (``harness/data``) when it came from a wheel,
which pyproject.toml arranges.
"""

import os
import tempfile
from pathlib import Path

from harness.errors import HostError

PACKAGE = Path(__file__).resolve().parent

CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None
"""The clone that this runs from; None when it was installed from a wheel."""

IMAGES = CHECKOUT / "images" if CHECKOUT else PACKAGE / "data" / "images"
POLICIES = CHECKOUT / "scenarios" / "policies" if CHECKOUT else PACKAGE / "data" / "policies"
DOCS = CHECKOUT / "docs" if CHECKOUT else PACKAGE / "data" / "docs"
"""Also what boots were seen to do: truth-table.csv."""

SETUP = "make setup" if CHECKOUT else "unlock-lab setup"
DOCTOR = "make doctor" if CHECKOUT else "unlock-lab doctor"
"""What a hint tells the user to run."""


def own_images() -> Path | None:
    """The folder of the user's own guest images, which come before those of `IMAGES`."""
    named = os.environ.get("UNLOCK_LAB_IMAGES")
    return Path(named).absolute() if named else None


def cache_dir() -> Path:
    """The cache. Root's lies outside /root, where the unprivileged user that runs the machines cannot look.

    Raises:
        HostError: Nothing names a folder for it, and there is no home.
    """
    if named := os.environ.get("UNLOCK_LAB_CACHE"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/unlock-lab")
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "unlock-lab"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # in a container, under a number that is no user of it
        raise HostError(
            "this user has no home folder", str(error), "set HOME, or let UNLOCK_LAB_CACHE name a folder"
        ) from error


def run_dir() -> Path:
    """The folder for sockets and the copies that running machines write to."""
    if named := os.environ.get("UNLOCK_LAB_RUN"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/run/unlock-lab")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "unlock-lab"
    return Path(f"/tmp/unlock-lab-{os.geteuid()}")


def build_root() -> Path:
    """The folder for images under way: some GB each, on the disk of TMPDIR."""
    return Path(tempfile.gettempdir(), f"unlock-lab-tmp-{os.geteuid()}")
