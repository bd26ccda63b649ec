"""The way into the guest, against a real SSH server in this process over a socket pair."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import paramiko
import pytest

from harness.guest import forward
from harness.guest.forward import forwarded

PORT, SILENT, SHUT, NOBODY = range(9002, 9006)


class Guest(paramiko.ServerInterface):
    """Somebody listens on one port, and says in capitals what it was told.

    A second port never answers, and on a third connections are closed at the first word.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        self.transport = transport
        self.answering: list[threading.Thread] = []
        self.over = threading.Event()

    def check_auth_none(self, username: str) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_direct_tcpip_request(self, chanid: int, origin: object, destination: tuple[str, int]) -> int:
        if destination == ("127.0.0.1", SILENT):
            self.over.wait(30)
        answers = {("127.0.0.1", PORT): shout, ("127.0.0.1", SHUT): slam}
        if origin != ("127.0.0.1", 0) or destination not in answers:
            return paramiko.common.OPEN_FAILED_CONNECT_FAILED
        self.answering.append(threading.Thread(target=answers[destination], args=(self.transport,)))
        self.answering[-1].start()
        return paramiko.common.OPEN_SUCCEEDED


def shout(guest: paramiko.Transport) -> None:
    """Answer one connection: what was said, once all is said."""
    channel = guest.accept(10)
    assert channel
    with suppress(EOFError, OSError), channel, channel.makefile("rb") as said:  # who called may have hung up
        channel.sendall(said.read().upper())


def slam(guest: paramiko.Transport) -> None:
    """Hear one connection's first word, and hang up."""
    channel = guest.accept(10)
    assert channel
    assert channel.recv(1)
    channel.close()


@pytest.fixture
def ends() -> Iterator[tuple[paramiko.Transport, paramiko.Transport]]:
    """Ours, and the guest's."""
    ours, theirs = socket.socketpair()
    with closing(paramiko.Transport(theirs)) as guest, closing(paramiko.Transport(ours)) as transport:
        guest.add_server_key(paramiko.ECDSAKey.generate())
        server = Guest(guest)
        guest.start_server(event=threading.Event(), server=server)
        transport.start_client(timeout=10)
        transport.auth_none("root")
        yield transport, guest
        server.over.set()
        guest.close()
        for thread in server.answering:
            thread.join(10)


@pytest.fixture
def transport(ends: tuple[paramiko.Transport, paramiko.Transport]) -> paramiko.Transport:
    return ends[0]


def called(at: Path, said: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(at))
        if said:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            return answer.read()


def await_carrying(wanted: bool) -> None:
    """Until a connection is led to the guest, or none is any more."""
    deadline = time.monotonic() + 10
    while any(thread.name == "forward back" for thread in threading.enumerate()) is not wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_bytes_go_both_ways(transport: paramiko.Transport, tmp_path: Path) -> None:
    at = tmp_path / "node"
    with forwarded(transport, at, PORT):
        assert called(at, b"quote" * 100_000) == b"QUOTE" * 100_000
    assert not at.exists()


def test_where_nobody_listens_the_connection_is_closed(
    transport: paramiko.Transport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with forwarded(transport, tmp_path / "node", NOBODY):
        assert called(tmp_path / "node", b"") == b""
    with forwarded(transport, tmp_path / "node", PORT):
        assert called(tmp_path / "node", b"there") == b"THERE"
    assert capsys.readouterr().err == ""


def test_a_guest_that_does_not_answer_in_time_answers_nothing(
    transport: paramiko.Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "_OPEN_SECONDS", 0.3)
    with forwarded(transport, tmp_path / "node", SILENT):
        assert called(tmp_path / "node", b"") == b""


def test_a_guest_that_goes_off_as_it_is_called_answers_nothing(
    ends: tuple[paramiko.Transport, paramiko.Transport], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, guest = ends
    leaving = threading.Timer(0.3, guest.packetizer.close)
    with forwarded(ours, tmp_path / "node", SILENT):
        leaving.start()
        assert called(tmp_path / "node", b"") == b""
    leaving.join(10)
    assert capsys.readouterr().err == ""


def test_a_guest_that_hangs_up_while_it_is_told_more_is_no_matter(
    transport: paramiko.Transport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = tmp_path / "node"
    with forwarded(transport, at, SHUT), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(at))
        with suppress(BrokenPipeError, ConnectionResetError):
            while True:
                connection.sendall(b"quote")
    assert capsys.readouterr().err == ""


def test_a_caller_that_hangs_up_early_is_no_matter(transport: paramiko.Transport, tmp_path: Path) -> None:
    at = tmp_path / "node"
    with forwarded(transport, at, PORT):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(at))
            connection.sendall(b"quote" * 100_000)
            await_carrying(True)
        await_carrying(False)


def test_it_ends_with_its_block_whoever_is_still_connected(transport: paramiko.Transport, tmp_path: Path) -> None:
    at = tmp_path / "node"
    with socket.socket(socket.AF_UNIX) as connection:
        with forwarded(transport, at, PORT):
            connection.connect(str(at))
            await_carrying(True)
            at.unlink()
        assert not at.exists()


def test_a_guest_that_went_off_answers_nothing(
    transport: paramiko.Transport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with forwarded(transport, tmp_path / "node", PORT):
        transport.close()
        assert called(tmp_path / "node", b"") == b""
    assert capsys.readouterr().err == ""
