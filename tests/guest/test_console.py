"""Commands at a console's shell: a real one on a pseudo terminal, with kernel lines thrown in."""

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from harness.deadline import Deadline
from harness.errors import RigError
from harness.guest.console import ConsoleShell


def pump(source: int, sink: socket.socket) -> None:
    with sink, contextlib.suppress(OSError):  # a terminal whose other end is closed fails with EIO
        while data := os.read(source, 1):
            sink.sendall(data)


def feed(source: socket.socket, sink: int) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1):
            os.write(sink, data)


@pytest.fixture
def console() -> Iterator[socket.socket]:
    """A shell on a terminal that echoes, behind a socket that carries one byte at a time."""
    master, slave = pty.openpty()
    shell = subprocess.Popen(
        ["/bin/sh", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={"PS1": "(initramfs) ", "PATH": os.environ["PATH"]},
    )
    os.close(slave)
    ours, theirs = socket.socketpair()
    threads = [
        threading.Thread(target=pump, args=(master, theirs.dup())),
        threading.Thread(target=feed, args=(theirs, master)),
    ]
    for thread in threads:
        thread.start()
    with ours, theirs:
        yield ours
        ours.shutdown(socket.SHUT_RDWR)
        theirs.shutdown(socket.SHUT_RDWR)
        # The whole session: a command that outlives the shell would keep the terminal open.
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()
    os.close(master)


def soon() -> Deadline:
    return Deadline.after(5)


def test_a_command_s_output(console: socket.socket) -> None:
    shell = ConsoleShell(console)
    assert shell.run("echo one; echo two", soon()) == "one\ntwo"
    assert shell.run("true", soon()) == ""


def test_no_command_ends_with_the_mark_of_another(console: socket.socket) -> None:
    shown = bytearray()
    shell = ConsoleShell(console, shown.extend)
    for _ in range(2):
        shell.run("true", soon())
    first, second = re.findall(rb"end-(\w+)-0-", bytes(shown))
    assert first != second


def test_a_command_that_fails(console: socket.socket) -> None:
    shell = ConsoleShell(console)
    with pytest.raises(RigError, match="ended with status 3") as caught:
        shell.run("echo because; echo of it; (exit 3)", soon())
    assert caught.value.detail == "because\nof it"
    assert shell.run("echo x; false", soon(), check=False) == "x"


def test_kernel_lines_are_no_output(console: socket.socket) -> None:
    command = "printf 'on'; printf '[    1.000000] a: b\\n'; echo e"
    assert ConsoleShell(console).run(command, soon()) == "one"


def test_a_command_that_does_not_end(console: socket.socket) -> None:
    started = time.monotonic()
    with pytest.raises(RigError, match=r"waited 1 s for .*end-"):
        ConsoleShell(console).run("cat", Deadline.after(1))
    assert time.monotonic() - started < 15


def test_a_status_that_nobody_can_read_is_none() -> None:
    ours, theirs = socket.socketpair()

    def lie() -> None:
        mark = theirs.recv(4096).decode().split("be''gin-")[1].split("'")[0]
        theirs.sendall(f"begin-{mark}\nend-{mark}-{'9' * 5000}-".encode())

    liar = threading.Thread(target=lie)
    with ours, theirs:
        liar.start()
        with pytest.raises(RigError, match=r"waited 1 s for .*end-"):
            ConsoleShell(ours).run("true", Deadline.after(1))
        liar.join(5)


def test_words_and_live_view(console: socket.socket) -> None:
    shown = bytearray()
    shell = ConsoleShell(console, shown.extend)
    assert shell.wait_for(r"\(initramfs\) ", soon()) == "(initramfs) "
    assert b"(initramfs) " in shown


def test_what_came_before_the_words_is_shown_too_and_bytes_that_are_no_text_are_told() -> None:
    ours, theirs = socket.socketpair()
    shown = bytearray()
    with ours, theirs:
        theirs.sendall(b"before a\xffb after")
        assert ConsoleShell(ours, shown.extend).wait_for("a.b", soon()) == "a\N{REPLACEMENT CHARACTER}b"
    assert shown == b"before a\xffb"


def test_a_console_that_closes() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        shell = ConsoleShell(ours)
        with pytest.raises(RigError, match="the console closed while waiting for 'x'"):
            shell.wait_for("x", soon())
        with pytest.raises(RigError) as caught:
            ConsoleShell(ours).run("true", soon())
        assert (caught.value.what, caught.value.detail) == ("the console closed", "")
