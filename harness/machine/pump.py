"""Takes what QEMU's consoles say as fast as they say it, so that no word is lost on a busy host.

QEMU does not wait for whoever reads a console. What a guest says while the socket is full never reaches the reader,
only the log file: hw/char/virtio-console.c, flush_buf, "silently dropping console data"; hw/char/serial.c gives up
after some tries. Seen with nine volumes, whose journal filled the socket while the reader was parsing.

A serial console comes byte by byte. What came within `GATHER_SECONDS` is handed on at once: a reader that looks at each
byte by itself takes seconds of the processor that the machine would have.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from harness.network.loop import LoopThread
from harness.network.stream import CHUNK, copy, hang_up

GATHER_SECONDS = 0.02
"""How long the first byte that was said may wait for the next."""


@contextmanager
def pumped(source: socket.socket) -> Iterator[socket.socket]:
    """A socket that says what `source` says, and takes what it is to be told, however slowly it is read.

    Args:
        source: A connection to QEMU. It belongs to the pump, and is hung up at the end of the block.
    """
    near, far = socket.socketpair()
    source.setblocking(False)
    far.setblocking(False)
    with near, far, ExitStack() as stack:
        stack.callback(hang_up, source)
        loop = stack.enter_context(LoopThread("console pump"))
        said: asyncio.Queue[bytes] = asyncio.Queue()
        for work in (_take(source, said), _give(said, far), _tell(far, source)):
            loop.start(work)
        yield near


async def _take(source: socket.socket, said: "asyncio.Queue[bytes]") -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # QEMU died
        while data := await loop.sock_recv(source, CHUNK):
            said.put_nowait(data)
    said.put_nowait(b"")


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
