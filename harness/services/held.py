"""What a server holds, keys or a token: what guests are bound to, and so an input of what is installed on them."""

import io
import tarfile
from pathlib import Path
from typing import Protocol

_MODE = 0o444
"""Readable for whatever user an image runs its server as; the container holds nothing else."""


class Held(Protocol):
    """A frozen value."""

    @property
    def files(self) -> tuple[tuple[str, bytes], ...]:
        """The names and contents of its files, always in the same order."""


def save(held: Held, folder: Path) -> None:
    """Write its files into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in held.files:
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(data)


def to_tar(held: Held) -> bytes:
    """A tar archive of its files, for Docker."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in held.files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), _MODE
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
