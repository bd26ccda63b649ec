"""Locks between all processes of a host, whatever their user and their run folder.

A lock is a name in the abstract namespace of UNIX sockets (unix(7)): one process can bind it at a time, the kernel
releases it when that process exits, SIGKILL included, and there is no file that another user could own, link or remove.
Names are per network namespace, so processes in a container with its own network do not see those of the host.
"""

import errno
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "unlock-lab"
"""All our names begin with it."""


def taken(name: str) -> socket.socket | None:
    """Take a lock, held until the returned socket is closed; None when it is held already."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(f"\0{PREFIX}/{name}")
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return bound


@contextmanager
def announced(use: str) -> Iterator[None]:
    """Register this process as a user of something, for the length of the block; see `users`."""
    name = f"{use}/{os.getpid()}/{uuid.uuid4().hex}"
    bound = taken(name)
    assert bound, name
    with bound:
        yield


def users(use: str) -> list[int]:
    """The process ids registered by `announced`, from /proc/net/unix (proc(5))."""
    return sorted(int(name.split("/")[0]) for name in _names(use))


@contextmanager
def in_line(queue: str) -> Iterator[Callable[[], bool]]:
    """Stand in a line for the length of the block; what it gives says whether nobody of the host came before."""
    mine = f"{time.monotonic_ns():020}/{os.getpid()}"
    bound = taken(f"{queue}/{mine}")
    assert bound, mine
    with bound:
        yield lambda: min(_names(queue)) == mine


def _names(head: str) -> list[str]:
    start = f"@{PREFIX}/{head}/"
    paths = (line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return [path.removeprefix(start) for path in paths if path.startswith(start)]
