"""Hypervisors: what the rig asks of whatever runs a virtual machine.

A hypervisor is one module that meets `Hypervisor`: `machine.libvirt_hypervisor` is the one that machines run under, and
`machine.bare_qemu` is QEMU without libvirt, which the bench compares it with. Both make the same hardware of the same
`Machine`, down to the PCI addresses, so that a machine sealed under one opens under the other.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from harness import untrusted
from harness.deadline import Deadline
from harness.files import tail
from harness.machine.domain_xml import Runtime
from harness.machine.spec import Disk, Machine

COMMAND = "qemu-command.txt"
"""The evidence of how QEMU was called, so that it can be pasted."""

QEMU_LOG = "qemu.log"

_LAST_LINES = 10


def end_of_log(path: Path) -> str:
    """The last lines of a log in a folder of the user who runs QEMU, or why it cannot be read."""
    try:
        return tail(untrusted.read(path), _LAST_LINES)
    except OSError as error:
        return f"(a log could not be read: {error})"


def failed_operations(block_stats: Sequence[Mapping[str, Any]]) -> int:
    """What ``query-blockstats`` counts as failed (QEMU's QMP reference, BlockDeviceStats); what was invalid is not."""
    kinds = ("rd", "wr", "flush", "unmap")
    return sum(int(device["stats"].get(f"failed_{kind}_operations", 0)) for device in block_stats for kind in kinds)


def process_of(name: str) -> int | None:
    """The QEMU of a virtual machine, by the name that every hypervisor gives it; None when this user sees none."""
    words = f"guest={name},".encode()
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            if words in command_line.read_bytes():
                return int(command_line.parent.name)
    return None


class Power(StrEnum):
    """What a virtual machine is doing."""

    RUNNING = "running"
    PAUSED = "paused"
    OFF = "off"


@dataclass(frozen=True)
class Ending:
    """How a virtual machine stopped.

    Attributes:
        orderly: Whether the guest or the harness turned it off.
        reason: In a few words.
    """

    orderly: bool
    reason: str


class VirtualMachine(Protocol):
    """A virtual machine that exists. Its CPUs do not run before `resume`, and it is gone once it is off.

    Every call raises `RigError` when it fails or takes too long.

    Attributes:
        released: Set it to leave the machine on at the end of its block.
    """

    released: bool

    @property
    def wake_fd(self) -> int:
        """A file descriptor that poll(2) finds readable once the machine has stopped or paused by itself."""

    @property
    def pid(self) -> int | None:
        """QEMU's process, when it is known."""

    @property
    def ending(self) -> Ending | None:
        """How it stopped, or None while it is on."""

    def power(self) -> tuple[Power, str]:
        """What it is doing, and why."""

    def disk_errors(self) -> int:
        """How many reads and writes of the files of its disks failed so far; 0 once it is off."""

    def wait_off(self, deadline: Deadline) -> bool:
        """Wait until it is off, and say whether it is."""

    def resume(self) -> None:
        """Let the CPUs run."""

    def press_power(self) -> None:
        """Press the power button (ACPI)."""

    def reset(self) -> None:
        """Press the reset button."""

    def dump_memory(self, to: Path) -> None:
        """Write the guest's memory to a file, as an ELF core."""

    def set_link(self, up: bool) -> None:
        """Plug the network cable in, or pull it."""

    def plug(self, disk: Disk) -> None:
        """Put one more virtio disk in; there is a slot for one."""


class Hypervisor(Protocol):
    """Runs virtual machines on this host."""

    def created(
        self, machine: Machine, runtime: Runtime, evidence: Path, *, outlive: bool = False
    ) -> AbstractContextManager[VirtualMachine]:
        """Create a machine whose CPUs do not run yet, and cut its power at the end of the block.

        Args:
            machine: What. Its files are in place, and its TPM listens.
            runtime: Its name, and where its sockets go.
            evidence: The folder for its configuration, qemu.log and qemu-command.txt.
            outlive: Whether it can be `VirtualMachine.released`. Otherwise it ends with this process, even by SIGKILL.

        Raises:
            HostError: The hypervisor is missing, or cannot be reached.
            RigError: The machine could not be created.
        """

    def log_tail(self, runtime: Runtime) -> str:
        """The last lines that QEMU wrote about a machine."""

    def attach_hints(self, runtime: Runtime) -> str:
        """How a person turns a machine off that was left on, and another way to its console than the socket."""
