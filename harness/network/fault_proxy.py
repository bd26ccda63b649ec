"""What stands between guests and a service: it forwards, refuses, drops, stalls, tampers, and records.

Each machine that is on has a socket of its own to the service (`harness.network.namespace`), so the proxy knows which
machine calls and where it stands. Refused and silent are different bugs (a client gives up at once, or hangs), so both
are made of what the kernel really does:

======  ======================================================================================================
OPEN    connections are forwarded
REFUSE  the socket is bound but does not listen: the kernel answers a SYN with RST
DROP    a filter on the listening socket (SO_ATTACH_FILTER, socket(7)) discards every packet: no answer at all
STALL   connections are accepted and never answered
======  ======================================================================================================

Whenever that changes for a machine, its existing connections are cut by RST.
"""

import asyncio
import ctypes
import errno
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from harness.errors import RigError
from harness.network.connection import Client, Connection, Mode
from harness.network.loop import LoopThread
from harness.network.relay import Address, ConnectionRecord, Tamper, forward, reset, stall

_BACKLOG = 64
# asm-generic/socket.h; Python's socket module has no names for them.
_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_MEMINFO = 26, 27, 55
_DROPS = struct.Struct("@32xI")  # linux/sock_diag.h, SK_MEMINFO_DROPS: the ninth number
_HOST_LACKS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_DISCARD = struct.pack("HBBI", 0x06, 0, 0, 0)  # the one instruction BPF_RET | BPF_K: keep 0 bytes of the packet


@dataclass(eq=False)
class _Door:
    """One machine's way in: its socket, and the connections that came through it."""

    client: Client
    site: str
    listener: socket.socket
    treatment: Mode = Mode.REFUSE
    serving: set["asyncio.Task[None]"] = field(default_factory=set)


