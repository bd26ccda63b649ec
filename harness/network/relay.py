"""One connection through the proxy: bytes passed on in both directions, recorded, and replies perhaps changed."""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from harness.errors import RigError
from harness.network.connection import Client, Connection, Mode, message_end
from harness.network.stream import CHUNK, copy

Address = tuple[str, int]

Tamper = Callable[[bytes], bytes]
"""Given a whole HTTP reply, head and body, returns what the guest gets instead."""

CONNECT_SECONDS = 10.0
_HUNG_UP = "the server behind the fault proxy hung up on a request, with not a word of an answer"
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass
class ConnectionRecord:
    """A connection while it lasts, filled by the fault proxy's thread."""

    client: Client
    site: str
    mode: Mode
    opened: float = field(default_factory=time.time)
    closed: float | None = None
    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    tampered: int = 0
    answered: bool = False

    def frozen(self) -> Connection:
        """What is known of it now."""
        return Connection(
            self.opened,
            self.closed,
            self.client,
            self.site,
            self.mode,
            bytes(self.sent),
            bytes(self.received),
            self.tampered,
            self.answered,
        )


def reset(connection: socket.socket) -> None:
    """Close it with RST, as a server that dies would (SO_LINGER of zero seconds, socket(7)), unless it is closed."""
    if connection.fileno() == -1:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    connection.close()


async def stall(guest: socket.socket, record: ConnectionRecord) -> None:
    """Read what the guest says, and never answer."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(guest, CHUNK):
        record.sent += data


async def forward(
    guest: socket.socket, upstream: Address | None, record: ConnectionRecord, tamper: Callable[[], Tamper | None]
) -> None:
    """Pass bytes on until both sides have closed.

    Args:
        guest: The accepted connection.
        upstream: Where to connect it to.
        record: Filled.
        tamper: Asked at each reply for the function that changes it, if any.

    Raises:
        RigError: Nothing answers upstream, what is there hung up on a whole HTTP request, or the tampering function
            failed.
        OSError: Either side broke the connection.
    """
    loop = asyncio.get_running_loop()
    if upstream is None:
        raise RigError("the fault proxy is open, but leads nowhere")
    with socket.socket(socket.AF_INET) as server:
        server.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):  # wait_for of Python 3.11 can lose a cancellation
                await loop.sock_connect(server, upstream)
        except (OSError, TimeoutError) as error:
            raise RigError(
                f"the fault proxy is open, but nothing answers behind it at {upstream[0]}:{upstream[1]}"
            ) from error
        requests = asyncio.create_task(copy(guest, server, record.sent.extend))

        def unanswered() -> bool:
            return not record.answered and not requests.done() and message_end(bytes(record.sent)) is not None

        replies = asyncio.create_task(_replies(partial(_heard, server, unanswered), guest, record, tamper))
        try:
            await asyncio.gather(requests, replies)
        finally:
            requests.cancel()
            replies.cancel()
            await asyncio.wait((requests, replies))


async def _heard(server: socket.socket, unanswered: Callable[[], bool]) -> bytes:
    """What a server says next; nothing at its end. One that is asked and ends with no word has died."""
    try:
        data = await asyncio.get_running_loop().sock_recv(server, CHUNK)
    except ConnectionError as error:
        if unanswered():
            raise RigError(_HUNG_UP) from error
        raise
    if not data and unanswered():
        raise RigError(_HUNG_UP)
    return data


async def _replies(
    hear: Callable[[], Awaitable[bytes]],
    guest: socket.socket,
    record: ConnectionRecord,
    tamper: Callable[[], Tamper | None],
) -> None:
    loop = asyncio.get_running_loop()

    async def send(data: bytes) -> None:
        record.received += data
        await loop.sock_sendall(guest, data)

    held = b""
    while data := await hear():
        record.answered = True
        held += data
        change = tamper()
        if change is None:
            await send(held)
            held = b""
            continue
        while (end := message_end(held)) is not None:
            reply, held = held[:end], held[end:]
            changed = _changed(reply, change)
            record.tampered += changed != reply
            await send(changed)
    if held:
        await send(held)
    guest.shutdown(socket.SHUT_WR)


def _changed(reply: bytes, change: Tamper) -> bytes:
    try:
        return change(reply)
    except Exception as error:
        raise RigError(f"the function that tampers with a server's replies failed: {error!r}") from error
