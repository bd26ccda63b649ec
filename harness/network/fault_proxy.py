"""What stands between a guest and Tang: it forwards, refuses, drops, stalls, tampers, and records.

The guest's user network leads 10.0.2.2:PORT to 127.0.0.1:PORT of the host, where the proxy listens; it forwards to
Tang's container. Refused and silent are different bugs (a client gives up at once, or hangs), so both are made of what
the kernel really does:

======  ======================================================================================================
OPEN    connections are forwarded
REFUSE  the socket is bound but does not listen: the kernel answers a SYN with RST
DROP    a filter on the listening socket (SO_ATTACH_FILTER, socket(7)) discards every packet: no answer at all
STALL   connections are accepted and never answered
======  ======================================================================================================

Whenever that changes, existing connections are cut by RST.
"""

import asyncio
import ctypes
import socket
import struct
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Self

from harness.errors import RigError
from harness.network.lease import LEASE_SECONDS, bind, leased_port
from harness.network.loop import LoopThread
from harness.network.relay import Address, Connection, ConnectionRecord, Mode, Tamper, forward, reset, stall
from harness.progress import Progress

HOME = "home"
"""Where a machine is unless it was carried off."""

_BACKLOG = 64
# asm-generic/socket.h and linux/sock_diag.h; Python's socket module has no names for them.
_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_MEMINFO, _MEMINFO_DROPS = 26, 27, 55, 8
_DISCARD = struct.pack("HBBI", 0x06, 0, 0, 0)  # the one instruction BPF_RET | BPF_K: keep 0 bytes of the packet


class FaultProxy:
    """Holds a port from `__enter__` to `__exit__`, closed (`Mode.REFUSE`) at first.

    Args:
        port: On 127.0.0.1; None takes a free one.
        name: For whom, in messages and for other processes that wait for the same port.
        progress: Says when we wait for the port.
        wait: Seconds to wait for another process that holds it.
    """

    def __init__(self, port: int | None, name: str, progress: Progress, wait: float = LEASE_SECONDS) -> None:
        self._wanted = port
        self._name = name
        self._progress = progress
        self._wait = wait
        self._loop = LoopThread(f"the fault proxy of {name}")
        self._stack = ExitStack()
        self._listener: socket.socket | None = None
        self._port = port or 0
        self._dropped = 0
        self._mode = Mode.REFUSE
        self._site = HOME
        self._sites: frozenset[str] | None = None
        self._elsewhere = Mode.DROP
        self._upstream: Address | None = None
        self._tamper: Tamper | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._records: list[ConnectionRecord] = []
        self._errors: list[BaseException] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._port = stack.enter_context(leased_port(self._wanted, self._name, self._progress, self._wait))
            self._listener = bind(self._port)
            stack.callback(self._close)
            stack.enter_context(self._loop)
            stack.callback(lambda: self._loop.call(self._apply({"mode": Mode.REFUSE})))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is None:
            self._raise_first_error()

    @property
    def port(self) -> int:
        """The port that it holds on 127.0.0.1."""
        return self._port

    @property
    def mode(self) -> Mode:
        """What is done with a machine that may talk to Tang. A change takes effect before the assignment returns."""
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

    @property
    def site(self) -> str:
        """Where the machine is that uses this fault proxy now."""
        return self._site

    @site.setter
    def site(self, site: str) -> None:
        self._change(site=site)

    def restrict(self, sites: Iterable[str] | None, elsewhere: Mode = Mode.DROP) -> None:
        """Let machines at these sites through alone, as a firewall before Tang would.

        Args:
            sites: Names of places; None lifts the restriction.
            elsewhere: What machines anywhere else meet.
        """
        self._change(sites=None if sites is None else frozenset(sites), elsewhere=elsewhere)

    @property
    def tamper(self) -> Tamper | None:
        """A function that is given each whole reply of Tang and returns what the guest gets instead."""
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

    @property
    def dropped(self) -> int:
        """How many packets `Mode.DROP` has discarded: proof that someone knocked. The kernel counts them."""
        return self._dropped + (_drops(self._listener) if self._listener is not None else 0)

    def _treatment(self) -> Mode:
        """What a connection meets now, all considered."""
        allowed = self._sites is None or self._site in self._sites
        return self._mode if allowed or self._mode is not Mode.OPEN else self._elsewhere

    def _change(self, **settings: object) -> None:
        if self._listener is None:
            raise RigError(f"the fault proxy of {self._name} is not in place", hint="enter its context first")
        self._raise_first_error()
        self._loop.call(self._apply(settings))

    async def _apply(self, settings: dict[str, object]) -> None:
        """Runs on the loop, like all that follows: first the door, then those who are inside."""
        before = self._treatment()
        for name, value in settings.items():
            setattr(self, f"_{name}", value)
        now = self._treatment()
        if now is before:
            return
        loop = asyncio.get_running_loop()
        assert self._listener is not None
        loop.remove_reader(self._listener)
        self._prepare(now)
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        if now in (Mode.OPEN, Mode.STALL):
            loop.add_reader(self._listener, self._accept, self._listener, now)

    def _prepare(self, now: Mode) -> None:
        assert self._listener is not None
        if now is Mode.REFUSE:
            # A socket that has listened cannot reliably be made to listen again, so it gives way to a new one.
            self._close()
            self._listener = bind(self._port)
        else:
            _filter(self._listener, discard=now is Mode.DROP)
            self._listener.listen(_BACKLOG)

    def _accept(self, listener: socket.socket, mode: Mode) -> None:
        try:
            guest, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it has gone again
        except OSError as error:
            asyncio.get_running_loop().remove_reader(listener)
            self._errors.append(error)
            return
        guest.setblocking(False)
        task = asyncio.create_task(self._serve(guest, mode))
        self._serving.add(task)
        task.add_done_callback(partial(self._served, guest))

    async def _serve(self, guest: socket.socket, mode: Mode) -> None:
        record = ConnectionRecord(self._site, mode)
        self._records.append(record)
        try:
            if mode is Mode.STALL:
                await stall(guest, record)
            else:
                await forward(guest, self._upstream, record, lambda: self._tamper)
            guest.close()
        except OSError:
            pass  # a side broke the connection, as machines do that are switched off: it is in the record
        except Exception as error:
            self._errors.append(error)  # before the guest can notice, so that whoever saw that finds this
        finally:
            record.closed = time.time()

    def _served(self, guest: socket.socket, task: asyncio.Task[None]) -> None:
        """Not part of the task, which may be cancelled before it begins."""
        self._serving.discard(task)
        reset(guest)

    def _close(self) -> None:
        if self._listener is not None:
            self._dropped += _drops(self._listener)
            self._listener.close()
            self._listener = None

    def _raise_first_error(self) -> None:
        if self._errors:
            first = self._errors[0]
            raise RigError(f"the fault proxy of {self._name} broke: {first}") from first


def _filter(listener: socket.socket, *, discard: bool) -> None:
    """Let the kernel discard whatever comes to this socket, or no more."""
    if discard:
        program = ctypes.create_string_buffer(_DISCARD)
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))
    else:
        with suppress(FileNotFoundError):  # there was none
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _drops(listener: socket.socket) -> int:
    values = listener.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
    return int.from_bytes(values[4 * _MEMINFO_DROPS :], sys.byteorder)
