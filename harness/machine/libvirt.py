"""libvirt, with a deadline on every call. The only module that imports it.

A call runs in a thread of its own, which is left behind when it is late: libvirt has no time limits, and creating a
domain has been seen to block for minutes on a busy swtpm.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import libvirt
import libvirt_qemu

from harness.deadline import Deadline
from harness.errors import HostError, RigError
from harness.host.session import Host
from harness.machine.domain_xml import hot_disk_xml, interface_xml
from harness.machine.hypervisor import Ending, Power, failed_operations, process_of
from harness.machine.spec import Disk
from harness.paths import DOCTOR

_CALL_SECONDS = 20.0
_CONNECT_SECONDS = 30.0
_CREATE_SECONDS = 60.0  # the first one makes libvirt probe every emulator, 4 s each in emulation
_DUMP_SECONDS = 120.0
_EVENT_SECONDS = 5.0

T = TypeVar("T")


_ENDINGS = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: Ending(True, "the guest turned itself off"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: Ending(True, "destroyed"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: Ending(False, "crashed"),
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: Ending(False, "QEMU ended by itself"),
}


class Domain:
    """A transient domain: it is gone when it is off.

    Attributes:
        name: Unique in its libvirt.
        wake_fd: A file descriptor (eventfd(2)) that poll(2) finds readable once the domain has stopped or paused.
        released: Set it to leave the domain on at the end of its block.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.released = False
        self._handle: Any = None
        self._ran = False
        self._off = threading.Event()
        self._ending: Ending | None = None
        self._wake_lock = threading.Lock()
        self._closed = False

    def create(self, connection: Any, xml: str, flags: int) -> None:
        """Make it, with its CPUs stopped."""
        self._handle = _bounded(
            "create the machine",
            lambda: connection.createXML(xml, flags | libvirt.VIR_DOMAIN_START_PAUSED),
            seconds=_CREATE_SECONDS,
        )

    def noticed(self, event: int, detail: int) -> None:
        """Take in a lifecycle event (in libvirt's event thread)."""
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            self._ending = _ENDINGS.get(detail, Ending(False, f"stopped for an unknown reason ({detail})"))
            self._off.set()
        if event == libvirt.VIR_DOMAIN_EVENT_RESUMED:
            self._ran = True
        # It is created paused, which is not something to wake anybody for.
        paused = event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED and self._ran
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED or paused:
            with self._wake_lock:
                if not self._closed:
                    os.eventfd_write(self.wake_fd, 1)

    @property
    def pid(self) -> int | None:
        """QEMU's process; None when this user may not see it."""
        return process_of(self.name)

    @property
    def ending(self) -> Ending | None:
        """How it stopped, or None while it is on."""
        return self._ending

    def wait_off(self, deadline: Deadline) -> bool:
        """Wait until it is off, and say whether it is."""
        while not self._off.wait(deadline.remaining):
            if deadline.over:
                return False
        return True

    def power(self) -> tuple[Power, str]:
        """What it does, and why."""
        try:
            state, reason = _bounded("tell the state of the machine", self._handle.state)
        except RigError as error:
            if _code(error) == libvirt.VIR_ERR_NO_DOMAIN:
                return Power.OFF, self._ending.reason if self._ending else "gone"
            raise
        match state:
            case libvirt.VIR_DOMAIN_RUNNING | libvirt.VIR_DOMAIN_BLOCKED | libvirt.VIR_DOMAIN_SHUTDOWN:
                return Power.RUNNING, ""
            case libvirt.VIR_DOMAIN_PAUSED:
                return Power.PAUSED, _PAUSED.get(reason, f"reason {reason}")
            case _:
                return Power.OFF, self._ending.reason if self._ending else f"state {state}"

    def disk_errors(self) -> int:
        """How many reads and writes of the files of its disks failed so far; 0 once it is off.

        libvirt's own statistics of disks leave that out (virDomainBlockStatsFlags, QEMU).
        """
        asked = json.dumps({"execute": "query-blockstats"})
        try:
            said = _bounded(
                "tell what became of the disks", lambda: libvirt_qemu.qemuMonitorCommand(self._handle, asked, 0)
            )
        except RigError as error:
            if _code(error) in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                return 0
            raise
        return failed_operations(json.loads(said)["return"])

    def resume(self) -> None:
        """Let the CPUs run."""
        _bounded("start the CPUs", self._handle.resume)

    def press_power(self) -> None:
        """Press the power button (ACPI)."""
        _bounded(
            "press the power button", lambda: self._handle.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        )

    def reset(self) -> None:
        """Press the reset button."""
        _bounded("reset the machine", lambda: self._handle.reset(0))

    def dump_memory(self, to: Path) -> None:
        """Have libvirt write the guest's memory into a file, as an ELF core; its user must be able to make that file.

        QMP's dump-guest-memory would do the same, and was seen to kill libvirtd when sent through it.
        """
        how = libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_RAW, libvirt.VIR_DUMP_MEMORY_ONLY
        _bounded(
            "dump the memory of the machine",
            lambda: self._handle.coreDumpWithFormat(str(to), *how),
            seconds=_DUMP_SECONDS,
        )

    def set_link(self, up: bool) -> None:
        """Plug the network cable in, or pull it."""
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
        _bounded("change the network link", lambda: self._handle.updateDeviceFlags(interface_xml(up), flags))

    def plug(self, disk: Disk) -> None:
        """Put one more virtio disk in; there is a slot for one."""
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
        _bounded("plug the disk in", lambda: self._handle.attachDeviceFlags(hot_disk_xml(disk), flags))

    def destroy(self) -> None:
        """Cut the power; nothing to do when it is off."""
        if self._handle is None or self._ending:
            return
        try:
            _bounded("turn the machine off", self._handle.destroy)
        except RigError as error:
            if _code(error) not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                raise
        self._off.wait(_EVENT_SECONDS)  # the event may come after the call has returned

    def close(self) -> None:
        """Give the wake_fd back."""
        with self._wake_lock:
            self._closed = True
            os.close(self.wake_fd)


