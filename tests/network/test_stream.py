"""Bytes passed on between sockets."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from harness.network.stream import copy, hang_up, readable


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    for end in (one, two):
        end.setblocking(False)
    with one, two:
        yield one, two


def test_what_one_says_until_its_end_the_other_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    """Larger than a chunk, so it takes some."""
    said, noted = b"0123456789" * 10_000, bytearray()
    near, far = socket.socketpair()
    far.setblocking(False)

    async def run() -> bytes:
        copying = asyncio.create_task(copy(pair[1], far, noted.extend))
        await asyncio.get_running_loop().sock_sendall(pair[0], said)
        pair[0].shutdown(socket.SHUT_WR)
        heard = await asyncio.to_thread(heard_by, near)
        await copying
        return heard

    with near, far:
        near.settimeout(10.0)
        assert asyncio.run(run()) == said == noted
        assert near.send(b"still") == 5, "only what was passed on has ended"


def heard_by(end: socket.socket) -> bytes:
    return b"".join(iter(lambda: end.recv(65536), b""))


def test_a_socket_is_readable_once_it_has_something_to_say(pair: tuple[socket.socket, socket.socket]) -> None:
    async def run() -> None:
        waiting = asyncio.create_task(readable(pair[1]))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        pair[0].send(b"x")
        async with asyncio.timeout(10.0):
            await waiting
        assert not asyncio.get_running_loop().remove_reader(pair[1]), "it is waited for no more"

    asyncio.run(run())


def test_who_hangs_up_ends_both_directions_and_may_do_so_twice(pair: tuple[socket.socket, socket.socket]) -> None:
    one, two = pair
    hang_up(two)
    assert one.recv(1) == two.recv(1) == b""
    two.close()
    hang_up(two)
