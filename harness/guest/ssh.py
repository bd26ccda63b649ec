"""A shell in the guest over its virtio-serial channel: SSH, with no network of the guest in between.

The guest runs ``sshd -i`` on the port; paramiko takes the UNIX socket that QEMU listens on for a connection like any
other. The host key is not checked: nobody but the hypervisor reaches that port.
"""

import logging
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import paramiko

from harness.deadline import Clock, Deadline
from harness.errors import HostError, RigError
from harness.guest.forward import forwarded

_CHUNK = 65536

_BROKEN_OFF = (paramiko.SSHException, OSError, EOFError)
"""What paramiko raises when the connection goes."""

_BACKSTOP_SECONDS = 3600.0
"""How long paramiko waits for the guest's first line, by the wall clock; our deadline ends that earlier."""

_COMMAND_SECONDS = 60.0
_FILE_SECONDS = 60.0

_END_SECONDS = 5.0
"""How long paramiko's thread may take to end once the connection is closed."""

_AT_ONCE = 0.001
"""Seconds; a limit of 0 would mean not to wait at all, which ends in another error."""

_WAKE_SECONDS = 1
"""How long the connection may be idle before something is sent that wakes the guest.

In emulation a guest can miss the interrupt for what came to its port while it wrote to its console, which is a port of
the same device. Nothing is lost, but it waits until more comes: seen twice in 1,000 commands, each went on with the
next packet.
"""

# paramiko reports on its own thread what is raised to the caller as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


_TOLD, _LAST_CHARACTERS = 600, 2000
"""Characters that a message tells of a command, and of what it said."""


class Shell:
    """Runs commands in the guest as root. Made by `connect`."""

    def __init__(self, transport: paramiko.Transport, clock: Clock = time.monotonic) -> None:
        self._transport = transport
        self._clock = clock

    def run(self, command: str, timeout: float = _COMMAND_SECONDS, *, check: bool = True, stdin: bytes = b"") -> str:
        """Run a command.

        Args:
            command: For root's login shell.
            timeout: Seconds that it may take.
            check: Whether a status other than 0 is an error.
            stdin: What it reads.

        Returns:
            What it printed on standard output.

        Raises:
            RigError: It failed or took too long, or the connection broke; with the end of what it said.
        """
        output, errors, status = self._run(command, Deadline.after(timeout, self._clock), stdin)
        if check and status:
            told = _text(errors or output)[-_LAST_CHARACTERS:]
            raise RigError(f"a command in the guest ended with status {status}: {_end(command)}", told)
        return _text(output)

    def read_file(self, path: str) -> bytes:
        """The content of a file of the guest.

        Raises:
            RigError: It cannot be read.
        """
        deadline = Deadline.after(_FILE_SECONDS, self._clock)
        output, errors, status = self._run(f"cat -- {shlex.quote(path)}", deadline)
        if status:
            raise RigError(f"{path} of the guest cannot be read", _text(errors))
        return output

    def write_file(self, path: str, data: bytes) -> None:
        """Write a file of the guest and flush it to its disk.

        Raises:
            RigError: It cannot be written.
        """
        quoted = shlex.quote(path)
        deadline = Deadline.after(_FILE_SECONDS, self._clock)
        _, errors, status = self._run(f"cat > {quoted} && sync -- {quoted}", deadline, data)
        if status:
            raise RigError(f"{path} of the guest cannot be written", _text(errors))

    def forwarded(self, at: Path, port: int) -> AbstractContextManager[None]:
        """`harness.guest.forward.forwarded` over this connection."""
        return forwarded(self._transport, at, port)

    def _run(self, command: str, deadline: Deadline, stdin: bytes = b"") -> tuple[bytes, bytes, int]:
        output, errors = bytearray(), bytearray()
        try:
            with self._hung_up_at(deadline, command):
                channel = self._transport.open_session()
            with channel:
                with self._hung_up_at(deadline, command):
                    channel.exec_command(command)
                    channel.sendall(stdin)
                    channel.shutdown_write()
                while data := _receive(channel, deadline):
                    output += data
                while data := channel.recv_stderr(_CHUNK):
                    errors += data
                while not channel.status_event.wait(deadline.remaining):
                    if deadline.over:
                        raise TimeoutError
                return bytes(output), bytes(errors), channel.exit_status
        except TimeoutError as error:
            raise RigError(
                f"a command in the guest did not end within {deadline.seconds:.0f} s: {_end(command)}",
                _text(output + errors)[-_LAST_CHARACTERS:],
            ) from error
        except _BROKEN_OFF as error:
            raise RigError(f"the shell in the guest broke off during: {_end(command)}", repr(error)) from error

    @contextmanager
    def _hung_up_at(self, deadline: Deadline, command: str) -> Iterator[None]:
        """Close the connection at the deadline: paramiko waits by the wall clock, or without end."""
        answered = threading.Event()

        def hang_up() -> None:
            while not answered.wait(deadline.remaining):
                if deadline.over:
                    self._transport.close()
                    return

        try:
            threading.Thread(target=hang_up, name="ssh deadline").start()
            yield
        except _BROKEN_OFF as error:
            if not deadline.over:
                raise
            raise RigError(
                f"the shell in the guest did not take a command within {deadline.seconds:.0f} s: {_end(command)}",
                repr(error),
            ) from error
        finally:
            answered.set()


