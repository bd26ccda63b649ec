"""An HSM on the network as a scenario sees it: SoftHSM2 outside the guest, behind ``p11-kit remote``.

A guest's p11-kit reaches it by a module ``remote: |socat - TCP:…`` (pkcs11.conf(5)). Its key never enters the guest;
what the guest sends is its PIN, and what is to be decrypted, both in the clear, as p11-kit has it.
"""
# ruff: noqa: PLC0415 - as in `harness.services.tang`

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from harness.network.connection import Client
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint
from harness.progress import Progress
from harness.services.hsm_log import HsmCall, HsmCalls, ascribed
from harness.services.hsm_token import HsmToken
from harness.services.log import Testimony
from harness.services.proxied import Asked

if TYPE_CHECKING:
    from harness.services.hsm_server import HsmServer  # noqa: F401 - named in a string


class Hsm(Asked["HsmServer"]):
    """An HSM and the fault proxy before it, a `Service`. `serve_hsm` makes one."""

    def replace_key(self) -> None:
        """Put another HSM in its place: the same label and PIN, another key."""
        old = self.server.token
        with self._replaced():
            self.server.replace(HsmToken.new(old.label, old.pin))

    @property
    def calls(self) -> tuple[HsmCall, ...]:
        """All that it logged since it was first started, without the harness's own probes, and who called."""
        return ascribed(self.server.calls, self.connections)

    def calls_of(self, client: Client) -> HsmCalls:
        """What one machine has had from it, or wanted, since it was turned on."""
        return HsmCalls(tuple(call for call in self.calls if call.client == client), self.unanswered_by(client))

    def testimony(self, client: Client) -> Testimony:
        """What it says of `calls_of`."""
        return self.calls_of(client).testimony


@contextmanager
def serve_hsm(name: str, token: HsmToken, endpoint: Endpoint, progress: Progress) -> Iterator[Hsm]:
    """Run an HSM behind a fault proxy, answering.

    Args:
        name: What the policy calls it.
        token: What it holds.
        endpoint: Where a guest finds it.
        progress: Says what takes long.

    Raises:
        HostError: No Docker, or its image cannot be built.
        RigError: It did not come up, or on leaving: the fault proxy broke meanwhile.
    """
    from harness.host.docker import docker_client
    from harness.services.hsm_server import HsmServer, hsm_image

    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(name))
        client = stack.enter_context(docker_client())
        image = hsm_image(client, progress)
        hsm = Hsm(name, endpoint, stack.enter_context(HsmServer(client, image, name, token)), proxy)
        hsm.start()
        yield hsm
