"""Sizes and digests of the files in a folder, recorded once and verified at every use.

Files of up to `SMALL_BYTES` are hashed each time; of larger ones only the size is compared, unless `thorough`.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

CONTENTS = ".contents.json"
"""The record, in the folder itself: ``{"disk.qcow2": [size in bytes, SHA-256 in hex], …}``; of a link, its target's
name is what is hashed."""

SMALL_BYTES = 2**20


def record(folder: Path) -> None:
    """Write the record of a folder that is complete."""
    found = {name: [(folder / name).lstat().st_size, _digest(folder / name)] for name in _names(folder)}
    (folder / CONTENTS).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def damage(folder: Path, *, thorough: bool = False) -> str:
    """What is wrong with a folder, in one sentence; "" when it is as it was recorded.

    Args:
        folder: Where `record` was called.
        thorough: Hash the large files too.
    """
    try:
        recorded = json.loads((folder / CONTENTS).read_bytes())
        expected = {str(name): (int(size), str(digest)) for name, (size, digest) in recorded.items()}
    except FileNotFoundError:
        return f"it has no {CONTENTS}"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"its {CONTENTS} cannot be read: {error}"
    try:
        there = set(_names(folder))
        if different := sorted(there ^ set(expected)):
            name = different[0]
            return f"{name} was added" if name in there else f"{name} is missing"
        for name, (size, digest) in expected.items():
            if wrong := _wrong(folder / name, size, digest, thorough):
                return f"{name} {wrong}"
    except OSError as error:
        return f"it cannot be read: {error}"
    return ""


def _wrong(path: Path, size: int, digest: str, thorough: bool) -> str:
    found = path.lstat()
    is_link = stat.S_ISLNK(found.st_mode)
    if not is_link and not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if found.st_uid != os.geteuid() or (found.st_mode & 0o022 and not is_link):
        return "can be changed by another user"
    if found.st_size != size:
        return f"has {found.st_size} bytes instead of {size}"
    if (thorough or size <= SMALL_BYTES) and _digest(path) != digest:
        return "has other content than when it was made"
    return ""


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            name = str(path.relative_to(folder))
            if name != CONTENTS:
                yield name


def _digest(path: Path) -> str:
    if path.is_symlink():
        return hashlib.sha256(b"link to " + os.fsencode(path.readlink())).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
