"""A real HSM in a container: SoftHSM2 behind ``p11-kit remote``, made of images/hsm."""

import socket
from dataclasses import replace

from docker import DockerClient
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from harness.errors import RigError
from harness.paths import IMAGES
from harness.progress import Progress
from harness.services.container import OwnedContainer
from harness.services.container_server import PROBE_SECONDS, READY_SECONDS, ContainerServer, log_of
from harness.services.held import to_tar
from harness.services.hsm_log import HsmCall, ended_sessions, parse_log
from harness.services.hsm_token import HsmToken
from harness.services.service_image import ServiceImage, built_image

REPOSITORY = "unlock-lab/hsm"
_RECIPE = IMAGES / "hsm"


def hsm_image(client: DockerClient, progress: Progress) -> ServiceImage:
    """Return the image, building and importing it first if it is not there.

    Raises:
        HostError: It cannot be built.
    """
    return built_image(_RECIPE, REPOSITORY, client, progress)


class HsmServer(ContainerServer):
    """Started again it has the same token.

    Args:
        client: The Docker daemon.
        image: What to run.
        name: For messages.
        token: What it holds.
    """

    asks = "the first byte of p11-kit's protocol"

    def __init__(self, client: DockerClient, image: ServiceImage, name: str, token: HsmToken) -> None:
        super().__init__(client, image, name)
        self.token = token
        self._probes: dict[OwnedContainer, frozenset[str]] = {}

    def archive(self) -> bytes:
        """Its token."""
        return to_tar(self.token)

    def probe(self, container: OwnedContainer, port: int) -> None:
        """Exchange the bytes that open a connection of p11-kit's."""
        with socket.create_connection(("127.0.0.1", port), PROBE_SECONDS) as connection:
            connection.sendall(b"\0")
            if not connection.recv(1):
                raise ConnectionError("it closed the connection")

    def on_ready(self) -> None:
        """Note which sessions are those of the probes: all that its log has, once it has them to their end.

        Raises:
            RigError: They are not, long after they were answered.
        """
        container = self.current()
        try:
            sessions = Retrying(
                retry=retry_if_result(lambda sessions: sessions is None),
                stop=stop_after_delay(READY_SECONDS),
                wait=wait_fixed(0.05),
            )(lambda: ended_sessions(parse_log(log_of(container))))
        except RetryError as error:
            raise RigError(f"{self._name} answered, and its log does not say so", container.tail()) from error
        assert sessions
        self._probes[container] = sessions

    @property
    def calls(self) -> tuple[HsmCall, ...]:
        """What it was asked since it was first started, without the harness's own probes."""
        return tuple(
            replace(call, session=f"{number}-{call.session}")  # each container counts its processes anew
            for number, life in enumerate(self.lives)
            for call in parse_log(log_of(life))
            if call.session not in self._probes.get(life, frozenset())
        )

    def replace(self, token: HsmToken) -> None:
        """Start it anew with another token."""
        self.stop()
        self.token = token
        self.start()
