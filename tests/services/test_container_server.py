"""The life of a server in a container, with no Docker."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound

from harness.deadline import Deadline
from harness.errors import RigError
from harness.services.container import OwnedContainer
from harness.services.container_server import ContainerServer
from harness.services.service_image import ServiceImage


class Stubborn:
    """A container whose removal fails."""

    def __init__(self, *_arguments: object) -> None:
        self.running = True
        self.lines = ()
        self.died: str | None = None

    def __enter__(self) -> "Stubborn":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:  # as `OwnedContainer` has it
            raise RigError("it was not removed")

    def failure(self) -> str | None:
        return self.died

    def published_port(self) -> int:
        return 80


class Server(ContainerServer):
    asks = "nothing"

    def archive(self) -> None:
        return None

    def probe(self, container: OwnedContainer, port: int) -> None:
        """It answers at once."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr("harness.services.container_server.OwnedContainer", Stubborn)
    nothing: Any = None
    return Server(nothing, nothing, "tang")


def test_a_removal_that_fails_is_told(server: Server) -> None:
    with pytest.raises(RigError, match="it was not removed"), server:
        assert server.running
    assert not server.running


def test_it_does_not_cover_what_happened_in_the_block(server: Server) -> None:
    with pytest.raises(KeyError), server:
        raise KeyError
    assert not server.running


class Obedient(Stubborn):
    """A container that does as it is told."""

    def __exit__(self, *_: object) -> None:
        self.running = False


def test_what_ended_by_itself_is_a_failure_and_what_was_stopped_is_none(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setattr("harness.services.container_server.OwnedContainer", Obedient)
    assert server.failure() is None, "it was never started"
    with server:
        assert server.failure() is None
        server.stop()
        assert server.failure() is None
        server.start()
        life: Any = server.lives[-1]
        life.died = "the container of tang has ended by itself"
        assert server.failure() == life.died
        server.stop()
        server.start()
        assert server.failure() == life.died, "what it was asked in between nobody knows"


class Docker:
    """A daemon with one container, whose output the test says."""

    def __init__(self) -> None:
        self.api = self.containers = self
        self.id, self.ports = "1", {"80/tcp": [{"HostPort": "80"}]}
        self.says, self._leash = socket.socketpair()

    def __getattr__(self, _name: str) -> Any:
        """Whatever else it is told, it does."""
        return lambda *_, **__: ()

    def create(self, *_: object, **__: object) -> "Docker":
        return self

    def attach_socket(self, *_: object, **__: object) -> object:
        return SimpleNamespace(_sock=self._leash, close=lambda: None)

    def inspect_container(self, _id: str) -> None:
        raise NotFound("it is gone")

    def say(self, line: str) -> None:
        self.says.sendall(struct.pack(">BxxxL", 1, len(line) + 1) + line.encode() + b"\n")

    def end_when_told(self) -> None:
        """As the supervisor does: its standard input ends."""
        self.says.recv(1)
        self.says.close()


@pytest.fixture
def docker() -> Iterator[Docker]:
    daemon = Docker()
    with closing(daemon.says):
        yield daemon


def owned(docker: Any) -> OwnedContainer:
    return OwnedContainer(docker, ServiceImage("tang", "1", ("tangd",), 80, "/keys"), "tang")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = Deadline.after(10.0)
    while not condition():
        assert not deadline.over


def test_a_container_that_ends_as_it_is_told_is_no_failure(docker: Docker) -> None:
    obeys = threading.Thread(target=docker.end_when_told)
    with owned(docker) as container:
        obeys.start()
        docker.say("ready")
        wait_for(lambda: container.lines)
        assert container.failure() is None
    obeys.join()
    assert container.failure() is None


def test_a_container_that_ends_by_itself_says_so_with_its_last_words(docker: Docker) -> None:
    with owned(docker) as container:
        docker.say("killed")
        docker.says.close()
        wait_for(container.failure)
    assert container.failure() == "the container of tang has ended by itself\nkilled"


def test_a_log_that_breaks_off_is_a_failure_whatever_broke_it(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Iterator[tuple[int, bytes]]:
        yield 1, b"POST /rec/x => 2"
        raise ValueError("no frame of Docker's")

    monkeypatch.setattr("harness.services.container.frames_iter", broken)
    with owned(docker) as container:
        wait_for(container.failure)
    assert "the connection to the container broke: no frame" in (container.failure() or "")
