"""Whether the host has room for what a machine writes, and kept it.

An NVMe disk of QEMU hands the error of a write that the host had no room for to the guest, which then cannot mount
what it has opened; a TPM that cannot write its state goes into failure mode, and the log of what it was asked ends.
A verdict on such a boot would be one on the host's disk.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.errors import HostError
from harness.machine.spec import Machine

FOR_DISKS = 150_000_000
"""Bytes that are free for a machine's disks before it is turned on. An installation writes some 85 MB."""

FOR_LOGS = 10_000_000
"""Bytes that are free for its UEFI variables, its TPM and its logs."""

LEAST = 1_000_000
"""Bytes that are free while it is on, or what it writes is taken to be lost."""


def needs(machine: Machine, runtime: Path) -> Mapping[Path, int]:
    """The folders that a machine writes to, one of them with its logs, and the bytes that are to be free in each."""
    others = (machine.nvram, *((machine.tpm.state,) if machine.tpm else ()))
    return {
        **dict.fromkeys((runtime, *(path.parent for path in others)), FOR_LOGS),
        **dict.fromkeys((disk.path.parent for disk in machine.disks), FOR_DISKS),
    }


def require_room(places: Mapping[Path, int]) -> None:
    """See that there is room, before the minutes of a boot.

    Raises:
        HostError: There is not.
    """
    for place, needed in places.items():
        if _free(place) < needed:
            raise HostError(
                f"no room to run a machine: {_free(place) / 1e6:.0f} MB are free on the disk of {place}",
                f"{needed / 1e6:.0f} MB are needed",
                "free some room, or point TMPDIR and UNLOCK_LAB_RUN at a larger disk",
            )


def lost(places: Iterable[Path], disk_errors: int) -> str | None:
    """Why what a machine wrote may be lost, if it may be.

    Args:
        places: The folders that it writes to.
        disk_errors: How many reads and writes of its disks' files failed, as QEMU counts them.
    """
    if full := next((place for place in places if _free(place) < LEAST), None):
        return f"the host has no room left on the disk of {full}: what the machine and its TPM write is lost"
    if disk_errors:
        return (
            f"the host failed {disk_errors} reads and writes of the machine's disks: is a disk of it full, or broken?"
        )
    return None


def _free(place: Path) -> int:
    return shutil.disk_usage(place).free