@contextmanager
def connect(channel: socket.socket, key_file: Path, deadline: Deadline) -> Iterator[Shell]:
    """Log in as root.

    Args:
        channel: Connected to the port; closed at the end of the block.
        key_file: Our private key (ed25519).
        deadline: When to give up: the guest may not have opened the port yet. Its clock counts what commands may take.

    Raises:
        HostError: The key cannot be read.
        RigError: Nobody answered in time, or the key was refused.
    """
    try:
        key = paramiko.Ed25519Key.from_private_key_file(str(key_file))
    except (OSError, paramiko.SSHException) as error:
        channel.close()
        raise HostError(f"the key {key_file} cannot be used", str(error)) from error
    transport = paramiko.Transport(channel)
    try:
        transport.banner_timeout = _BACKSTOP_SECONDS
        try:
            _wait(transport, deadline, lambda answered: transport.start_client(event=answered))
            _wait(transport, deadline, lambda answered: transport.auth_publickey("root", key, event=answered))
            if not transport.is_authenticated():
                raise transport.get_exception() or paramiko.AuthenticationException("the guest refused our key")
            transport.set_keepalive(_WAKE_SECONDS)
        except _BROKEN_OFF as error:
            raise RigError(
                f"waited {deadline.seconds:.0f} s for a shell in the guest, and got none",
                repr(error),
                "is the guest's unlock-lab-shell.service up? Its journal is in the evidence",
            ) from error
        yield Shell(transport, deadline.clock)
    finally:
        transport.close()
        transport.join(_END_SECONDS)
        channel.close()


def _text(said: bytes | bytearray) -> str:
    return said.decode(errors="replace")


def _end(command: str) -> str:
    """A command for a message: its end, where an owner's own lines follow the functions that they call."""
    return command if len(command) <= _TOLD else f"… {command[-_TOLD:]}"


def _wait(transport: paramiko.Transport, deadline: Deadline, ask: Callable[[threading.Event], object]) -> None:
    """Ask for something, and wait until paramiko says that it was answered, or that the connection broke."""
    answered = threading.Event()
    ask(answered)
    while not answered.wait(deadline.remaining):
        if deadline.over:
            raise paramiko.SSHException("no answer")
    if not transport.is_active():
        raise transport.get_exception() or paramiko.SSHException("the connection broke")


def _receive(channel: paramiko.Channel, deadline: Deadline) -> bytes:
    """Standard output as it comes; standard error waits, within paramiko's window of 2 MiB."""
    while True:
        channel.settimeout(max(deadline.remaining, _AT_ONCE))
        try:
            return channel.recv(_CHUNK)
        except TimeoutError:
            if deadline.over:
                raise
