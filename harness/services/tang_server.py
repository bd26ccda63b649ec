"""A real Tang server in a container, whose keys and log a test can read and whose life it decides."""

import http.client
from collections import Counter

from docker import DockerClient

from harness.errors import RigError
from harness.services.container import OwnedContainer
from harness.services.container_server import PROBE_SECONDS, ContainerServer, log_of
from harness.services.held import to_tar
from harness.services.service_image import ServiceImage
from harness.services.tang_keys import TangKeys
from harness.services.tang_log import TangRequest, parse_log

_ROTATE = 'PATH="$PATH:/usr/libexec:/usr/local/libexec:/usr/local/bin" exec tangd-rotate-keys -d "$1"'
"""Debian keeps the script out of the path; other builds put it elsewhere."""


class TangServer(ContainerServer):
    """Started again it has the same keys.

    Args:
        client: The Docker daemon.
        image: What to run.
        name: For messages.
        keys: Those it serves; None lets tangd make new ones.
    """

    asks = "GET /adv"

    def __init__(self, client: DockerClient, image: ServiceImage, name: str, keys: TangKeys | None = None) -> None:
        super().__init__(client, image, name)
        self._keys = keys
        self._probes: Counter[OwnedContainer] = Counter()

    def archive(self) -> bytes | None:
        """Its keys."""
        return to_tar(self._keys) if self._keys is not None else None

    def probe(self, container: OwnedContainer, port: int) -> None:
        """Ask for its advertisement. The first question is also what makes tangd generate keys if it has none."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_SECONDS)
        try:
            connection.request("GET", "/adv")
            status = connection.getresponse().status
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        if status != 200:
            raise RigError(f"{self._name} answered GET /adv with {status}", container.tail())
        self._probes[container] += 1

    def on_ready(self) -> None:
        """Read its keys, which tangd has made by now if it had none."""
        self._keys = self._read_keys()

    @property
    def keys(self) -> TangKeys:
        """Its keys, read from the server; after a stop, those it had."""
        if self.running:
            self._keys = self._read_keys()
        if self._keys is None:
            raise RigError(f"{self._name} was never started, so it has no keys yet")
        return self._keys

    @property
    def thumbprint(self) -> str:
        """The thumbprint of its advertised signing key (S256)."""
        return self.keys.thumbprint

    @property
    def requests(self) -> tuple[TangRequest, ...]:
        """What it was asked since it was first started, without the harness's own probes."""
        return tuple(request for life in self.lives for request in self._asked(life))

    def rotate(self) -> None:
        """Make new keys and hide the present ones, which still answer recoveries (tangd-rotate-keys(1))."""
        self.current().execute(["/bin/sh", "-c", _ROTATE, "sh", self.image.state_folder])
        self._keys = self._read_keys()

    def delete_rotated(self) -> None:
        """Delete the hidden keys: what was bound to them can no more be recovered (404)."""
        self.current().execute(["/bin/sh", "-c", 'rm -f "$1"/.*.jwk', "sh", self.image.state_folder])
        self._keys = self._read_keys()

    def replace_keys(self, keys: TangKeys | None = None) -> None:
        """Start it anew with other keys, as an imposter at the same address would have; None makes new ones."""
        self.stop()
        self._keys = keys
        self.start()

    def _read_keys(self) -> TangKeys:
        return TangKeys.from_tar([self.current().read(self.image.state_folder)])

    def _asked(self, life: OwnedContainer) -> list[TangRequest]:
        requests = list(parse_log(log_of(life)))
        for probe in [request for request in requests if request.is_advertisement][: self._probes[life]]:
            requests.remove(probe)
        return requests
