"""Takes what QEMU's consoles say as fast as they say it, so that no word is lost on a busy host.

QEMU does not wait for whoever reads a console. A serial port gives up after some tries (hw/char/serial.c). A virtio
console drops what comes while the socket is full (hw/char/virtio-console.c, flush_buf, "silently dropping console
data"), and 278 lines of a journal fill one, since each takes some 800 bytes of it however short it is. Only the log
file that QEMU writes itself has all of them. So the journal is read there, and its socket says only when QEMU ends.

A serial console comes byte by byte. What came within `GATHER_SECONDS` is handed on at once: a reader that looks at each
byte by itself takes seconds of the processor that the machine would have.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from harness.network.loop import LoopThread
from harness.network.stream import CHUNK, copy, hang_up

GATHER_SECONDS = 0.02
"""How long the first byte that was said may wait for the next."""


@dataclass(frozen=True)
class Pump:
    """A pump at work.

    Attributes:
        end: Says what the source says, and takes what it is to be told, however slowly it is read. It ends when the
            source does, and when the pump breaks.
        failure: Why the pump broke, if it did.
    """

    end: socket.socket
    failure: Callable[[], str | None]


@contextmanager
def pumped(source: socket.socket, log: BinaryIO | None = None) -> Iterator[Pump]:
    """Pump what a console says, for the length of the block.

    Args:
        source: A connection to QEMU. It belongs to the pump, and is hung up at the end of the block.
        log: QEMU's log file of the same console, open for as long as the block lasts: what it gets is handed on
            instead, until the source ends.

    Raises:
        RigError: At the end of the block: the pump broke.
    """
    near, far = socket.socketpair()
    source.setblocking(False)
    far.setblocking(False)
    with near, far, ExitStack() as stack:
        stack.callback(hang_up, source)
        loop = stack.enter_context(LoopThread("console pump"))
        said: asyncio.Queue[bytes] = asyncio.Queue()
        taken = _take(source, said) if log is None else _follow(source, log, said)
        for work in (taken, _give(said, far), _tell(far, source)):
            loop.start(_or_hang_up(work, far))
        yield Pump(near, loop.failure)


async def _or_hang_up(work: Coroutine[Any, Any, None], far: socket.socket) -> None:
    """Do it; a reader must not wait for what a pump that broke will not say."""
    try:
        await work
    except Exception:
        hang_up(far)
        raise


async def _take(source: socket.socket, said: "asyncio.Queue[bytes]") -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # QEMU died
        while data := await loop.sock_recv(source, CHUNK):
            said.put_nowait(data)
    said.put_nowait(b"")


async def _follow(source: socket.socket, log: BinaryIO, said: "asyncio.Queue[bytes]") -> None:
    """Hand on what the log gets until QEMU hangs up."""
    ended = asyncio.ensure_future(_until_hung_up(source))
    while True:
        done, _ = await asyncio.wait([ended], timeout=GATHER_SECONDS)
        if written := log.read():
            said.put_nowait(written)
        if done:
            break
    said.put_nowait(b"")


async def _until_hung_up(source: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # QEMU died
        while await loop.sock_recv(source, CHUNK):
            pass


async def _give(said: "asyncio.Queue[bytes]", far: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    more = True
    with suppress(OSError):  # the reader hung up
        while more:
            data = [await said.get()]
            await asyncio.sleep(GATHER_SECONDS)
            while not said.empty():
                data.append(said.get_nowait())
            more = data[-1] != b""
            await loop.sock_sendall(far, b"".join(data))
        far.shutdown(socket.SHUT_WR)


async def _tell(far: socket.socket, source: socket.socket) -> None:
    with suppress(OSError):
        await copy(far, source)
