"""An Ethernet segment: what one of the machines on it sends, the others hear, and nothing else does.

Each machine has a card on it (`spec.SegmentCard`), beside the one on the network of its own::

    with Segment(folder, host.user) as segment:
        …turn machines on that have `SegmentCard(segment.path, mac)`…

QEMU connects to the segment's UNIX socket (qemu(1), ``-netdev stream``) and sends each frame after its length, 32 bits,
big-endian (QEMU, net/stream.c). A machine that does not read loses frames, as it would at a switch; it holds up nobody.
"""

import asyncio
import socket
import struct
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.host.user import chown_to
from harness.network.loop import LoopThread
from harness.network.stream import readable

_LENGTH = struct.Struct(">I")
_MOST_WAITING = 512  # frames, for a machine that does not read
_BACKLOG = 16


class Segment:
    """Works from `__enter__` to `__exit__`, which cuts every machine off.

    Args:
        folder: For its socket: short, and open to the user that runs the machines.
        user: Who runs them; the caller when None.
    """

    def __init__(self, folder: Path, user: str | None) -> None:
        self.path = folder / "segment.sock"
        self._user = user
        self._waiting: dict[socket.socket, asyncio.Queue[bytes]] = {}
        self._frames: list[bytes] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.setblocking(False)
            listener.bind(str(self.path))
            stack.callback(self.path.unlink)
            listener.listen(_BACKLOG)
            chown_to(self.path, self._user)
            stack.enter_context(LoopThread("segment")).start(self._serve(listener))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def frames(self) -> tuple[bytes, ...]:
        """All that was sent on it so far, from the destination's address on (IEEE 802.3, 3.1.1)."""
        return tuple(self._frames)

    async def _serve(self, listener: socket.socket) -> None:
        # A task may be cancelled before it begins, so what it is to close is closed here.
        with ExitStack() as stack:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await readable(listener)  # sock_accept would lose a connection that is cancelled as it is made
                    machine = stack.enter_context(listener.accept()[0])
                    machine.setblocking(False)
                    tasks.create_task(self._connect(machine, tasks))

    async def _connect(self, machine: socket.socket, tasks: asyncio.TaskGroup) -> None:
        waiting = self._waiting[machine] = asyncio.Queue(_MOST_WAITING)
        telling = tasks.create_task(_tell(machine, waiting))
        with machine:
            try:
                with suppress(OSError):  # it was turned off
                    while frame := await next_frame(machine):
                        self._pass_on(frame, machine)
            finally:
                del self._waiting[machine]
                telling.cancel()

    def _pass_on(self, frame: bytes, sender: socket.socket) -> None:
        self._frames.append(frame)
        for machine, waiting in self._waiting.items():
            if machine is not sender and not waiting.full():
                waiting.put_nowait(frame)


async def _tell(machine: socket.socket, waiting: "asyncio.Queue[bytes]") -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # it was turned off
        while True:
            frame = await waiting.get()
            await loop.sock_sendall(machine, _LENGTH.pack(len(frame)) + frame)


async def next_frame(machine: socket.socket) -> bytes:
    """The next frame of a machine; empty at its end."""
    head = await _exactly(machine, _LENGTH.size)
    return await _exactly(machine, _LENGTH.unpack(head)[0]) if head else b""


async def _exactly(machine: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    found = b""
    while len(found) < size:
        data = await loop.sock_recv(machine, size - len(found))
        if not data:
            return b""
        found += data
    return found
