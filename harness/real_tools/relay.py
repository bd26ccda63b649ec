"""A `BusInterceptor` between the guest's own tools and a TPM on a socket, one client at a time, as swtpm has it."""

import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError
from harness.machine.tpm_bus import HEADER, BusInterceptor
from harness.network.serving import serving

_CHUNK = 4096


@contextmanager
def intercepted(
    at: Path, chip: Path, connect: Callable[[Path], socket.socket], interceptor: BusInterceptor
) -> Iterator[None]:
    """Answer at a UNIX socket as the interceptor has it, for the length of the block.

    Args:
        at: Where the tools look for the TPM.
        chip: Where it is, in the same folder; its channel for control is left alone.
        connect: Makes a connection to it there.
        interceptor: Is told each whole command.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with connect(chip) as tpm:
                while command := _message(self.request):
                    self.request.sendall(interceptor(command, _Wires(tpm)))

    control = at.with_name(f"{at.name}.ctrl")
    for path in (at, control):
        path.unlink(missing_ok=True)
    control.symlink_to(f"{chip.name}.ctrl")
    with serving(socketserver.UnixStreamServer(str(at), Handler), "tpm relay"):
        yield


class _Wires:
    def __init__(self, tpm: socket.socket) -> None:
        self._tpm = tpm

    def ask(self, command: bytes) -> bytes:
        self._tpm.sendall(command)
        return _message(self._tpm)

    def reset(self) -> None:
        raise UsageError("a TPM on a socket has no reset pin", hint="this wants a machine")


def _message(end: socket.socket) -> bytes:
    """The next whole command or response; empty at the end (TPM 2.0 Library, Part 1, 18.2)."""
    found = b""
    while len(found) < HEADER.size or len(found) < HEADER.unpack_from(found)[1]:
        data = end.recv(_CHUNK)
        if not data:
            return b""
        found += data
    return found
