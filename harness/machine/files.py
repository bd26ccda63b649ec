"""Files on the partitions that no machine encrypts, read and written on the host while the machine is off.

mtools reads and writes the EFI system partition (FAT), debugfs(8) the boot partition (ext2): no mount, no root::

    with files(disk, "boot") as boot:
        boot.write("/grub/grub.cfg", boot.read("/grub/grub.cfg").replace(b"quiet", b"init=/bin/sh"))
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from harness import process
from harness.errors import HostError, UsageError
from harness.host.requirement import command
from harness.machine.partition import edited_partition
from harness.machine.spec import Disk

ESP = "EFI-SYSTEM"
"""The label of the EFI system partition, in every guest image."""

BOOT = "boot"
"""The label of the boot partition of images that start by GRUB."""

_SECONDS = 60.0


class Files(Protocol):
    """The files of one partition. Each call raises `HostError` when a tool is missing, or when it fails."""

    def read(self, path: str) -> bytes:
        """What a file holds."""

    def write(self, path: str, data: bytes) -> None:
        """Make a file, and the folders above it, or put another in its place."""

    def names(self, folder: str) -> list[str]:
        """The paths of the files in a folder; none if there is no such folder."""


@contextmanager
def files(disk: Path, label: str) -> Iterator[Files]:
    """The files of a partition; what is written takes effect at the end of the block.

    Args:
        disk: A qcow2 image that nobody writes to; make an overlay of one that is to be changed and must stay as it is.
        label: `ESP` for FAT, another for ext2.

    Raises:
        HostError: A tool is missing or failed.
        RigError: The disk has no such partition.
    """
    with edited_partition(disk, label) as image:
        yield _Fat(image) if label == ESP else _Ext(image)


def rewrite(disk: Disk, label: str, path: str, change: Callable[[bytes], bytes]) -> None:
    """Change one file of a disk, in place.

    Args:
        disk: Nobody uses it.
        label: As for `files`.
        path: Of the file.
        change: What it held in, what it is to hold out.

    Raises:
        HostError: A tool is missing or failed, or there is no such file.
        UsageError: The change changes nothing.
        RigError: The disk has no such partition.
    """
    with files(disk.path, label) as found:
        before = found.read(path)
        after = change(before)
        if after == before:
            raise UsageError(f"{path} on {label} is as it was: the change found nothing to change")
        found.write(path, after)


@dataclass(frozen=True)
class _Fat:
    image: Path

    def read(self, path: str) -> bytes:
        part = self.image.with_name("file")
        process.run(["mcopy", "-n", "-o", "-i", self.image, f"::{path}", part], timeout=_SECONDS)
        return part.read_bytes()

    def write(self, path: str, data: bytes) -> None:
        part = self.image.with_name("file")
        part.write_bytes(data)
        there = self._all()
        missing = [f"::{above}" for above in _folders(path) if f"{above}/" not in there]
        if missing:
            process.run(["mmd", "-i", self.image, *missing], timeout=_SECONDS)
        process.run(["mcopy", "-o", "-i", self.image, part, f"::{path}"], timeout=_SECONDS)

    def names(self, folder: str) -> list[str]:
        found = (path for path in self._all() if not path.endswith("/"))
        return [path for path in found if str(PurePosixPath(path).parent) == folder]

    def _all(self) -> list[str]:
        """Files, and folders with a slash at the end."""
        listed = process.run(["mdir", "-b", "-/", "-i", self.image, "::/"], timeout=_SECONDS).splitlines()
        return [line.removeprefix("::") for line in listed]


@dataclass(frozen=True)
class _Ext:
    image: Path

    def read(self, path: str) -> bytes:
        part = self.image.with_name("file")
        part.unlink(missing_ok=True)
        said = self._debugfs(f'dump "{path}" "{part}"')
        if not part.exists():
            raise HostError(f"there is no {path} on this partition", said)
        return part.read_bytes()

    def write(self, path: str, data: bytes) -> None:
        part, place = self.image.with_name("new"), PurePosixPath(path)
        part.write_bytes(data)
        makes = (f'mkdir "{above}"' for above in _folders(path))
        # It takes no path for the new file, only a name in the folder where it is.
        orders = (*makes, f'cd "{place.parent}"', f'rm "{place.name}"', f'write "{part}" "{place.name}"')
        said = self._debugfs(*orders, writing=True)
        # Nor does it say by its exit status that it failed.
        if self.read(path) != data:
            raise HostError(f"{path} could not be written", said)

    def names(self, folder: str) -> list[str]:
        listed = self._debugfs(f'ls -p "{folder}"').splitlines()
        entries = (line.split("/") for line in listed if line.startswith("/"))
        return [f"{folder.rstrip('/')}/{entry[5]}" for entry in entries if entry[2].startswith("10")]

    def _debugfs(self, *orders: str, writing: bool = False) -> str:
        script = "".join(f"{order}\n" for order in orders)
        debugfs = command("debugfs") or "debugfs"  # on Debian it is in a folder that only root has on its path
        mode = ["-w"] if writing else []
        return process.run([debugfs, *mode, "-f", "-", self.image], timeout=_SECONDS, stdin=script)


def _folders(path: str) -> list[PurePosixPath]:
    """The folders above a file, the outermost first, without the root."""
    return [*reversed(PurePosixPath(path).parents)][1:]
