"""The way into the guest, against a real SSH server in this process over a socket pair."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import paramiko
import pytest

from harness.guest.forward import forwarded

PORT = 9002


class Guest(paramiko.ServerInterface):
    """Somebody listens on one port, and says in capitals what it was told."""

    def check_auth_none(self, username: str) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_direct_tcpip_request(self, chanid: int, origin: object, destination: tuple[str, int]) -> int:
        here = destination == ("127.0.0.1", PORT)
        return paramiko.common.OPEN_SUCCEEDED if here else paramiko.common.OPEN_FAILED_CONNECT_FAILED


def shout(guest: paramiko.Transport) -> None:
    """Answer one connection: what was said, once all is said."""
    channel = guest.accept(10)
    if channel is None:
        return
    with channel, channel.makefile("rb") as said:
        channel.sendall(said.read().upper())


@pytest.fixture
def transport() -> Iterator[paramiko.Transport]:
    ours, theirs = socket.socketpair()
    with closing(paramiko.Transport(theirs)) as guest, closing(paramiko.Transport(ours)) as transport:
        guest.add_server_key(paramiko.ECDSAKey.generate())
        guest.start_server(event=threading.Event(), server=Guest())
        transport.start_client(timeout=10)
        transport.auth_none("root")
        answering = threading.Thread(target=shout, args=(guest,))
        answering.start()
        yield transport
        guest.close()
        answering.join(10)


def called(at: Path, said: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(at))
        if said:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            return answer.read()


def test_bytes_go_both_ways(transport: paramiko.Transport, tmp_path: Path) -> None:
    at = tmp_path / "node"
    with forwarded(transport, at, PORT):
        assert called(at, b"quote" * 100_000) == b"QUOTE" * 100_000
    assert not at.exists()


def test_where_nobody_listens_the_connection_is_closed(transport: paramiko.Transport, tmp_path: Path) -> None:
    with forwarded(transport, tmp_path / "node", PORT + 1):
        assert called(tmp_path / "node", b"") == b""
    with forwarded(transport, tmp_path / "node", PORT):
        assert called(tmp_path / "node", b"there") == b"THERE"


def test_a_guest_that_went_off_answers_nothing(transport: paramiko.Transport, tmp_path: Path) -> None:
    with forwarded(transport, tmp_path / "node", PORT):
        transport.close()
        assert called(tmp_path / "node", b"") == b""
