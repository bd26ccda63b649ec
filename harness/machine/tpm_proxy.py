"""Runs a `BusInterceptor` between QEMU and swtpm.

::

    QEMU ──control──▶ listen_at ─┐           ┌─▶ swtpm's control socket
    QEMU ◀───data────────────────┤ the proxy ├────────data───▶ swtpm

QEMU connects to a control socket and hands its data connection over on it (SCM_RIGHTS with CMD_SET_DATAFD). The proxy
takes that descriptor, gives swtpm the end of a socket pair of its own, and so has both ends of every command. Control
and data are relayed by a thread each; they end with the block, whatever they wait for, since their sockets are shut
down.

Source: swtpm_ioctls(3); QEMU, backends/tpm/tpm_emulator.c.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.errors import RigError
from harness.host.user import chown_to
from harness.machine.tpm_bus import HEADER, BusInterceptor, error_response
from harness.network.loop import LoopThread
from harness.network.stream import hang_up, readable

_CMD_INIT = 0x02
_CONTROL_BYTES = 4096  # QEMU's and swtpm's messages are some tens of bytes, each sent at once


class Direction(StrEnum):
    """On which side of the interceptor a command was seen."""

    PASSED = "passed"
    """On both: the machine sent it, the TPM got it, and the answer came back as it was."""
    MACHINE = "machine"
    """On the machine's: what it sent and was answered is not what the TPM was sent and answered."""
    TPM = "tpm"
    """On the TPM's: what it was sent and answered is not what the machine sent and was answered."""


@dataclass(frozen=True)
class BusExchange:
    """A command and its response as they stood on the bus, whole. They can hold secrets.

    Attributes:
        direction: On which side.
        command: All its bytes.
        response: All its bytes.
    """

    direction: Direction
    command: bytes
    response: bytes


class Proxy:
    """An interceptor at work. Made by `intercepted`."""

    def __init__(self, interceptor: BusInterceptor) -> None:
        self._interceptor = interceptor
        self._exchanges: list[BusExchange] = []
        self._failure: Exception | None = None
        self._blocking: list[socket.socket] = []

    @property
    def exchanges(self) -> tuple[BusExchange, ...]:
        """All that was said so far."""
        return tuple(self._exchanges)

    def hang_up(self) -> None:
        """Hang up on swtpm, for whose answer the loop may be waiting."""
        for end in self._blocking:
            hang_up(end)

    def failure(self) -> str | None:
        """What went wrong with the interceptor, if anything did: the machine was answered that its TPM failed."""
        return f"the interceptor on the TPM's bus failed: {self._failure!r}" if self._failure else None

    def raise_failure(self) -> None:
        """Tell that.

        Raises:
            RigError: The interceptor failed.
        """
        if failure := self.failure():
            raise RigError(failure) from self._failure

    async def serve(self, listener: socket.socket, control: Path) -> None:
        """Relay the one connection that QEMU makes, until a side hangs up."""
        loop = asyncio.get_running_loop()
        try:
            machine, _ = await loop.sock_accept(listener)
            with machine, socket.socket(socket.AF_UNIX) as swtpm:
                self._blocking.append(swtpm)
                swtpm.connect(str(control))
                line = _ControlLine(swtpm)
                async with asyncio.TaskGroup() as data:
                    while True:
                        await readable(machine)
                        message, descriptors, _, _ = socket.recv_fds(machine, _CONTROL_BYTES, 1)
                        if not message:
                            return
                        if descriptors:
                            bus = socket.socket(fileno=descriptors[0])
                            answer, ours = self._splice(line, message)
                            data.create_task(self._relay(bus, ours, line))
                        else:
                            answer = line.ask(message)
                        await loop.sock_sendall(machine, answer)
        except* OSError:  # a side hung up, which a group of tasks wraps
            pass

    def _splice(self, line: "_ControlLine", message: bytes) -> tuple[bytes, socket.socket]:
        """Give swtpm a data connection of ours in the place of the machine's; returns its answer, and our end."""
        ours, theirs = socket.socketpair()
        self._blocking.append(ours)
        with theirs:
            return line.ask(message, theirs.fileno()), ours

    async def _relay(self, machine: socket.socket, swtpm: socket.socket, line: "_ControlLine") -> None:
        loop = asyncio.get_running_loop()
        machine.setblocking(False)
        with machine, swtpm, suppress(OSError):
            while command := await _command(machine):
                await loop.sock_sendall(machine, self._answer(command, swtpm, line))

    def _answer(self, command: bytes, swtpm: socket.socket, line: "_ControlLine") -> bytes:
        tpm = _Transport(swtpm, line)
        try:
            response = self._interceptor(command, tpm)
            if HEADER.unpack_from(response)[1] != len(response):
                raise ValueError(f"it made a response that is not as long as it says: {response.hex()}")
        except _HungUpError:
            raise
        except Exception as error:  # told at the end of the block; the machine must not wait for its answer until then
            self._failure = self._failure or error
            response = error_response()
        if tpm.heard == [(command, response)]:
            self._exchanges.append(BusExchange(Direction.PASSED, command, response))
        else:
            self._exchanges += [BusExchange(Direction.TPM, *heard) for heard in tpm.heard]
            self._exchanges.append(BusExchange(Direction.MACHINE, command, response))
        return response


