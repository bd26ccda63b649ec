"""What QEMU says reaches a slow reader whole, and what is typed reaches QEMU."""

import errno
import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay

from harness.errors import RigError
from harness.machine.pump import pumped

MUCH = b"0123456789abcdef" * 262_144
"""4 MiB: far more than the buffers of two UNIX sockets."""


@pytest.fixture
def qemu() -> Iterator[tuple[socket.socket, socket.socket]]:
    """QEMU's side and the harness's."""
    with (pair := socket.socketpair())[0], pair[1]:
        pair[0].settimeout(10.0)
        yield pair


@contextmanager
def console_of(source: socket.socket, log: BinaryIO | None = None) -> Iterator[socket.socket]:
    with pumped(source, log) as pump:
        yield pump.end
        assert pump.failure() is None


def read_all(end: socket.socket) -> bytes:
    end.settimeout(10.0)
    whole = bytearray()
    while data := end.recv(65536):
        whole += data
    return bytes(whole)


def test_a_reader_that_does_not_read_holds_up_nobody(qemu: tuple[socket.socket, socket.socket]) -> None:
    """Without the pump QEMU's side would not be rid of it: the socket is full after some 200 KiB."""
    says, source = qemu
    with console_of(source) as console:
        says.sendall(MUCH)
        says.shutdown(socket.SHUT_WR)
        assert read_all(console) == MUCH


def test_a_console_that_speaks_byte_by_byte_wakes_its_reader_seldom(qemu: tuple[socket.socket, socket.socket]) -> None:
    """Each time it is woken the reader looks at all that happened so far."""
    says, source = qemu

    def say() -> None:
        for _ in range(100):
            says.send(b".")
            threading.Event().wait(0.001)
        says.shutdown(socket.SHUT_WR)

    with console_of(source) as console:
        console.settimeout(10.0)
        threading.Thread(target=say, daemon=True).start()
        pieces = list(iter(lambda: console.recv(65536), b""))
    assert b"".join(pieces) == b"." * 100
    assert len(pieces) < 50


def test_what_qemu_dropped_of_a_journal_is_taken_from_its_log(
    qemu: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    """The socket was full for the second line; of the third the log has nothing yet when the socket says it."""
    says, source = qemu
    (path := tmp_path / "journal.log").touch()
    with path.open("ab", buffering=0) as written, path.open("rb") as log, console_of(source, log) as journal:
        journal.settimeout(10.0)
        says.send(b"one\n")
        written.write(b"one\n")
        assert journal.recv(100) == b"one\n"
        written.write(b"two\n")
        says.send(b"three\n")
        threading.Event().wait(0.05)
        written.write(b"three\n")
        assert b"".join(iter(lambda: journal.recv(1), b"\n")) == b"two"
        assert b"".join(iter(lambda: journal.recv(1), b"\n")) == b"three"
        written.write(b"four\n")
        assert b"".join(iter(lambda: journal.recv(1), b"\n")) == b"four", "of which the socket says nothing"
        written.write(b"last words")
        says.close()
        assert read_all(journal) == b"last words"


def test_what_is_typed_arrives(qemu: tuple[socket.socket, socket.socket]) -> None:
    says, source = qemu
    with console_of(source) as console:
        console.sendall(b"secret\n")
        assert says.recv(100) == b"secret\n"


def test_the_end_of_qemu_is_the_end_of_the_console(qemu: tuple[socket.socket, socket.socket]) -> None:
    says, source = qemu
    with console_of(source) as console:
        says.sendall(b"last words")
        says.close()
        assert read_all(console) == b"last words"


@pytest.mark.parametrize("logged", [False, True])
def test_so_is_its_death_with_something_unread(
    qemu: tuple[socket.socket, socket.socket], tmp_path: Path, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel says ECONNRESET then, and EPIPE to what is typed afterwards; nobody else has to hear of it."""
    says, source = qemu
    (path := tmp_path / "console.log").write_bytes(b"last words")
    with path.open("rb") as log, console_of(source, log if logged else None) as console:
        says.sendall(b"last words")
        console.sendall(b"never read")
        assert says.recv(10, socket.MSG_PEEK)
        says.close()
        assert read_all(console) == b"last words"
        console.sendall(b"nor this")
    gc.collect()  # then asyncio logs what a task raised and nobody asked for
    assert not caplog.records


def test_a_reader_that_hung_up_is_no_matter(qemu: tuple[socket.socket, socket.socket]) -> None:
    says, source = qemu
    with console_of(source) as console:
        console.close()
        says.sendall(MUCH)
        assert says.recv(1) == b"", "it hears that nobody is there any more"


def test_it_ends_with_its_block_whatever_is_still_said(qemu: tuple[socket.socket, socket.socket]) -> None:
    says, source = qemu
    before = threading.active_count()
    with console_of(source):
        says.sendall(MUCH)
    assert threading.active_count() == before
    assert says.recv(100) == b""


class Unreadable:
    """A log on a disk that breaks."""

    def read(self) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


def test_a_pump_that_breaks_says_so_and_holds_no_reader(qemu: tuple[socket.socket, socket.socket]) -> None:
    """A journal that nobody could read is none in which nothing stood."""
    _, source = qemu
    log: Any = Unreadable()
    with pytest.raises(RigError, match="console pump broke"), pumped(source, log) as pump:
        assert read_all(pump.end) == b""
        assert "console pump broke: OSError(5" in (pump.failure() or "")


def test_a_log_that_lacks_what_the_console_said_is_told(
    qemu: tuple[socket.socket, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU passes over what it cannot write there, and a log that is rotated goes on in another file."""
    monkeypatch.setattr("harness.machine.pump.LATE_SECONDS", 0.3)
    says, source = qemu
    (path := tmp_path / "journal.log").write_bytes(b"one\n")
    with path.open("rb") as log, pumped(source, log) as pump:
        says.sendall(b"one\ntwo\n")
        assert pump.end.recv(100) == b"one\n"
        Retrying(stop=stop_after_delay(10), retry=retry_if_result(lambda told: told is None))(pump.failure)
        assert "lacks 4 bytes or more" in (pump.failure() or "")
        with path.open("ab") as late:
            late.write(b"two\n")
        assert pump.end.recv(100) == b"two\n"
        assert pump.failure() is None


def test_the_last_words_that_a_log_gets_late_are_waited_for(
    qemu: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    says, source = qemu
    (path := tmp_path / "journal.log").touch()
    with path.open("rb") as log, console_of(source, log) as journal:
        says.sendall(b"last words")
        says.close()
        threading.Event().wait(0.2)
        path.write_bytes(b"last words")
        assert read_all(journal) == b"last words"
