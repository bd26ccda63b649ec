"""Takes what QEMU's consoles say as fast as they say it, so that no word is lost on a busy host.

QEMU does not wait for whoever reads a console. A serial port gives up after some tries (hw/char/serial.c). A virtio
console drops what comes while the socket is full (hw/char/virtio-console.c, flush_buf, "silently dropping console
data"), and 278 lines of a journal fill one, since each takes some 800 bytes of it however short it is. Only the log
file that QEMU writes itself has all of them. So the journal is read there, and its socket says only when QEMU ends, and
how much the log has at the least: QEMU says nothing of what it could not write there (chardev/char.c,
qemu_chr_write_log), and libvirt may have its log rotated (virtlogd(8)).

A serial console comes byte by byte. What came within `GATHER_SECONDS` is handed on at once: a reader that looks at each
byte by itself takes seconds of the processor that the machine would have.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from harness.network.loop import LoopThread
from harness.network.stream import CHUNK, copy, hang_up

GATHER_SECONDS = 0.02
"""How long the first byte that was said may wait for the next."""

LATE_SECONDS = 5.0
"""How much later than the socket the log may have a byte."""


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


@dataclass
class _Log:
    """A log that is read while the console's socket says how much it has at the least.

    Attributes:
        file: Open for reading.
        said: Bytes that the socket said.
        read: Bytes that the log had.
    """

    file: BinaryIO
    said: int = 0
    read: int = 0

    @property
    def late(self) -> bool:
        """Whether it lacks something, or has it later."""
        return self.read < self.said

    def failure(self) -> str | None:
        """That it lacks something, once it is too late for that to come."""
        waiting = Retrying(
            retry=retry_if_result(bool), stop=stop_after_delay(LATE_SECONDS), wait=wait_fixed(GATHER_SECONDS)
        )
        try:
            waiting(lambda: self.late)
        except RetryError:
            return (
                f"QEMU's log of a console lacks {self.said - self.read} bytes or more of what was said there: "
                "was the disk full, or the log rotated?"
            )
        return None


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
        followed = _Log(log) if log else None
        taken = _follow(source, followed, said) if followed else _take(source, said)
        for work in (taken, _give(said, far), _tell(far, source)):
            loop.start(_or_hang_up(work, far))
        yield Pump(near, lambda: loop.failure() or (followed.failure() if followed else None))


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


async def _follow(source: socket.socket, log: _Log, said: "asyncio.Queue[bytes]") -> None:
    """Hand on what the log gets until QEMU hangs up, and the last words that it gets then."""
    ended = asyncio.ensure_future(_until_hung_up(source, log))
    while not ended.done():
        await asyncio.wait([ended], timeout=GATHER_SECONDS)
        _hand_on(log, said)
    with suppress(TimeoutError):
        async with asyncio.timeout(LATE_SECONDS):
            while log.late:
                await asyncio.sleep(GATHER_SECONDS)
                _hand_on(log, said)
    said.put_nowait(b"")


def _hand_on(log: _Log, said: "asyncio.Queue[bytes]") -> None:
    if written := log.file.read():
        said.put_nowait(written)
        log.read += len(written)


async def _until_hung_up(source: socket.socket, log: _Log) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # QEMU died
        while data := await loop.sock_recv(source, CHUNK):
            log.said += len(data)


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
