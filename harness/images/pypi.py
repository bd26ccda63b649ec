"""What an image takes from PyPI since Debian has not got it: archives that its folder's file ``pypi`` pins by hash."""

import sys
from pathlib import Path

from harness.process import run

PYPI = "pypi"
"""The file: pip's own format of requirements, each with its hash."""

_SECONDS = 300.0


def download(requirements: Path, folder: Path) -> None:
    """Have pip fetch archives, by its own settings, and hold them to their hashes (pip-download(1)).

    Args:
        requirements: The file.
        folder: Where they go.

    Raises:
        HostError: One cannot be had, or is another than was pinned; with what pip said.
    """
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", f"--dest={folder}"]
    run([*argv, "-r", requirements], timeout=_SECONDS)
