"""Runs an `BusInterceptor` between QEMU and swtpm.

::

    QEMU ──control──▶ listen_at ─┐           ┌─▶ swtpm's control socket
    QEMU ◀───data────────────────┤ the proxy ├────────data───▶ swtpm

QEMU connects to a control socket and hands its data connection over on it (SCM_RIGHTS with CMD_SET_DATAFD). The proxy
takes that descriptor, gives swtpm the end of a socket pair of its own, and so has both ends of every command. Control
and data are relayed by a thread each; they end with the block, whatever they wait for, since their sockets are shut
down.

Source: swtpm_ioctls(3); QEMU, backends/tpm/tpm_emulator.c.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import RigError
from harness.host.user import chown_to
from harness.machine.tpm_bus import HEADER, BusInterceptor, error_response

_CMD_INIT = 0x02
_CONTROL_BYTES = 4096  # QEMU's and swtpm's messages are some tens of bytes, each sent at once
_END_SECONDS = 5.0


class Direction(StrEnum):
    """Which wires a command was on."""

    PASSED = "passed"
    """All of them: the machine sent it, the TPM got it, and the answer came back as it was."""
    MACHINE = "machine"
    """The machine's: what it sent and was answered is not what the TPM was sent and answered."""
    CHIP = "tpm"
    """The TPM's: what it was sent and answered is not what the machine sent and was answered."""


@dataclass(frozen=True)
class BusExchange:
    """A command and its response as they stood on the wires, whole. They can hold secrets.

    Attributes:
        way: Which wires.
        command: All its bytes.
        response: All its bytes.
    """

    way: Direction
    command: bytes
    response: bytes


class Proxy:
    """An interceptor at work. Made by `intercepted`."""

    def __init__(self, interceptor: BusInterceptor, listener: socket.socket, control: Path) -> None:
        self._interposer = interceptor
        self._exchanges: list[BusExchange] = []
        self._failure: Exception | None = None
        self._ending = False
        self._lock = threading.Lock()
        self._sockets = [listener]
        self._threads: list[threading.Thread] = []
        self._start("control", lambda: self._serve(listener, control))

    @property
    def exchanges(self) -> tuple[BusExchange, ...]:
        """All that was said so far."""
        return tuple(self._exchanges)

    def end(self) -> None:
        """Hang up on both sides, and wait for the threads.

        Raises:
            RigError: A thread does not end, or the interceptor failed.
        """
        with self._lock:
            self._ending = True
            for end in self._sockets:
                _hang_up(end)
        deadline = Deadline.after(_END_SECONDS)
        for thread in self._threads:
            thread.join(deadline.remaining)
            if thread.is_alive():
                raise RigError(f"{thread.name} did not end within {_END_SECONDS:.0f} s")
        if self._failure:
            raise RigError(f"who sat on the TPM's wires failed: {self._failure!r}") from self._failure

    def _start(self, what: str, work: Callable[[], None]) -> None:
        def run() -> None:
            with suppress(OSError):  # the machine, swtpm or `end` closed it
                work()

        thread = threading.Thread(target=run, name=f"tpm proxy: {what}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _hold(self, end: socket.socket) -> None:
        """Have `end` hang up on this one, too."""
        with self._lock:
            self._sockets.append(end)
            if self._ending:
                _hang_up(end)

    def _serve(self, listener: socket.socket, control: Path) -> None:
        """Relay the control connection."""
        machine, _ = listener.accept()
        with machine, socket.socket(socket.AF_UNIX) as swtpm:
            self._hold(machine)
            self._hold(swtpm)
            swtpm.connect(str(control))
            line = _ControlLine(swtpm)
            while True:
                message, descriptors, _, _ = socket.recv_fds(machine, _CONTROL_BYTES, 1)
                if not message:
                    return
                if descriptors:
                    answer = self._splice(socket.socket(fileno=descriptors[0]), line, message)
                else:
                    answer = line.ask(message)
                machine.sendall(answer)

    def _splice(self, machine: socket.socket, line: "_ControlLine", message: bytes) -> bytes:
        """Take the machine's data connection, and give swtpm one of ours in its place."""
        ours, theirs = socket.socketpair()
        self._hold(machine)
        self._hold(ours)
        with theirs:
            answer = line.ask(message, theirs.fileno())
        self._start("data", lambda: self._relay(machine, ours, line))
        return answer

    def _relay(self, machine: socket.socket, swtpm: socket.socket, line: "_ControlLine") -> None:
        with machine, swtpm:
            while command := _receive(machine):
                machine.sendall(self._answer(command, swtpm, line))

    def _answer(self, command: bytes, swtpm: socket.socket, line: "_ControlLine") -> bytes:
        tpm = _Chip(swtpm, line)
        try:
            response = self._interposer(command, tpm)
            if HEADER.unpack_from(response)[1] != len(response):
                raise ValueError(f"it made a response that is not as long as it says: {response.hex()}")
        except OSError:
            raise
        except Exception as error:  # told at the end of the block; the machine must not wait for its answer until then
            self._failure = self._failure or error
            response = error_response()
        if tpm.heard == [(command, response)]:
            self._exchanges.append(BusExchange(Direction.PASSED, command, response))
        else:
            self._exchanges += [BusExchange(Direction.CHIP, *heard) for heard in tpm.heard]
            self._exchanges.append(BusExchange(Direction.MACHINE, command, response))
        return response


class _ControlLine:
    """The control connection to swtpm, which the machine and the interceptor share."""

    def __init__(self, swtpm: socket.socket) -> None:
        self._swtpm = swtpm
        self._lock = threading.Lock()

    def ask(self, message: bytes, *descriptors: int) -> bytes:
        with self._lock:
            socket.send_fds(self._swtpm, [message], descriptors)
            answer = self._swtpm.recv(_CONTROL_BYTES)
        if not answer:
            raise ConnectionError("swtpm hung up")
        return answer


class _Chip:
    """A `tpm_bus.TpmTransport` for the time of one command, which notes what it hears."""

    def __init__(self, swtpm: socket.socket, line: _ControlLine) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self._swtpm = swtpm
        self._line = line

    def ask(self, command: bytes) -> bytes:
        self._swtpm.sendall(command)
        response = _receive(self._swtpm)
        if not response:
            raise ConnectionError("swtpm hung up")
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
        RigError: At the end of the block: the interceptor failed, or a thread does not end.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(listen_at))
        listener.listen(1)
        chown_to(listen_at, user)
        proxy = Proxy(interceptor, listener, control)
        try:
            yield proxy
        finally:
            proxy.end()


def _receive(source: socket.socket) -> bytes:
    """A whole command or response; empty at the end of the connection."""
    message = b""
    wanted = HEADER.size
    while len(message) < wanted:
        data = source.recv(wanted - len(message))
        if not data:
            return b""
        message += data
        if len(message) == HEADER.size:
            wanted = max(HEADER.size, int(HEADER.unpack(message)[1]))
    return message


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):  # it is closed, or was never connected
        end.shutdown(socket.SHUT_RDWR)