_PAUSED = {
    libvirt.VIR_DOMAIN_PAUSED_UNKNOWN: "internal error",
    libvirt.VIR_DOMAIN_PAUSED_USER: "paused by a person",
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: "disk I/O error",
    libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: "watchdog",
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: "the guest panicked",
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: "starting up",
}


@contextmanager
def created_domain(host: Host, name: str, xml: str, *, outlive: bool = False) -> Iterator[Domain]:
    """Create a domain whose CPUs do not run yet, and destroy it at the end of the block.

    Args:
        host: Where.
        name: As in the XML.
        xml: What.
        outlive: Whether it can be `released`. Otherwise libvirt destroys it when this process dies, even by SIGKILL
            (VIR_DOMAIN_START_AUTODESTROY).

    Raises:
        HostError: libvirt cannot be reached.
        RigError: The domain could not be created, or a call took too long.
    """
    flags = 0 if outlive else libvirt.VIR_DOMAIN_START_AUTODESTROY
    with _connection(host) as connection, closing(Domain(name)) as domain:

        def noticed(_connection: Any, handle: Any, event: int, detail: int, _opaque: Any) -> None:
            if handle.name() == name:
                domain.noticed(event, detail)

        lifecycle = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        watch = _bounded("watch machines", lambda: connection.domainEventRegisterAny(None, lifecycle, noticed, None))
        try:
            domain.create(connection, xml, flags)
            yield domain
        finally:
            if not domain.released:
                domain.destroy()
            _bounded("stop watching machines", lambda: connection.domainEventDeregisterAny(watch))


@contextmanager
def _connection(host: Host) -> Iterator[Any]:
    _start_events()
    connection = _connect(host)
    try:
        yield connection
    finally:
        _bounded("hang up", connection.close)


def _connect(host: Host) -> Any:
    for attempt in (1, 2):
        if host.session:
            host.session.wake()
        try:
            return _bounded(
                f"connect to {host.libvirt_uri}", lambda: libvirt.open(host.libvirt_uri), seconds=_CONNECT_SECONDS
            )
        except RigError as error:
            # An idle session daemon may end between being found awake and being connected to.
            if attempt == 2 or host.session is None:
                raise HostError(
                    f"cannot reach libvirt at {host.libvirt_uri}",
                    str(error),
                    f"{DOCTOR} says what is missing",
                ) from error
    raise AssertionError("unreachable")


@cache
def _start_events() -> None:
    """Run libvirt's event loop in a thread, once a process and before the first connection, as libvirt wants it."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else it prints what it also raises
    libvirt.virEventRegisterDefaultImpl()

    def loop() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=loop, name="libvirt-events", daemon=True).start()


def _bounded(what: str, call: Callable[[], T], *, seconds: float = _CALL_SECONDS) -> T:
    """Call libvirt, for at most so many seconds.

    Raises:
        RigError: It failed, or it is late.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # to be raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=work, name=f"libvirt: {what}", daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError as error:
        raise RigError(f"libvirt did not {what} within {seconds:.0f} s") from error
    except libvirt.libvirtError as error:
        raise RigError(f"libvirt could not {what}", str(error)) from error


def _code(error: RigError) -> int | None:
    cause = error.__cause__
    return cause.get_error_code() if isinstance(cause, libvirt.libvirtError) else None
