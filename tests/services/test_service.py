"""What the services of a machine that is on share."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import RigError
from harness.network.connection import HOME, Client
from harness.network.namespace import Endpoint
from harness.services.service import reached


def test_the_sockets_of_a_machine_are_closed_though_its_services_cannot_be_reached() -> None:
    def serve(*_arguments: object) -> None:
        raise RigError("the fault proxy is late")

    places = [Endpoint(80), Endpoint(81)]
    services: Any = [SimpleNamespace(endpoint=place, proxy=SimpleNamespace(serve=serve)) for place in places]
    sockets = {place: socket.socket() for place in places}
    with pytest.raises(RigError, match="late"), reached(services, sockets, Client("one", "lab-1"), HOME):
        pass
    assert [each.fileno() for each in sockets.values()] == [-1, -1]
