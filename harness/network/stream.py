"""Passing bytes on between sockets, on an asyncio loop: what every relay of the harness is made of."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

CHUNK = 65536


async def copy(source: socket.socket, sink: socket.socket, note: Callable[[bytes], None] | None = None) -> None:
    """Pass on what a socket says until it ends, and tell the other so.

    Args:
        source: Does not block.
        sink: Does not block.
        note: Is told the bytes before they are passed on.

    Raises:
        OSError: Either side broke the connection.
    """
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, CHUNK):
        if note:
            note(data)
        await loop.sock_sendall(sink, data)
    sink.shutdown(socket.SHUT_WR)


async def readable(source: socket.socket) -> None:
    """Wait until a socket has something to say, for what asyncio cannot receive (descriptors)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(source, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(source)


def hang_up(end: socket.socket) -> None:
    """End both directions, whoever waits in them."""
    with suppress(OSError):  # it is closed, or was never connected
        end.shutdown(socket.SHUT_RDWR)
