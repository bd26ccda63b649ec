"""Keylime as a scenario sees it: its verifier asks nodes for quotes, and tells by a webhook which it does not trust.

Verifier, registrar and tenant are Keylime's own, in a container (`keylime_server`). A node's agent calls the registrar
at the service's endpoint; the verifier calls the agent, through a UNIX socket of the node's in `Keylime.nodes`, which
whoever runs the node leads to its port `AGENT_PORT`. A node that fails is refused by the services that are guarded, by
its name and wherever it stands, until a quote of it is good again.
"""
# ruff: noqa: PLC0415 - as in `harness.services.tang`

import base64
import json
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from harness.errors import RigError
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint
from harness.network.serving import serving
from harness.progress import Progress
from harness.services.proxied import Proxied
from harness.services.service import Service, quarantine

if TYPE_CHECKING:
    from harness.services.keylime_server import KeylimeServer

PLACE = Endpoint(8890)
"""The port of Keylime's registrar."""

AGENT_PORT = 9002
"""Where the agent listens in the node."""

WEBHOOK = "webhook"
_REVOCATION = "revocation"
_LARGEST = 2**20
_TOLD_SECONDS = 60.0


@dataclass(frozen=True)
class Revocation:
    """What the verifier told of a node.

    Attributes:
        kind: ``revocation`` of one that it does not trust any more, ``comm_error`` of one that it does not reach.
        node: Its name.
        event: What is wrong, as ``pcr_validation.invalid_pcr_12``.
        severity: As Keylime's policy of severities has it.
    """

    kind: str
    node: str
    event: str
    severity: str


class Keylime(Proxied["KeylimeServer"]):
    """Keylime's servers and the fault proxy before the registrar, a `Service`. `serve_keylime` makes one.

    Args:
        name: For messages.
        endpoint: Where a node finds the registrar.
        server: What runs.
        proxy: What every connection of a node passes.
        guarded: Services that refuse the machines which it does not trust.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        server: "KeylimeServer",
        proxy: FaultProxy,
        guarded: Iterable[Service],
    ) -> None:
        super().__init__(name, endpoint, server, proxy)
        self._guarded = tuple(guarded)
        self._told = threading.Condition()
        self._revocations: list[Revocation] = []
        self._webhook_failure: Callable[[], str | None] = lambda: None

    def failure(self) -> str | None:
        """What is wrong with its servers, the proxy, or the webhook by which nodes are cut off."""
        return super().failure() or self._webhook_failure()

    @contextmanager
    def webhook(self) -> Iterator[None]:
        """Take what the verifier tells, for the length of the block: its words come without the TLS around them."""
        server = socketserver.ThreadingUnixStreamServer(str(self.nodes / WEBHOOK), _handler(self))
        server.daemon_threads = True
        with serving(server, "keylime webhook") as self._webhook_failure:
            yield

    @property
    def nodes(self) -> Path:
        """Where the sockets of nodes are, each called like its node."""
        return self.server.nodes

    @property
    def revocations(self) -> tuple[Revocation, ...]:
        """What it has told so far."""
        with self._told:
            return tuple(self._revocations)

    def told(self, message: Mapping[str, str]) -> None:
        """Take what the verifier told its webhook, and begin a node's quarantine if its quote was bad.

        A node that is only out of reach was perhaps turned off: were it refused for that, it would not open again.
        """
        node = self.server.node(message["agent_id"])
        said = Revocation(message["type"], node, message.get("event_id", ""), message.get("severity_label", ""))
        with self._told:
            self._revocations.append(said)
            if said.kind == _REVOCATION:
                quarantine(self._guarded, said.node, ended=False)
            self._told.notify_all()

    def node_file(self, node: str, *, owner_password: str = "str:") -> str:
        """What the agent of a node is told (``images/debian-13-keylime``, keylime-agent).

        Args:
            node: Its name.
            owner_password: What it takes ownership of the TPM with, as tpm2-tools have it; empty: a random one.
        """
        ca = base64.b64encode(self.server.authority).decode()
        told = {
            "name": self.server.agent(node),
            "registrar_ip": self.endpoint.address,
            "registrar_port": self.endpoint.port,
            "contact_port": self.server.contact_port(node),
            "owner_password": owner_password,
            "ca": ca,
        }
        return "".join(f"{key}={value}\n" for key, value in told.items())

    def admit(self, node: str, pcrs: Mapping[int, str]) -> bool:
        """Have the verifier ask a node for quotes from now on, and hold them to these PCRs (hex, of the bank sha256).

        Returns:
            Whether a quote was good, which ends its quarantine.

        Raises:
            RigError: The node is not registered, or the verifier never came to think anything of it.
        """
        trusted = self.server.admit(node, pcrs)
        if trusted:
            with self._told:
                quarantine(self._guarded, node, ended=True)
        return trusted

    def forget(self, node: str) -> None:
        """Have the registrar forget a node, which may then come with another attestation key. A quarantine stays.

        Raises:
            RigError: It did not.
        """
        self.server.forget(node)

    def await_verdict(self, node: str, *, trusted: bool) -> None:
        """Wait until the verifier thinks that of a node.

        Raises:
            RigError: It does not, long after it must have asked for a quote.
        """
        self.server.await_verdict(node, trusted=trusted)

    def await_revocation(self, node: str) -> Revocation:
        """Wait until it has told that a node is not to be trusted.

        Raises:
            RigError: It has not, long after it must have.
        """
        with self._told:
            if not self._told.wait_for(lambda: self._revocation_of(node), _TOLD_SECONDS):
                raise RigError(f"{self.name} told nothing of {node} within {_TOLD_SECONDS:.0f} s", self.server.raw_log)
            found = self._revocation_of(node)
            assert found
            return found

    def _revocation_of(self, node: str) -> Revocation | None:
        return next((each for each in self._revocations if (each.kind, each.node) == (_REVOCATION, node)), None)


@contextmanager
def serve_keylime(
    name: str,
    authorities: Iterable[Certificate],
    guarded: Iterable[Service],
    progress: Progress,
    endpoint: Endpoint = PLACE,
) -> Iterator[Keylime]:
    """Run Keylime with its registrar behind a fault proxy, answering.

    Args:
        name: For messages.
        authorities: Those that sign EKs, whose TPMs are taken for TPMs.
        guarded: Services that refuse the machines which it does not trust.
        progress: Says what takes long.
        endpoint: Where a node finds the registrar.

    Raises:
        HostError: No Docker, or its image cannot be built.
        RigError: It did not come up, or on leaving: the fault proxy broke meanwhile.
    """
    from harness.host.docker import docker_client
    from harness.host.scratch import scratch
    from harness.services.keylime_server import KeylimeServer, keylime_image

    certificates = [authority.public_bytes(Encoding.PEM) for authority in authorities]
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(name))
        nodes = stack.enter_context(scratch(None))
        client = stack.enter_context(docker_client())
        image = keylime_image(client, progress)
        server = KeylimeServer(client, image, name, certificates, nodes)
        keylime = Keylime(name, endpoint, server, proxy, guarded)
        stack.enter_context(keylime.webhook())
        with progress.step(f"starting {name}'s verifier and registrar"):
            stack.enter_context(server)
        keylime.start()
        yield keylime


def _handler(keylime: Keylime) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            keylime.told(json.loads(json.loads(self.rfile.read(min(size, _LARGEST)))["msg"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """What is to be known is in `Keylime.revocations`."""

    return Handler
