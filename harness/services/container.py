"""A container that cannot outlive its owner.

The owner holds the container's standard input. Its first process is a shell that starts the server and reads that
input: when it ends, for whatever reason, the kill -9 of the owner included, the shell kills the server and goes, and
Docker removes the container. The same connection carries the server's output.
"""

import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.utils.socket import frames_iter
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from harness.deadline import Deadline
from harness.errors import HostError, RigError
from harness.files import tail
from harness.host.docker import docker_call
from harness.services.service_image import ServiceImage

SHARED = "/run/lab"
"""Where a container finds a folder of this host that is shared with it."""

OWNER_LABEL = "unlock-lab.owner"
"""On each container: the process id of the harness that owns it."""

_SUPERVISOR = """
exec 3<&0
"$@" </dev/null & server=$!
{ while read -r _; do :; done <&3; kill -9 "$server"; } 2>/dev/null &
trap 'kill -9 "$server"' TERM
wait "$server" 2>/dev/null
"""
"""In the background a shell gives commands an empty standard input (POSIX sh, 2.9.3.1), hence descriptor 3."""

_STOP_SECONDS = 20.0
_REMOVE_SECONDS = 120.0
_ABANDONED_AFTER = timedelta(minutes=2)


@dataclass
class _Log:
    """Lines with the time of their arrival (seconds since the epoch), written by one thread and read by others."""

    lines: list[tuple[float, str]] = field(default_factory=list)
    rest: bytes = b""

    def feed(self, data: bytes) -> None:
        now = time.time()
        *whole, self.rest = (self.rest + data).split(b"\n")
        self.lines.extend((now, line.decode(errors="replace").rstrip("\r")) for line in whole)


