"""A shell on the serial console, for where there is no other: an emergency shell, an initramfs, an attacker's init.

Prompts of such shells differ, and kernel lines cut into them. So each command prints marks of its own, put together by
the shell and thus not in its echo, and what lies between them is the answer.
"""

import re
import socket
from collections.abc import Callable
from uuid import uuid4

import pexpect
from pexpect.fdpexpect import fdspawn

from harness.deadline import Deadline
from harness.errors import RigError
from harness.guest.text import LineReader

_LAST_LINES = 15


class ConsoleShell:
    """Commands at a console's shell. The socket stays the caller's; one at a time may read from it.

    Args:
        console: Connected to the guest's console, at a shell's prompt or before it.
        live: Gets every byte that comes.
    """

    def __init__(self, console: socket.socket, live: Callable[[bytes], None] | None = None) -> None:
        self._console = console
        self._spawn = fdspawn(console.fileno())
        self._live = live

    def wait_for(self, words: str, deadline: Deadline) -> str:
        """Wait until the console says something.

        Args:
            words: A regular expression over the raw text.
            deadline: When to give up.

        Returns:
            What matched.

        Raises:
            RigError: It did not come in time, or the console closed.
        """
        pattern = re.compile(words.encode())
        try:
            self._spawn.expect(pattern, timeout=deadline.remaining)
        except pexpect.TIMEOUT as error:
            raise self._error(f"waited {deadline.seconds:.0f} s for {words!r} on the console") from error
        except (pexpect.EOF, OSError) as error:
            raise self._error(f"the console closed while waiting for {words!r}") from error
        after = _bytes(self._spawn.after)
        if self._live:
            self._live(_bytes(self._spawn.before) + after)
        return after.decode(errors="replace")

    def run(self, command: str, deadline: Deadline, *, check: bool = True) -> str:
        """Run a command.

        Args:
            command: For a POSIX shell; one line.
            deadline: When to give up.
            check: Whether a status other than 0 is an error.

        Returns:
            What it printed, without the kernel lines that cut in.

        Raises:
            RigError: It did not end in time, failed, or the console closed.
        """
        mark = uuid4().hex
        # The echo of this line has a quote in each mark, the output has none.
        self.send_line(f"echo 'be''gin-{mark}'; {command}; echo 'e''nd-{mark}-'$?-")
        self.wait_for(f"begin-{mark}\r*\n", deadline)
        end = self.wait_for(f"end-{mark}-[0-9]{{1,3}}-", deadline)
        output = self._lines(_bytes(self._spawn.before))
        status = int(end.split("-")[2])
        if check and status:
            raise self._error(f"a command on the console ended with status {status}: {command}")
        return "\n".join(output)

    def send_line(self, line: str) -> None:
        """Type a line.

        Raises:
            RigError: The console closed.
        """
        try:
            self._console.sendall(line.encode() + b"\n")
        except OSError as error:
            raise self._error("the console closed") from error

    @staticmethod
    def _lines(data: bytes) -> list[str]:
        texts = LineReader(interleaved=True).feed(data + b"\n")
        return [text.text for text in texts if text.whole and not re.match(r"\[ *\d+\.\d{6}\]", text.text)]

    def _error(self, what: str) -> RigError:
        return RigError(what, "\n".join(self._lines(_bytes(self._spawn.before))[-_LAST_LINES:]))


def _bytes(found: object) -> bytes:
    """What pexpect found; it says None or a class where it found nothing."""
    return found if isinstance(found, bytes) else b""
