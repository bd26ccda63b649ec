"""A server behind a fault proxy: what stops it, silences it, restricts it, whatever it serves."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from harness.errors import RigError, UsageError
from harness.network.connection import HOME, Client, Connection, Mode
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint
from harness.services.log import Testimony


class Server(Protocol):
    """What runs behind the proxy."""

    def start(self) -> None:
        """Run and answer; nothing happens if it runs."""

    def stop(self) -> None:
        """Stop it; nothing happens if it is down."""

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""

    @property
    def address(self) -> tuple[str, int]:
        """Where on this host it listens; another place after each start."""

    def failure(self) -> str | None:
        """What became of it that nobody wanted."""

    @property
    def raw_log(self) -> str:
        """All that it printed since it was first started."""


S = TypeVar("S", bound=Server)


class Proxied(Generic[S]):
    """A `Service` whose server is one of this host's.

    Attributes:
        name: What the policy calls it.
        endpoint: Where a guest finds it: it is sealed into the guest's binding.
        proxy: For what the verbs below do not say.
        server: The same.
    """

    def __init__(self, name: str, endpoint: Endpoint, server: S, proxy: FaultProxy) -> None:
        self.name = name
        self.endpoint = endpoint
        self.server = server
        self.proxy = proxy

    def stop(self) -> None:
        """Stop the server: connections are refused at once."""
        self.proxy.mode = Mode.REFUSE
        self.server.stop()

    def start(self) -> None:
        """Start it again after `stop`, with the same keys, answering."""
        self.server.start()
        self.proxy.upstream = self.server.address
        self.proxy.mode = Mode.OPEN

    def go_silent(self) -> None:
        """Let packets to it vanish: connections are neither made nor refused.

        QEMU's user network resets such a connection towards the guest after 75 s (libslirp, TCPTV_KEEP_INIT).
        """
        self.proxy.mode = Mode.DROP

    def stall(self) -> None:
        """Accept connections and never answer them."""
        self.proxy.mode = Mode.STALL

    def answer(self) -> None:
        """End `go_silent` or `stall`.

        Raises:
            UsageError: It was stopped; `start` is the way back from that.
        """
        if not self.server.running:
            raise UsageError(f"{self.name} was stopped, so it cannot answer", hint="call start()")
        self.proxy.mode = Mode.OPEN

    def answers_only(self, *sites: str, refusing: bool = False) -> None:
        """Answer machines at these places alone; those elsewhere get no answer, or are refused. No names: any place."""
        self.proxy.restrict(sites or None, Mode.REFUSE if refusing else Mode.DROP)

    def failure(self) -> str | None:
        """What is wrong with the server, its log, or the proxy; what the verbs above do is no failure."""
        return self.proxy.failure() or self.server.failure()

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that came through the fault proxy, with their bytes.

        Raises:
            RigError: The server or the proxy broke, so that what it was asked is not all that was to be answered.
        """
        if failure := self.failure():
            raise RigError(failure, hint="this says nothing about the guest")
        return self.proxy.connections

    @property
    def unanswered(self) -> int:
        """How many packets vanished and how many connections were stalled at the proxy: calls in vain."""
        return self.proxy.dropped() + sum(connection.mode is Mode.STALL for connection in self.connections)

    def unanswered_by(self, client: Client) -> int:
        """The same of one machine."""
        stalled = (each.mode is Mode.STALL for each in self.connections if each.client == client)
        return self.proxy.dropped(client) + sum(stalled)

    def connect(self, client: Client, site: str = HOME) -> socket.socket:
        """A connection to it such as this machine would make at that site, through the fault proxy.

        Raises:
            ConnectionRefusedError: It does not answer such a machine.
        """
        return self.proxy.connect(client, site)

    @property
    def raw_log(self) -> str:
        """Its log as it stands."""
        return self.server.raw_log

    @contextmanager
    def _replaced(self) -> Iterator[None]:
        """Refuse connections while the block starts the server anew; then lead to it, in the mode that was before."""
        mode = self.proxy.mode
        self.proxy.mode = Mode.REFUSE
        yield
        self.proxy.upstream = self.server.address
        self.proxy.mode = mode if mode is not Mode.REFUSE else Mode.OPEN


class Asked(Proxied[S], ABC):
    """One that pins ask: what it says of a boot is evidence of how a volume was opened."""

    @abstractmethod
    def testimony(self, client: Client) -> Testimony:
        """What it says of what one machine has had from it, or wanted, since that was turned on."""