class _HungUpError(ConnectionError):
    """swtpm is gone: no failure of the interceptor that asked it."""


class _ControlLine:
    """The control connection to swtpm, which the machine and the interceptor share."""

    def __init__(self, swtpm: socket.socket) -> None:
        self._swtpm = swtpm

    def ask(self, message: bytes, *descriptors: int) -> bytes:
        try:
            socket.send_fds(self._swtpm, [message], descriptors)
            answer = self._swtpm.recv(_CONTROL_BYTES)
        except OSError as error:
            raise _HungUpError(str(error)) from error
        if not answer:
            raise _HungUpError("swtpm hung up")
        return answer


class _Transport:
    """A `tpm_bus.TpmTransport` for the time of one command, which notes what it hears."""

    def __init__(self, swtpm: socket.socket, line: _ControlLine) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self._swtpm = swtpm
        self._line = line

    def ask(self, command: bytes) -> bytes:
        try:
            self._swtpm.sendall(command)
            response = read_message(self._swtpm)
        except OSError as error:
            raise _HungUpError(str(error)) from error
        if not response:
            raise _HungUpError("swtpm hung up")
        self.heard.append((command, response))
        return response

    def reset(self) -> None:
        answer = self._line.ask(struct.pack(">II", _CMD_INIT, 0))
        if answer != bytes(4):
            raise RigError(f"swtpm did not start anew: {answer.hex()}")


@contextmanager
def intercepted(interceptor: BusInterceptor, listen_at: Path, control: Path, *, user: str | None) -> Iterator[Proxy]:
    """Put an interceptor before a TPM, for the length of the block.

    Args:
        interceptor: Asked with every command, in a thread of the proxy's.
        listen_at: Where to bind the control socket that QEMU connects to; at most 107 bytes.
        control: swtpm's own.
        user: The user that QEMU runs as; the caller when None.

    Raises:
        RigError: At the end of the block: the interceptor failed, or does not end.
    """
    proxy = Proxy(interceptor)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.setblocking(False)
        listener.bind(str(listen_at))
        listener.listen(1)
        chown_to(listen_at, user)
        stack.callback(proxy.raise_failure)
        loop = stack.enter_context(LoopThread("tpm proxy"))
        stack.callback(proxy.hang_up)  # the loop may be blocked until then
        loop.start(proxy.serve(listener, control))
        yield proxy


async def _command(machine: socket.socket) -> bytes:
    """A whole command of the machine's; empty at the end of the connection."""
    loop = asyncio.get_running_loop()
    message = b""
    while missing := _missing(message):
        data = await loop.sock_recv(machine, missing)
        if not data:
            return b""
        message += data
    return message


def read_message(end: socket.socket) -> bytes:
    """A whole command or response; empty at the end of the connection."""
    message = b""
    while missing := _missing(message):
        data = end.recv(missing)
        if not data:
            return b""
        message += data
    return message


def _missing(message: bytes) -> int:
    """How many bytes are to be read before it is known to be whole, or before its length is known."""
    known = len(message) >= HEADER.size
    return max(0, (HEADER.unpack_from(message)[1] if known else HEADER.size) - len(message))
