"""What every service offers to the machines that call it. A new one is a module that meets `Service`.

A service runs on this host, behind a fault proxy. Each machine that is on finds it at the same endpoint of a network
that is the machine's alone (`harness.network.namespace`), and so is known to the proxy as the one that calls.
"""

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Protocol

from harness.errors import UsageError
from harness.network.connection import Client
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint


class Service(Protocol):
    """Something that guests talk to while they boot. Its faults are verbs of its own; these all have.

    Attributes:
        name: What the policy calls it.
        endpoint: Where a guest finds it.
        proxy: What every connection to it passes.
    """

    name: str
    endpoint: Endpoint
    proxy: FaultProxy

    def start(self) -> None:
        """Run and answer; nothing happens if it runs."""

    def stop(self) -> None:
        """Stop it: connections are refused at once. What it knows and its log are kept."""

    def failure(self) -> str | None:
        """What is wrong with it, or None; that a scenario stopped or silenced it is no failure.

        What a guest met at a server that broke is no doing of a scenario, and so no verdict rests on it.
        """

    @property
    def raw_log(self) -> str:
        """All that it wrote about itself since it was first started."""


def endpoints(services: Iterable[Service]) -> tuple[Endpoint, ...]:
    """Where a guest finds these services.

    Raises:
        UsageError: Two of them are at the same place.
    """
    found: dict[Endpoint, str] = {}
    for service in services:
        if other := found.get(service.endpoint):
            raise UsageError(f"{service.name} and {other} cannot both be at {service.endpoint.url}")
        found[service.endpoint] = service.name
    return tuple(found)


def quarantine(services: Iterable[Service], machine: str, *, ended: bool) -> None:
    """Have services refuse a machine, by its name and wherever it stands, or refuse it no more."""
    for service in services:
        refused = service.proxy.refused
        service.proxy.refused = refused - {machine} if ended else refused | {machine}


@contextmanager
def reached(
    services: Iterable[Service], sockets: Mapping[Endpoint, socket.socket], client: Client, site: str
) -> Iterator[None]:
    """Let a machine that is on call these services, for the length of the block.

    Args:
        services: Those that it reaches.
        sockets: Bound in its network, one for each endpoint; they are closed at the end.
        client: The machine.
        site: Where it stands.
    """
    with ExitStack() as stack:
        for each in sockets.values():
            stack.callback(each.close)
        for service in services:
            stack.enter_context(service.proxy.serve(sockets[service.endpoint], client, site))
        yield
