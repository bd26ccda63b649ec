"""Tang as a scenario sees it: a server that can be stopped, silenced, restricted, and asked what it saw.

Docker's library takes half a second to be imported, so it is where a server is started: what merely names Tang's verbs
(the conditions of the truth table, and so `unlock-lab explain`) does without.
"""
# ruff: noqa: PLC0415

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from harness.errors import RigError
from harness.files import tail
from harness.network.connection import Client
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint
from harness.network.relay import Tamper
from harness.policy.pins.placeholders import TangAddress
from harness.progress import Progress
from harness.services.log import Testimony
from harness.services.proxied import Asked
from harness.services.service import Service
from harness.services.tang_keys import TangKeys
from harness.services.tang_log import LATEST_LINE, TangCalls, TangRequest, ascribed, unlogged

if TYPE_CHECKING:
    from harness.services.tang_server import TangServer  # noqa: F401 - named in a string


_ASK_SECONDS = 0.05


class Tang(Asked["TangServer"]):
    """A Tang server and the fault proxy before it, a `Service`. `serve_tang` makes one."""

    @property
    def url(self) -> str:
        """What a guest calls it."""
        return self.endpoint.url

    @property
    def keys(self) -> TangKeys:
        """Its keys now, hidden ones included."""
        return self.server.keys

    @property
    def thumbprint(self) -> str:
        """The thumbprint of its advertised signing key."""
        return self.server.thumbprint

    def rotate_keys(self) -> None:
        """Make new keys and hide the present ones, as tangd-rotate-keys(1) does; old bindings still work."""
        self.server.rotate()

    def delete_old_keys(self) -> None:
        """Delete the keys that were rotated out."""
        self.server.delete_rotated()

    def delete_old_signing_key(self) -> None:
        """Delete the signing key that was rotated out: a client needs it to bind, and no more to recover."""
        self.replace_keys(self.keys.without_hidden("verify"))

    def delete_old_exchange_key(self) -> None:
        """Delete the exchange key that was rotated out, without which no binding to it can be recovered."""
        self.replace_keys(self.keys.without_hidden("deriveKey"))

    def replace_keys(self, keys: TangKeys | None = None) -> None:
        """Put an imposter in its place: other keys (new ones by default) at the same address."""
        with self._replaced():
            self.server.replace_keys(keys)

    def tamper(self, change: Tamper | None) -> None:
        """Have each whole HTTP reply (head and body) go through a function on its way to the guest; None ends it."""
        self.proxy.tamper = change

    @property
    def requests(self) -> tuple[TangRequest, ...]:
        """All that Tang logged since it was first started, without the harness's own probes, and who asked each.

        Lines of the log come later than what they are about, and are waited for.

        Raises:
            RigError: The server, its log or the proxy broke.
        """
        waiting = Retrying(
            retry=retry_if_result(lambda read: unlogged(*read) > 0),
            stop=stop_after_delay(LATEST_LINE),
            wait=wait_fixed(_ASK_SECONDS),
        )
        try:
            return ascribed(*waiting(lambda: (self.server.requests, self.connections)))
        except RetryError as error:
            what = f"{self.name} answered a recovery that its log lacks after {LATEST_LINE:.0f} s"
            raise RigError(what, tail(self.raw_log), "is the Docker daemon stuck?") from error

    @property
    def recoveries(self) -> tuple[TangRequest, ...]:
        """Those requests that recovered a key: ``POST /rec/…`` answered with 200."""
        return tuple(request for request in self.requests if request.is_recovery)

    @property
    def tampered(self) -> int:
        """How many of its replies were changed on their way."""
        return sum(connection.tampered for connection in self.connections)

    def calls(self, client: Client) -> TangCalls:
        """What one machine has had from it, or wanted, since it was turned on."""
        return TangCalls(
            self.name,
            requests=tuple(request for request in self.requests if request.client == client),
            unanswered=self.unanswered_by(client),
            tampered=sum(connection.tampered for connection in self.connections if connection.client == client),
        )

    def testimony(self, client: Client) -> Testimony:
        """What it says of `calls`."""
        return self.calls(client).testimony


def addresses(services: Iterable[Service]) -> dict[str, TangAddress]:
    """Where a guest finds each Tang server of these and who it is, by name: what fills the placeholders of a policy."""
    return {each.name: TangAddress(each.url, each.thumbprint) for each in services if isinstance(each, Tang)}


def make_keys(progress: Progress) -> TangKeys:
    """Have a Tang server make a set of keys.

    Args:
        progress: Says what takes long.

    Raises:
        HostError: No Docker, or no image.
        RigError: The server did not come up.
    """
    from harness.host.docker import docker_client
    from harness.services.tang_image import tang_image
    from harness.services.tang_server import TangServer

    with docker_client() as client, TangServer(client, tang_image(client, progress), "new keys") as server:
        return server.keys


@contextmanager
def serve_tang(name: str, keys: TangKeys | None, endpoint: Endpoint, progress: Progress) -> Iterator[Tang]:
    """Run a Tang server behind a fault proxy, answering.

    Args:
        name: What the policy calls it.
        keys: Those it has; None makes new ones.
        endpoint: Where a guest finds it.
        progress: Says what takes long.

    Raises:
        HostError: No Docker, or no image.
        RigError: The server did not come up, or on leaving: the fault proxy broke meanwhile.
    """
    from harness.host.docker import docker_client
    from harness.services.tang_image import tang_image
    from harness.services.tang_server import TangServer

    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(name))
        client = stack.enter_context(docker_client())
        server = stack.enter_context(TangServer(client, tang_image(client, progress), name, keys))
        tang = Tang(name, endpoint, server, proxy)
        tang.start()
        yield tang
