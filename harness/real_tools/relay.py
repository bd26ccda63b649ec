"""A `BusInterceptor` between the guest's own tools and a TPM on a socket, one client at a time, as swtpm has it."""

import socket
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError
from harness.machine.tpm_bus import BusInterceptor
from harness.machine.tpm_proxy import read_message
from harness.network.serving import serving


@contextmanager
def intercepted(
    at: Path, tpm: Path, connect: Callable[[Path], socket.socket], interceptor: BusInterceptor
) -> Iterator[None]:
    """Answer at a UNIX socket as the interceptor has it, for the length of the block.

    Args:
        at: Where the tools look for the TPM.
        tpm: Where it is, in the same folder; its channel for control is left alone.
        connect: Makes a connection to it there.
        interceptor: Is told each whole command.

    Raises:
        RigError: At the end of a block that went well: the interceptor failed, or the TPM was not there.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with connect(tpm) as chip:
                while command := read_message(self.request):
                    self.request.sendall(interceptor(command, _Transport(chip)))

    control = at.with_name(f"{at.name}.ctrl")
    for path in (at, control):
        path.unlink(missing_ok=True)
    control.symlink_to(f"{tpm.name}.ctrl")
    with serving(socketserver.UnixStreamServer(str(at), Handler), "tpm relay"):
        yield


class _Transport:
    def __init__(self, tpm: socket.socket) -> None:
        self._tpm = tpm

    def ask(self, command: bytes) -> bytes:
        self._tpm.sendall(command)
        return read_message(self._tpm)

    def reset(self) -> None:
        raise UsageError("a TPM on a socket has no reset pin", hint="this wants a machine")
