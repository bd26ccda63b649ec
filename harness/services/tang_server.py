"""A real Tang server in a container, whose keys and log a test can read and whose life it decides."""

import http.client
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from docker import DockerClient
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from harness.errors import RigError
from harness.services.container import OwnedContainer
from harness.services.tang_image import TangImage
from harness.services.tang_keys import TangKeys
from harness.services.tang_log import TangRequest, parse_log, stamp

_READY_SECONDS = 30.0
_PROBE_SECONDS = 5.0
_ROTATE = 'PATH="$PATH:/usr/libexec:/usr/local/libexec:/usr/local/bin" exec tangd-rotate-keys -d "$1"'
"""Debian keeps the script out of the path; other builds put it elsewhere."""


@dataclass
class _Life:
    """One container, from a start to its stop, and how many of the requests in its log are our own probes."""

    container: OwnedContainer
    probes: int = 0

    @property
    def log(self) -> str:
        return "".join(f"{stamp(time, line)}\n" for time, line in self.container.lines)

    @property
    def requests(self) -> tuple[TangRequest, ...]:
        requests = list(parse_log(self.log))
        for probe in [request for request in requests if request.is_advertisement][: self.probes]:
            requests.remove(probe)
        return tuple(requests)


class TangServer:
    """Runs from `__enter__` to `__exit__`; in between it can be stopped and started again with the same keys.

    Args:
        client: The Docker daemon.
        image: What to run.
        name: For messages.
        keys: Those it serves; None lets tangd make new ones.
    """

    def __init__(self, client: DockerClient, image: TangImage, name: str, keys: TangKeys | None = None) -> None:
        self._client = client
        self._image = image
        self._name = name
        self._keys = keys
        self._lives: list[_Life] = []
        self._current: OwnedContainer | None = None
        self._port = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return once it answers ``GET /adv``. Nothing happens if it runs.

        Raises:
            RigError: It ended, or did not answer in time; with the end of its log.
        """
        if self._current is not None:
            return
        container = OwnedContainer(
            self._client, self._image, self._name, self._keys.to_tar() if self._keys is not None else None
        )
        life = _Life(container)
        with ExitStack() as stack:
            stack.callback(self._ended)
            stack.enter_context(container)
            self._lives.append(life)
            self._current = container
            self._port = container.published_port()
            self._wait_until_ready(life)
            self._keys = self._read_keys()
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop it; connections break. Keys and log are kept. Nothing happens if it is down."""
        self._stack.close()

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._current is not None

    @property
    def address(self) -> tuple[str, int]:
        """Where on this host the container listens; another port after each start."""
        self._running()
        return "127.0.0.1", self._port

    @property
    def keys(self) -> TangKeys:
        """Its keys, read from the server; after a stop, those it had."""
        if self._current is not None:
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
        return tuple(request for life in self._lives for request in life.requests)

    @property
    def raw_log(self) -> str:
        """All that it printed since it was first started, each line with the time of its arrival."""
        return "".join(life.log for life in self._lives)

    def rotate(self) -> None:
        """Make new keys and hide the present ones, which still answer recoveries (tangd-rotate-keys(1))."""
        self._running().execute(["/bin/sh", "-c", _ROTATE, "sh", self._image.key_folder])
        self._keys = self._read_keys()

    def delete_rotated(self) -> None:
        """Delete the hidden keys: what was bound to them can no more be recovered (404)."""
        self._running().execute(["/bin/sh", "-c", 'rm -f "$1"/.*.jwk', "sh", self._image.key_folder])
        self._keys = self._read_keys()

    def replace_keys(self, keys: TangKeys | None = None) -> None:
        """Start it anew with other keys, as an imposter at the same address would have; None makes new ones."""
        self.stop()
        self._keys = keys
        self.start()

    def _running(self) -> OwnedContainer:
        if self._current is None:
            raise RigError(f"{self._name} is stopped", hint="start it first")
        return self._current

    def _ended(self) -> None:
        self._current, self._port = None, 0

    def _read_keys(self) -> TangKeys:
        return TangKeys.from_tar([self._running().read(self._image.key_folder)])

    def _wait_until_ready(self, life: _Life) -> None:
        """Ask until it answers. The first question is also what makes tangd generate keys if it has none."""
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type((OSError, http.client.HTTPException)),
                stop=stop_after_delay(_READY_SECONDS),
                wait=wait_fixed(0.05),
            ):
                with attempt:
                    if not life.container.running:
                        raise RigError(f"{self._name} ended instead of answering", life.container.tail())
                    self._probe(life)
        except RetryError as error:
            raise RigError(
                f"{self._name} did not answer GET /adv within {_READY_SECONDS:.0f} s: {error.last_attempt.exception()}",
                life.container.tail(),
            ) from error

    def _probe(self, life: _Life) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PROBE_SECONDS)
        try:
            connection.request("GET", "/adv")
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 200:
            raise RigError(f"{self._name} answered GET /adv with {status}", life.container.tail())
        life.probes += 1
