"""QEMU without libvirt: started here with `qemu_command`, and told by QMP what to do.

It needs no daemon. QEMU ends with the thread that started it, even when that is killed (prctl(2), PR_SET_PDEATHSIG),
unless the machine may outlive it.
"""

import asyncio
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import EventListener, Message, QMPClient, QMPError, Runstate

from harness import untrusted
from harness.deadline import Deadline
from harness.errors import RigError
from harness.host.session import Host
from harness.host.user import as_user, bound_to_caller
from harness.machine.domain_xml import Runtime
from harness.machine.hypervisor import COMMAND, QEMU_LOG, Ending, Power, end_of_log, failed_operations
from harness.machine.qemu_command import NETWORK_CARD, block_device, hot_plug_port, pid_file, qemu_command
from harness.machine.spec import Disk, Machine
from harness.network.loop import LoopThread

T = TypeVar("T")

_CALL_SECONDS = 20.0
_DUMP_SECONDS = 120.0
_EXIT_SECONDS = 10.0

_RUNNING = ("running", "shutdown")
_OFF_BY_GUEST = "guest-shutdown"
"""QAPI schema, run-state.json: RunState, and ShutdownCause."""

_HOT_DISK = "hot-disk"


class QemuMachine:
    """A QEMU process, and what it says by QMP.

    Args:
        machine: What it was started for.
        running: The process.
        loop: Where its monitor is read.
        wake_fd: An eventfd(2).

    Attributes:
        wake_fd: poll(2) finds it readable once QEMU has ended or stopped its CPUs.
        released: Set it to leave QEMU on at the end of its block.
    """

    def __init__(self, machine: Machine, running: "subprocess.Popen[bytes]", loop: LoopThread, wake_fd: int) -> None:
        self.wake_fd = wake_fd
        self.released = False
        self._machine = machine
        self._process = running
        self._loop = loop
        self._client = QMPClient("bare QEMU")
        self._events = EventListener()
        self._following: object = None
        self._ran = False
        self._shutdown_reason = ""
        self._destroyed = False
        self._ending: Ending | None = None
        self._off = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="QEMU watcher", daemon=True)

    def connect(self, monitor: socket.socket) -> None:
        """Wait until QEMU answers, which it does once it has made the machine; then follow its events."""
        self._watcher.start()
        self._client.register_listener(self._events)
        self._call("create the machine", self._client.connect(monitor))
        self._following = self._call("be followed", self._follow())
        if not self._machine.link_up:
            self.set_link(False)

    @property
    def pid(self) -> int:
        """QEMU's process, which setpriv(1) became."""
        return self._process.pid

    @property
    def ending(self) -> Ending | None:
        """How it stopped, or None while it is on."""
        return self._ending

    def power(self) -> tuple[Power, str]:
        """What it is doing, and why."""
        try:
            status = self._do("tell the state of the machine", "query-status")["status"]
        except RigError:
            if self._off.wait(_EXIT_SECONDS) and self._ending:
                return Power.OFF, self._ending.reason
            raise
        return (Power.RUNNING, "") if status in _RUNNING else (Power.PAUSED, str(status))

    def disk_errors(self) -> int:
        """How many reads and writes of the files of its disks failed so far; 0 once it is off."""
        try:
            return failed_operations(self._do("tell what became of the disks", "query-blockstats"))
        except RigError:
            if self._off.wait(_EXIT_SECONDS):
                return 0
            raise

    def wait_off(self, deadline: Deadline) -> bool:
        """Wait until it is off, and say whether it is."""
        while not self._off.wait(deadline.remaining):
            if deadline.over:
                return False
        return True

    def resume(self) -> None:
        """Let the CPUs run."""
        self._do("start the CPUs", "cont")
        self._ran = True

    def press_power(self) -> None:
        """Press the power button (ACPI)."""
        self._do("press the power button", "system_powerdown")

    def reset(self) -> None:
        """Press the reset button."""
        self._do("reset the machine", "system_reset")

    def dump_memory(self, to: Path) -> None:
        """Write the guest's memory to a file, as an ELF core."""
        where = {"paging": False, "protocol": f"file:{to}"}
        self._do("dump the memory of the machine", "dump-guest-memory", where, _DUMP_SECONDS)

    def set_link(self, up: bool) -> None:
        """Plug the network cable in, or pull it."""
        self._do("change the network link", "set_link", {"name": NETWORK_CARD, "up": up})

    def plug(self, disk: Disk) -> None:
        """Put one more virtio disk in; there is a slot for one."""
        self._do("plug the disk in", "blockdev-add", block_device(disk, _HOT_DISK))
        device = {"driver": "virtio-blk-pci", "drive": _HOT_DISK, "serial": disk.serial, "id": _HOT_DISK}
        self._do("plug the disk in", "device_add", {**device, "bus": hot_plug_port(self._machine)})

    def destroy(self) -> None:
        """Cut the power; nothing to do when it is off."""
        self._destroyed = True
        self._process.terminate()  # not SIGKILL: what QEMU still holds of a disk image's tables must reach the file
        if not self._off.wait(_EXIT_SECONDS):
            self._process.kill()
            self._off.wait(_EXIT_SECONDS)

    def close(self) -> None:
        """Let go of the monitor."""
        with suppress(RigError):
            self._call("hang up", self._client.disconnect())
        if self.released:
            self._process.returncode = 0  # disowned: subprocess warns about a child that goes on
        else:
            self._watcher.join()

    def _do(
        self, what: str, command: str, arguments: dict[str, object] | None = None, seconds: float = _CALL_SECONDS
    ) -> Any:
        return self._call(what, self._client.execute(command, arguments), seconds)

    def _call(self, what: str, work: Coroutine[Any, Any, T], seconds: float = _CALL_SECONDS) -> T:
        try:
            return self._loop.call(work, seconds)
        except (QMPError, EOFError, OSError) as error:
            raise RigError(f"QEMU could not {what}", f"{type(error).__name__}: {error}") from error

    async def _follow(self) -> object:
        async def follow() -> None:
            async for event in self._events:
                self._noticed(event)

        return asyncio.create_task(follow())

    def _noticed(self, event: Message) -> None:
        match event["event"]:
            case "SHUTDOWN":
                about: Any = event["data"]
                self._shutdown_reason = about["reason"]
            case "STOP" if self._ran:
                os.eventfd_write(self.wake_fd, 1)

    async def _last_events(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        for event in self._events.clear():
            self._noticed(event)

    def _watch(self) -> None:
        """Wait for QEMU's end, in a thread of its own."""
        status = self._process.wait()
        if self.released:
            return
        with suppress(RigError):  # its monitor hangs; that it has ended is certain all the same
            self._loop.call(self._last_events())
        if self._destroyed:
            self._ending = Ending(True, "destroyed")
        elif status == 0 and self._shutdown_reason == _OFF_BY_GUEST:
            self._ending = Ending(True, "the guest turned itself off")
        else:
            self._ending = Ending(False, f"QEMU ended with status {status}")
        self._off.set()
        os.eventfd_write(self.wake_fd, 1)


class BareQemu:
    """The hypervisor that is a QEMU process and nothing else.

    Args:
        host: Whose QEMU and accelerator it takes, and as which user.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    @contextmanager
    def created(
        self, machine: Machine, runtime: Runtime, evidence: Path, *, outlive: bool = False
    ) -> Iterator[QemuMachine]:
        """Create a machine whose CPUs do not run yet; see `Hypervisor.created`."""
        ours, its = socket.socketpair()
        with _eventfd() as wake_fd, LoopThread("QEMU's monitor") as loop, ours, its, _log(runtime).open("xb") as log:
            command = qemu_command(machine, runtime, its.fileno())
            (evidence / COMMAND).write_text(shlex.join(command) + "\n")
            running = subprocess.Popen(
                [*(as_user if outlive else bound_to_caller)(self._host.user), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[its.fileno()],
                env={**os.environ, **runtime.environment},
                start_new_session=True,  # Ctrl-C is for the harness, which then turns the machine off in order
            )
            its.close()
            with closing(QemuMachine(machine, running, loop, wake_fd)) as made:
                try:
                    self._connect(made, ours, runtime)
                    yield made
                finally:
                    if not made.released:
                        made.destroy()
                    untrusted.copy(_log(runtime), evidence / QEMU_LOG)

    def _connect(self, made: QemuMachine, monitor: socket.socket, runtime: Runtime) -> None:
        try:
            made.connect(monitor)
        except RigError as error:
            raise RigError(error.what, f"{error.detail}\n{self.log_tail(runtime)}") from error

    def log_tail(self, runtime: Runtime) -> str:
        """The last lines that QEMU wrote."""
        return end_of_log(_log(runtime))

    def attach_hints(self, runtime: Runtime) -> str:
        """How a person turns a machine off that was left on; see `Hypervisor.attach_hints`."""
        return f"clean up: kill $(cat {pid_file(runtime)})"


@contextmanager
def _eventfd() -> Iterator[int]:
    """A file descriptor that outlives whoever writes to it."""
    opened = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        yield opened
    finally:
        os.close(opened)


def _log(runtime: Runtime) -> Path:
    return runtime.folder / QEMU_LOG
