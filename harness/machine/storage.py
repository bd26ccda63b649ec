"""Whether the host has room for what a machine writes, and kept it.

An NVMe disk of QEMU hands the error of a write that the host had no room for to the guest, which then cannot mount
what it has opened; a TPM that cannot write its state goes into failure mode, and the log of what it was asked ends.
A verdict on such a boot would be one on the host's disk.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.errors import HostError
from harness.machine.spec import Machine

ROOM = 150_000_000
"""Bytes that are free where a machine writes before it is turned on. An installation writes some 85 MB."""

LEAST = 1_000_000
"""Bytes that are free while it is on, or what it writes is taken to be lost."""


def folders(machine: Machine, runtime: Path) -> frozenset[Path]:
    """Where a machine writes: its disks, its UEFI variables, its TPM, and its logs in a folder of their own."""
    tpm = (machine.tpm.state,) if machine.tpm else ()
    return frozenset(
        {*(path.parent for path in (machine.nvram, *(disk.path for disk in machine.disks), *tpm)), runtime}
    )


def require_room(places: Iterable[Path]) -> None:
    """See that there is room, before the minutes of a boot.

    Raises:
        HostError: There is not.
    """
    if full := _without(places, ROOM):
        raise HostError(
            f"no room to run a machine: {_free(full) / 1e6:.0f} MB are free on the disk of {full}",
            f"{ROOM / 1e6:.0f} MB are needed",
            "free some room, or point TMPDIR and UNLOCK_LAB_RUN at a larger disk",
        )


def lost(places: Iterable[Path], disk_errors: int) -> str | None:
    """Why what a machine wrote may be lost, if it may be.

    Args:
        places: `folders`.
        disk_errors: How many reads and writes of its disks' files failed, as QEMU counts them.
    """
    if full := _without(places, LEAST):
        return f"the host has no room left on the disk of {full}: what the machine and its TPM write is lost"
    if disk_errors:
        return (
            f"the host failed {disk_errors} reads and writes of the machine's disks: is a disk of it full, or broken?"
        )
    return None


def _without(places: Iterable[Path], least: int) -> Path | None:
    return next((place for place in sorted(places) if _free(place) < least), None)


def _free(place: Path) -> int:
    return shutil.disk_usage(place).free