class FaultProxy:
    """Works from `__enter__` to `__exit__`, refusing everybody (`Mode.REFUSE`) at first.

    Args:
        name: Of the service, in messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = LoopThread(f"the fault proxy of {name}")
        self._stack = ExitStack()
        self._running = False
        self._mode = Mode.REFUSE
        self._sites: frozenset[str] | None = None
        self._elsewhere = Mode.DROP
        self._refused: frozenset[str] = frozenset()
        self._upstream: Address | None = None
        self._tamper: Tamper | None = None
        self._doors: list[_Door] = []
        self._closed_doors_dropped: dict[Client, int] = {}
        self._records: list[ConnectionRecord] = []
        self._errors: list[BaseException] = []
        self._changing = asyncio.Lock()  # a change waits for connections to be cut, and another may come meanwhile

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._loop)
            self._running = True
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is None:
            self._raise_first_error()

    @contextmanager
    def serve(self, listener: socket.socket, client: Client, site: str) -> Iterator[None]:
        """Serve a machine for the length of the block.

        Args:
            listener: Bound, by its number, to the port where the machine finds the service, and not listening. It is
                closed at the end.
            client: The machine.
            site: Where it stands; see `move`.
        """
        self._require_running()
        listener.setblocking(False)
        door = _Door(client, site, listener)
        try:
            self._loop.call(self._open(door))
            yield
        finally:
            self._loop.call(self._shut(door))

    def move(self, client: Client, site: str) -> None:
        """A machine that is on stands elsewhere from now on; what that changes takes effect before this returns."""
        self._require_running()
        self._raise_first_error()
        self._loop.call(self._move(client, site))

    def connect(self, client: Client, site: str) -> socket.socket:
        """A connection such as a machine there makes, for a program on this host.

        Raises:
            ConnectionRefusedError: What such a client meets is not `Mode.OPEN`.
        """
        self._require_running()
        if self._treatment_of(client, site) is not Mode.OPEN:
            raise ConnectionRefusedError(f"{self._name} does not answer {client.machine} at {site}")
        near, far = socket.socketpair()
        far.setblocking(False)
        self._loop.call(self._take(_Door(client, site, far, Mode.OPEN), far))
        return near

    @property
    def mode(self) -> Mode:
        """What is done with a machine that the service answers. A change takes effect before the assignment returns."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._change(mode=mode)

    @property
    def upstream(self) -> Address | None:
        """Host and port that new connections are forwarded to."""
        return self._upstream

    @upstream.setter
    def upstream(self, upstream: Address | None) -> None:
        self._change(upstream=upstream)

    def restrict(self, sites: Iterable[str] | None, elsewhere: Mode = Mode.DROP) -> None:
        """Let machines at these sites through alone, as a firewall before the service would.

        Args:
            sites: Names of places; None lifts the restriction.
            elsewhere: What machines anywhere else meet.
        """
        self._change(sites=None if sites is None else frozenset(sites), elsewhere=elsewhere)

    @property
    def refused(self) -> frozenset[str]:
        """Names of machines that are refused wherever they stand."""
        return self._refused

    @refused.setter
    def refused(self, machines: frozenset[str]) -> None:
        self._change(refused=machines)

    @property
    def tamper(self) -> Tamper | None:
        """A function that is given each whole reply of the service and returns what the guest gets instead."""
        return self._tamper

    @tamper.setter
    def tamper(self, tamper: Tamper | None) -> None:
        self._raise_first_error()
        self._tamper = tamper

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections accepted so far, in order, with all that went over them."""
        self._raise_first_error()
        return tuple(record.frozen() for record in self._records)

    def dropped(self, client: Client | None = None) -> int:
        """How many packets `Mode.DROP` has discarded, of one machine or of all: proof that a client tried.

        The kernel counts them.
        """
        counts = [*self._closed_doors_dropped.items(), *((door.client, _drops(door.listener)) for door in self._doors)]
        return sum(count for whose, count in counts if client in (None, whose))

    def failure(self) -> str | None:
        """What broke, if anything did: what a machine met then is no doing of a scenario."""
        return f"the fault proxy of {self._name} broke: {self._errors[0]}" if self._errors else None

    def _treatment_of(self, client: Client, site: str) -> Mode:
        """What a connection of this machine from there meets now, all considered."""
        if client.machine in self._refused:
            return Mode.REFUSE
        allowed = self._sites is None or site in self._sites
        return self._mode if allowed or self._mode is not Mode.OPEN else self._elsewhere

    def _change(self, **settings: object) -> None:
        self._require_running()
        self._raise_first_error()
        self._loop.call(self._apply(settings))

    async def _apply(self, settings: dict[str, object]) -> None:
        """Runs on the loop, like all that follows."""
        async with self._changing:
            for name, value in settings.items():
                setattr(self, f"_{name}", value)
            for door in self._doors:
                await self._treat(door, self._treatment_of(door.client, door.site))

    async def _open(self, door: _Door) -> None:
        async with self._changing:
            self._doors.append(door)
            await self._treat(door, self._treatment_of(door.client, door.site))

    async def _move(self, client: Client, site: str) -> None:
        async with self._changing:
            for door in self._doors:
                if door.client == client:
                    door.site = site
                    await self._treat(door, self._treatment_of(client, site))

    async def _shut(self, door: _Door) -> None:
        async with self._changing:
            await self._treat(door, Mode.REFUSE)
            self._doors.remove(door)
            before = self._closed_doors_dropped.get(door.client, 0)
            self._closed_doors_dropped[door.client] = before + _drops(door.listener)
            door.listener.close()

    async def _treat(self, door: _Door, now: Mode) -> None:
        """First the door, then the connections that came through it."""
        if now is door.treatment:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(door.listener)
        waiting = _waiting(door) if door.treatment in (Mode.OPEN, Mode.STALL) else ()
        if now is Mode.REFUSE:
            # Linux ends the listening, and keeps the binding of a socket that was bound to a port by its number
            # (net/ipv4/tcp.c, tcp_disconnect; SOCK_BINDPORT_LOCK): so it can listen again.
            door.listener.shutdown(socket.SHUT_RDWR)
        else:
            _filter(door.listener, discard=now is Mode.DROP)
            door.listener.listen(_BACKLOG)
        door.treatment = now
        for guest in waiting:
            reset(guest)
        for task in door.serving:
            task.cancel()
        if door.serving:
            await asyncio.wait(door.serving)
        if now in (Mode.OPEN, Mode.STALL):
            loop.add_reader(door.listener, self._accept, door)

    def _accept(self, door: _Door) -> None:
        try:
            guest, _ = door.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it has gone again
        except OSError as error:
            asyncio.get_running_loop().remove_reader(door.listener)
            self._errors.append(error)
            return
        guest.setblocking(False)
        self._begin(door, guest)

    async def _take(self, door: _Door, guest: socket.socket) -> None:
        self._begin(door, guest)

    def _begin(self, door: _Door, guest: socket.socket) -> None:
        task = asyncio.create_task(self._serve(door, guest))
        door.serving.add(task)
        task.add_done_callback(partial(_served, door, guest))

    async def _serve(self, door: _Door, guest: socket.socket) -> None:
        record = ConnectionRecord(door.client, door.site, door.treatment)
        self._records.append(record)
        try:
            if door.treatment is Mode.STALL:
                await stall(guest, record)
            else:
                await forward(guest, self._upstream, record, lambda: self._tamper)
            guest.close()
        except OSError as error:
            # Else a side broke the connection, as machines do that are switched off: it is in the record.
            if error.errno in _HOST_LACKS:
                self._errors.append(error)
        except Exception as error:
            self._errors.append(error)  # before the guest can notice, so that whoever saw that finds this
        finally:
            record.closed = time.time()

    def _end(self) -> None:
        self._running = False

    def _require_running(self) -> None:
        if not self._running:
            raise RigError(f"the fault proxy of {self._name} is not running", hint="enter its context first")

    def _raise_first_error(self) -> None:
        if failure := self.failure():
            raise RigError(failure) from self._errors[0]


def _served(door: _Door, guest: socket.socket, task: "asyncio.Task[None]") -> None:
    """Not part of the task, which may be cancelled before it begins."""
    door.serving.remove(task)
    reset(guest)


def _waiting(door: _Door) -> list[socket.socket]:
    """Connections that the kernel made and that nobody has accepted yet."""
    found = []
    with suppress(BlockingIOError):
        while True:
            with suppress(ConnectionAbortedError):
                found.append(door.listener.accept()[0])
    return found


def _filter(listener: socket.socket, *, discard: bool) -> None:
    """Let the kernel discard whatever comes to this socket, or no more."""
    if discard:
        program = ctypes.create_string_buffer(_DISCARD)
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))
    else:
        with suppress(FileNotFoundError):  # there was none
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _drops(listener: socket.socket) -> int:
    return int(_DROPS.unpack(listener.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _DROPS.size))[0])
