"""A security key at a machine: the authenticator of `harness.machine.ctap2` at the end of a virtio-serial port.

The guest shows it as a HID device (images/debian-13-tokens, ``fido2-port``) for as long as this end is connected. Its
secrets are in the state file and in this process, never in the guest.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import RigError
from harness.machine.ctap2 import Authenticator
from harness.machine.ctap2_log import CtapExchange
from harness.machine.ctaphid import REPORT_BYTES, Transport

_JOIN_SECONDS = 5.0


class PluggedKey:
    """A security key that is plugged in.

    Args:
        state: The file that keeps it.
        connection: To the machine; reports of 64 bytes go both ways.
    """

    def __init__(self, state: Path, connection: socket.socket) -> None:
        self._authenticator = Authenticator(state)
        self._transport = Transport(self._authenticator.answer)
        self._connection = connection
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name="security key", daemon=True)

    @property
    def exchanges(self) -> tuple[CtapExchange, ...]:
        """What it was asked and what it answered, since it was plugged in."""
        return tuple(self._authenticator.exchanges)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def wait(self) -> None:
        """Wait until it answers no more: it was pulled, or the machine is off."""
        self._thread.join(_JOIN_SECONDS)

    def failure(self) -> str | None:
        """What kept it from answering, if anything did: the guest saw it pulled then, and nobody pulled it."""
        return f"the security key broke: {self._failure!r}" if self._failure else None

    def raise_failure(self) -> None:
        """Tell that.

        Raises:
            RigError: It broke.
        """
        if failure := self.failure():
            raise RigError(failure) from self._failure

    def pull(self) -> None:
        """Pull it out: the guest loses the device."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the machine is off, and has closed its end

    def _serve(self) -> None:
        try:
            with suppress(ConnectionError):  # it was pulled, or the machine went off
                self._answer_reports()
        except Exception as error:  # told at the end of the block; until then the guest sees it pulled
            self._failure = error
            self.pull()

    def _answer_reports(self) -> None:
        buffer = b""
        while data := self._connection.recv(4096):
            buffer += data
            while len(buffer) >= REPORT_BYTES:
                report, buffer = buffer[:REPORT_BYTES], buffer[REPORT_BYTES:]
                for answer in self._transport.feed(report):
                    self._connection.sendall(answer)


@contextmanager
def plugged(state: Path, connection: socket.socket) -> Iterator[PluggedKey]:
    """A security key in use, for the block.

    Args:
        state: The file that keeps it (`harness.machine.ctap2.manufacture`).
        connection: To the machine.

    Raises:
        RigError: At the end of a block that went well: the key broke.
    """
    key = PluggedKey(state, connection)
    key.start()
    try:
        yield key
    finally:
        key.pull()
        key.wait()
    key.raise_failure()
