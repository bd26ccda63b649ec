"""A way from a UNIX socket of this host to a port of the guest, by its shell's connection: no network in between."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingUnixStreamServer

import paramiko

from harness.network.serving import serving

_CHUNK = 65536
_OPEN_SECONDS = 60.0
_GUEST = "127.0.0.1"


@contextmanager
def forwarded(transport: paramiko.Transport, at: Path, port: int) -> Iterator[None]:
    """Lead connections to a socket to a port of the guest's loopback, for the length of the block (RFC 4254, 7.2).

    Args:
        transport: To the guest.
        at: The socket, which is made; connections are closed at once while nobody listens on the port.
        port: Of the guest.
    """

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(paramiko.SSHException, OSError, EOFError),  # who called sees a connection that is closed
                transport.open_channel("direct-tcpip", (_GUEST, port), (_GUEST, 0), timeout=_OPEN_SECONDS) as far,
            ):
                _carry(self.request, far)

    server = ThreadingUnixStreamServer(str(at), Handler)
    server.daemon_threads = True
    try:
        with serving(server, f"forward {at.name}"):
            yield
    finally:
        at.unlink(missing_ok=True)


def _carry(near: socket.socket, far: paramiko.Channel) -> None:
    """Pass bytes on both ways until both ends have said all."""

    def back() -> None:
        with suppress(OSError):
            while data := far.recv(_CHUNK):
                near.sendall(data)
            near.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=back, name="forward back", daemon=True)
    thread.start()
    while data := near.recv(_CHUNK):
        far.sendall(data)
    far.shutdown_write()
    thread.join()
