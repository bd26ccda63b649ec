"""A server of `socketserver` for the length of a block, and what its handlers raise."""

import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.network.serving import serving


def server(at: Path, handle: Callable[[socket.socket], None]) -> socketserver.ThreadingUnixStreamServer:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            handle(self.request)

    made = socketserver.ThreadingUnixStreamServer(str(at), Handler)
    made.daemon_threads = True
    return made


def call(at: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(at))
        return client.recv(99)


def fail(_client: socket.socket) -> None:
    raise ValueError("a mistake")


def test_it_answers_and_is_closed_at_the_end(tmp_path: Path) -> None:
    with serving(server(tmp_path / "s", lambda client: client.sendall(b"hello")), "greeter"):
        assert call(tmp_path / "s") == b"hello"
        found = [thread.daemon for thread in threading.enumerate() if thread.name == "greeter"]
        assert found == [True], "a process that ends does not wait for it"
    assert not any(thread.name == "greeter" for thread in threading.enumerate())
    with pytest.raises(ConnectionRefusedError):
        call(tmp_path / "s")


def test_what_an_answer_fails_with_is_told_at_the_end(tmp_path: Path) -> None:
    with (
        pytest.raises(RigError, match="greeter broke: ValueError") as told,
        serving(server(tmp_path / "s", fail), "greeter") as failure,
    ):
        assert failure() is None
        assert call(tmp_path / "s") == b""
        assert failure() == "greeter broke: ValueError('a mistake')", "and before the end"
    assert isinstance(told.value.__cause__, ValueError)


def test_it_does_not_cover_what_happened_in_the_block(tmp_path: Path) -> None:
    with pytest.raises(KeyError), serving(server(tmp_path / "s", fail), "greeter"):
        call(tmp_path / "s")
        raise KeyError


def test_a_caller_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    def answer_nobody(_client: socket.socket) -> None:
        raise BrokenPipeError

    with serving(server(tmp_path / "s", answer_nobody), "greeter"):
        assert call(tmp_path / "s") == b""
