"""Keylime's verifier, registrar and tenant in a container, made of images/keylime."""

import io
import json
import shlex
import socket
import tarfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from docker import DockerClient
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from harness.errors import RigError
from harness.paths import IMAGES
from harness.progress import Progress
from harness.services.container import SHARED, OwnedContainer
from harness.services.container_server import PROBE_SECONDS, ContainerServer
from harness.services.service_image import ServiceImage, built_image

REPOSITORY = "unlock-lab/keylime"
_RECIPE = IMAGES / "keylime"
_HOME = "/var/lib/keylime"
_ENTER = f"cd {_HOME} && export HOME={_HOME} PYTHONPATH=/opt/keylime PYTHONDONTWRITEBYTECODE=1"
_FIRST_PORT = 9100
"""Where the verifier finds the first node, inside the container."""

_VERDICT_SECONDS = 120.0
_ASK_SECONDS = 1.0


def keylime_image(client: DockerClient, progress: Progress) -> ServiceImage:
    """Return the image, building and importing it first if it is not there.

    Raises:
        HostError: It cannot be built.
    """
    return built_image(_RECIPE, REPOSITORY, client, progress)


class KeylimeServer(ContainerServer):
    """Started again it has another certificate authority, and knows no node.

    Args:
        client: The Docker daemon.
        image: What to run.
        name: For messages.
        authorities: Certificates (PEM) of those that sign EKs.
        nodes: Where the sockets of nodes and of the webhook are.

    Attributes:
        nodes: The same.
        authority: The certificate (PEM) of its own authority: who may ask an agent for a quote.
    """

    asks = "for its version"
    ready_seconds = 300.0

    def __init__(
        self, client: DockerClient, image: ServiceImage, name: str, authorities: Sequence[bytes], nodes: Path
    ) -> None:
        super().__init__(client, image, name)
        self.authority = b""
        self.nodes = self.shared = nodes
        self._authorities = tuple(authorities)
        self._nodes: list[str] = []
        self._admitted: set[str] = set()

    def archive(self) -> bytes:
        """The certificates that EKs are held to."""
        with io.BytesIO() as buffer:
            with tarfile.open(fileobj=buffer, mode="w") as tar:
                for number, certificate in enumerate(self._authorities):
                    entry = tarfile.TarInfo(f"tpm_cert_store/{number}.pem")
                    entry.size = len(certificate)
                    tar.addfile(entry, io.BytesIO(certificate))
            return buffer.getvalue()

    def probe(self, container: OwnedContainer, port: int) -> None:
        """Ask the registrar for its version; it comes up last."""
        with socket.create_connection(("127.0.0.1", port), PROBE_SECONDS) as connection:
            connection.settimeout(PROBE_SECONDS)
            connection.sendall(b"GET /version HTTP/1.0\r\n\r\n")
            if not connection.recv(1):
                raise ConnectionError("it closed the connection")

    def on_ready(self) -> None:
        """Read its authority's certificate."""
        self.authority = self.current().execute(["cat", f"{_HOME}/cv_ca/cacert.crt"]).encode()
        self._nodes, self._admitted = [], set()

    def contact_port(self, node: str) -> int:
        """The port inside the container that leads to a node; it is made if there is none yet."""
        if node not in self._nodes:
            port = _FIRST_PORT + len(self._nodes)
            listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"
            there = shlex.quote(f"UNIX-CONNECT:{SHARED}/{node}")
            self.current().execute(["sh", "-c", f"socat {listen} {there} >/dev/null 2>&1 &"])
            self._nodes.append(node)
        return _FIRST_PORT + self._nodes.index(node)

    def agent(self, node: str) -> str:
        """What Keylime knows a node by: it wants a UUID (RFC 9562, version 5)."""
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{node}.unlock-lab"))

    def node(self, agent: str) -> str:
        """The node whose agent is called so; the same words where it is none of ours."""
        return next((node for node in self._nodes if self.agent(node) == agent), agent)

    def admit(self, node: str, pcrs: Mapping[int, str]) -> bool:
        """As `Keylime.admit`."""
        policy = shlex.quote(json.dumps({str(pcr): [value] for pcr, value in pcrs.items()}))
        command = "update" if node in self._admitted else "add"
        where = f"-t 127.0.0.1 -tp {self.contact_port(node)}"
        self._tenant(f"-c {command} {where} -u {self.agent(node)} -f {_HOME}/payload --tpm_policy {policy}")
        self._admitted.add(node)
        return self._verdict(node, ("PASS", "FAIL")) == "PASS"

    def forget(self, node: str) -> None:
        """As `Keylime.forget`."""
        self._tenant(f"-c regdelete -u {self.agent(node)}")

    def await_verdict(self, node: str, *, trusted: bool) -> None:
        """As `Keylime.await_verdict`."""
        self._verdict(node, ("PASS" if trusted else "FAIL",))

    def _verdict(self, node: str, awaited: Sequence[str]) -> str:
        """What the verifier thinks of a node, once it is one of these."""
        waiting = Retrying(
            retry=retry_if_result(lambda verdict: verdict not in awaited),
            stop=stop_after_delay(_VERDICT_SECONDS),
            wait=wait_fixed(_ASK_SECONDS),
        )
        try:
            verdict: str = waiting(lambda: self._status(node).get("attestation_status", ""))
        except RetryError as error:
            raise RigError(
                f"{self._name} thinks of {node} neither {' nor '.join(awaited)} after {_VERDICT_SECONDS:.0f} s",
                f"{self._status(node)}\n{self.current().tail()}",
            ) from error
        return verdict

    def _status(self, node: str) -> Mapping[str, str]:
        """What the verifier says of a node that it knows."""
        said = self._tenant(f"-c cvstatus -u {self.agent(node)}")
        found = [line for line in said.splitlines() if line.startswith("{")]
        if not found:
            raise RigError(f"{self._name} says nothing of {node}", said)
        results: Mapping[str, Mapping[str, str]] = json.loads(found[-1])
        return results[self.agent(node)]

    def _tenant(self, arguments: str) -> str:
        return self.current().execute(["sh", "-c", f"{_ENTER} && python3 -m keylime.cmd.tenant {arguments} 2>&1"])
