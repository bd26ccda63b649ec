"""A port on the loopback as an exclusive lease.

The port of a Tang server is sealed into the LUKS token, so it belongs to a sealed machine for ever; two processes that
want the same machine take turns. The lock is the kernel's (flock(2)): a killed process holds nothing.
"""

import errno
import json
import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import HarnessError, HostError, UsageError
from harness.ownership import claim, claimed_run_dir
from harness.progress import Progress

HOST = "127.0.0.1"
PORTS = range(20000, 30000)
"""Where free ports are taken from: outside Linux's ephemeral range (ip(7), ip_local_port_range)."""

LEASE_SECONDS = 1800.0
"""How long to wait for a port that another process holds: some tests with many boots."""

_ATTEMPTS = 50


@contextmanager
def leased_port(port: int | None, holder: str, progress: Progress, wait: float = LEASE_SECONDS) -> Iterator[int]:
    """Hold a port of 127.0.0.1 against other processes of ours, and see that no foreign program listens there.

    Args:
        port: The one to hold; None takes any free one of `PORTS`.
        holder: For whom, for the message that others see while they wait.
        progress: Says that we wait, and for whom.
        wait: Seconds to wait for another process that holds it.

    Raises:
        HostError: A program that is not ours has it, or it was not given back in time.
        UsageError: This very process holds it already.
    """
    candidates = [port] if port is not None else random.sample(PORTS, _ATTEMPTS)
    for candidate in candidates:
        with ExitStack() as stack:
            try:
                stack.enter_context(_lease(candidate, holder, progress, wait if port is not None else 0.0))
                bind(candidate).close()
            except HarnessError:
                if port is not None:
                    raise
                continue
            yield candidate
            return
    raise HostError(f"none of {_ATTEMPTS} ports tried between {PORTS.start} and {PORTS.stop - 1} is free")


@contextmanager
def _lease(port: int, holder: str, progress: Progress, wait: float) -> Iterator[None]:
    folder = claim(claimed_run_dir() / "ports", "UNLOCK_LAB_RUN", adopt=True)
    note = folder / f"{port}.json"
    lock = FileLock(folder / f"{port}.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        process, name = _holder(note)
        if process == os.getpid():
            raise UsageError(f"port {port} is already held by this process, for {name}") from None
        whose = f"process {process} ({name})"
        with progress.step(f"{holder}: waiting for port {port}, which {whose} holds"):
            try:
                lock.acquire(timeout=wait, poll_interval=0.2)
            except Timeout as error:
                raise HostError(
                    f"{whose} did not give port {port} back within {wait:.0f} s",
                    hint=f"ps -fp {process} shows it; it holds the sealed machine that this port belongs to",
                ) from error
    try:
        note.write_text(json.dumps({"process": os.getpid(), "name": holder}))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _holder(note: Path) -> tuple[int, str]:
    """Who left the note; it may just not have been written yet, or have gone."""
    try:
        content = json.loads(note.read_text())
        return int(content["process"]), str(content["name"])
    except (OSError, ValueError, KeyError):
        return 0, "unknown"


def bind(port: int) -> socket.socket:
    """A socket bound to the port that does not listen, so that the kernel refuses connections.

    Raises:
        HostError: Another program listens there.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # An earlier proxy's connections may still be in TIME_WAIT; a program that listens is an error all the same.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind((HOST, port))
    except OSError as error:
        bound.close()
        raise (_taken(port) if error.errno == errno.EADDRINUSE else error) from error
    return bound


def _taken(port: int) -> HostError:
    return HostError(
        f"another program listens on port {port} of {HOST}, which a sealed machine needs for its Tang server",
        hint=f"see which one: ss -ltnp 'sport = :{port}'",
    )