class OwnedContainer:
    """Runs an image's own command from `__enter__` to `__exit__`.

    Args:
        client: The daemon.
        image: What to run.
        name: For labels, and for messages.
        archive: A tar archive unpacked into the image's folder of keys before the server starts.
        shared: A folder of this host that it has as `SHARED`, for sockets.
    """

    def __init__(
        self,
        client: DockerClient,
        image: ServiceImage,
        name: str,
        archive: bytes | None = None,
        shared: Path | None = None,
    ) -> None:
        self._client = client
        self._image = image
        self._name = name
        self._archive = archive
        self._shared = shared
        self._log = _Log()
        self._stack = ExitStack()
        self._container: Container | None = None
        self._leaving = False
        self._died = False
        self._leash: socket.socket | None = None
        self._follower = threading.Thread(target=self._follow, name=f"log of {name}", daemon=True)

    def __enter__(self) -> Self:
        with ExitStack() as stack, docker_call(f"start the container of {self._name}"):
            self._remove_never_started()
            container = self._container = self._client.containers.create(
                self._image.id,
                entrypoint=["/bin/sh", "-c", _SUPERVISOR, "sh"],
                command=list(self._image.argv),
                labels={"unlock-lab": self._name, OWNER_LABEL: str(os.getpid())},
                ports={f"{self._image.port}/tcp": ("127.0.0.1", 0)},
                volumes={str(self._shared): {"bind": SHARED, "mode": "rw"}} if self._shared else {},
                stdin_open=True,  # which the SDK makes StdinOnce: when our connection closes, so does the input
                auto_remove=True,
                healthcheck={"test": ["NONE"]},
            )
            streams = stack.enter_context(ExitStack())
            stack.callback(self._remove, container)
            if self._archive is not None:
                container.put_archive(self._image.state_folder, self._archive)
            self._leash = self._attach(container, streams)
            container.start()
            self._follower.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._stack.close()
        except (HostError, RigError):
            if error is None:  # otherwise what happened in the block is what its caller must hear
                raise

    @property
    def running(self) -> bool:
        """Whether its server still runs."""
        return self._follower.is_alive()

    def failure(self) -> str | None:
        """That it ended, or its log broke off, before it was told to end; with what it said last."""
        return str(self._ended()) if self._died else None

    @property
    def lines(self) -> tuple[tuple[float, str], ...]:
        """What it printed: pairs of time of arrival (seconds since the epoch) and line."""
        return tuple(self._log.lines)

    def published_port(self) -> int:
        """The port on 127.0.0.1 that leads to the server."""
        container = self._alive()
        with docker_call(f"say on which port {self._name} is"):
            try:
                container.reload()
            except NotFound as error:
                self._follower.join(_STOP_SECONDS)
                raise self._ended() from error
            bindings = container.ports.get(f"{self._image.port}/tcp") or ()
        for binding in bindings:
            return int(binding["HostPort"])
        if container.status != "running":
            self._follower.join(_STOP_SECONDS)
            raise self._ended()
        raise RigError(f"Docker published no port for {self._name}", self.tail())

    def execute(self, argv: Sequence[str]) -> str:
        """Run a command inside, and return what it printed.

        Raises:
            RigError: It failed.
        """
        container = self._alive()
        with docker_call(f"run {argv[0]} in {self._name}"):
            status, output = container.exec_run(list(argv))
        assert isinstance(output, bytes)
        text = output.decode(errors="replace")
        if status != 0:
            raise RigError(f"{' '.join(argv)} failed in {self._name} with status {status}", text)
        return text

    def read(self, path: str) -> bytes:
        """A file or folder from inside, as a tar archive."""
        container = self._alive()
        with docker_call(f"read {path} of {self._name}"):
            chunks, _ = container.get_archive(path)
            return b"".join(chunks)

    def tail(self) -> str:
        """The last lines that it printed."""
        return tail("\n".join(line for _, line in self.lines))

    def _alive(self) -> Container:
        if self._container is None or not self.running:
            raise self._ended()
        return self._container

    def _ended(self) -> RigError:
        return RigError(f"the container of {self._name} has ended by itself", self.tail())

    def _attach(self, container: Container, streams: ExitStack) -> socket.socket:
        """The raw connection to the container's standard streams, so that one direction of it can be closed."""
        params: dict[str, Any] = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        attached = self._client.api.attach_socket(_id(container), params=params)
        leash: socket.socket = attached._sock  # noqa: SLF001 - the SDK wraps it in a mere reader
        streams.callback(leash.close)
        streams.callback(attached.close)
        leash.settimeout(None)
        return leash

    def _follow(self) -> None:
        try:
            for _, data in frames_iter(self._leash, tty=False):  # type: ignore[no-untyped-call]
                self._log.feed(data)
        except Exception as error:  # whatever it is, the rest of the log is lost
            self._log.feed(f"\n(the connection to the container broke: {error})".encode())
        if self._log.rest:
            self._log.feed(b"\n")  # its last words may lack the end of their line
        self._died = not self._leaving

    def _remove(self, container: Container) -> None:
        """End its standard input and with it the server, read its last words, and wait until Docker removed it."""
        self._leaving = True
        deadline = Deadline.after(_STOP_SECONDS)
        started = self._follower.ident is not None
        if self._leash is not None and started:
            with suppress(OSError):  # it has gone by itself
                self._leash.shutdown(socket.SHUT_WR)
            self._follower.join(_STOP_SECONDS / 2)
        with docker_call(f"remove the container of {self._name}"):
            if not started or self.running:
                remove_if_there(container)
            self._await_removal(container)
        if started:
            self._follower.join(deadline.remaining)
        if self.running:
            raise RigError(f"the container of {self._name} did not end within {_STOP_SECONDS:.0f} s", self.tail())

    def _await_removal(self, container: Container) -> None:
        """Ask until Docker does not know it: its own wait for that was once not answered within 20 s (seen, 20.10)."""
        try:
            Retrying(retry=retry_if_result(bool), stop=stop_after_delay(_REMOVE_SECONDS), wait=wait_fixed(0.05))(
                lambda: self._known(container)
            )
        except RetryError as error:
            what = f"the container of {self._name} was not removed within {_REMOVE_SECONDS:.0f} s"
            raise RigError(what, self.tail()) from error

    def _known(self, container: Container) -> bool:
        try:
            self._client.api.inspect_container(_id(container))
        except NotFound:
            return False
        return True

    def _remove_never_started(self) -> None:
        """Remove containers that never started: their owner was killed between two calls."""
        for left in self._client.containers.list(
            all=True, filters={"label": OWNER_LABEL, "status": "created"}, ignore_removed=True
        ):
            created = datetime.fromisoformat(left.attrs["Created"][:19]).replace(tzinfo=UTC)
            if datetime.now(UTC) - created > _ABANDONED_AFTER:
                remove_if_there(left)


def remove_if_there(container: Container) -> None:
    """Remove a container, which may have gone by itself, or be removed by another process at this moment."""
    try:
        container.remove(force=True, v=True)
    except NotFound:
        pass
    except APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:  # it is being removed
            raise


def _id(container: Container) -> str:
    assert container.id is not None
    return container.id
