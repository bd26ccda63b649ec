"""The life of a server in a container, with no Docker."""

from typing import Any

import pytest

from harness.errors import RigError
from harness.services.container import OwnedContainer
from harness.services.container_server import ContainerServer


class Stubborn:
    """A container whose removal fails."""

    def __init__(self, *_arguments: object) -> None:
        self.running = True
        self.lines = ()

    def __enter__(self) -> "Stubborn":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:  # as `OwnedContainer` has it
            raise RigError("it was not removed")

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
