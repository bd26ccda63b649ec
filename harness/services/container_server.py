"""A server in a container that can be stopped and started again, with a log of all its lives."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from docker import DockerClient
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from harness.errors import RigError
from harness.services.container import OwnedContainer
from harness.services.log import stamp
from harness.services.service_image import ServiceImage

READY_SECONDS = 30.0
PROBE_SECONDS = 5.0


class ContainerServer(ABC):
    """Runs from `__enter__` to `__exit__`; in between it can be stopped and started again.

    Args:
        client: The Docker daemon.
        image: What to run.
        name: For messages.

    Attributes:
        image: The same.
        lives: Its containers so far, each from a start to its stop.
    """

    asks: str
    """What it is asked to see whether it answers, in words."""

    ready_seconds = READY_SECONDS
    """How long it may take until it answers."""

    shared: Path | None = None
    """A folder of this host that its container has, for sockets."""

    def __init__(self, client: DockerClient, image: ServiceImage, name: str) -> None:
        self.image = image
        self.lives: list[OwnedContainer] = []
        self._client = client
        self._name = name
        self._current: OwnedContainer | None = None
        self._port = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    @abstractmethod
    def archive(self) -> bytes | None:
        """A tar archive for the image's folder of keys, before it starts."""

    @abstractmethod
    def probe(self, container: OwnedContainer, port: int) -> None:
        """Ask it something, once.

        Raises:
            OSError: It does not answer yet.
            RigError: It answers wrongly.
        """

    def on_ready(self) -> None:  # noqa: B027 - most have nothing to read
        """Called once after each start, when it has answered: what is to be read from it is read here."""

    def start(self) -> None:
        """Start it, and return once it answers. Nothing happens if it runs.

        Raises:
            RigError: It ended, or did not answer in time; with the end of its log.
        """
        if self._current is not None:
            return
        container = OwnedContainer(self._client, self.image, self._name, self.archive(), self.shared)
        with ExitStack() as stack:
            stack.callback(self._ended)
            stack.enter_context(container)
            self.lives.append(container)
            self._current = container
            self._port = container.published_port()
            self._wait_until_ready(container)
            self.on_ready()
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop it; connections break. What it knows and its log are kept. Nothing happens if it is down."""
        self._stack.close()

    def failure(self) -> str | None:
        """What became of it that nobody wanted: a container that ended, or whose log broke off, by itself."""
        return next(filter(None, (life.failure() for life in self.lives)), None)

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._current is not None

    @property
    def address(self) -> tuple[str, int]:
        """Where on this host the container listens; another port after each start."""
        self.current()
        return "127.0.0.1", self._port

    @property
    def raw_log(self) -> str:
        """All that it printed since it was first started, each line with the time of its arrival."""
        return "".join(map(log_of, self.lives))

    def current(self) -> OwnedContainer:
        """The container that runs.

        Raises:
            RigError: It is stopped.
        """
        if self._current is None:
            raise RigError(f"{self._name} is stopped", hint="start it first")
        return self._current

    def _ended(self) -> None:
        self._current, self._port = None, 0

    def _wait_until_ready(self, container: OwnedContainer) -> None:
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type(OSError), stop=stop_after_delay(self.ready_seconds), wait=wait_fixed(0.05)
            ):
                with attempt:
                    if not container.running:
                        raise RigError(f"{self._name} ended instead of answering", container.tail())
                    self.probe(container, self._port)
        except RetryError as error:
            raise RigError(
                f"{self._name} did not answer {self.asks} within {self.ready_seconds:.0f} s: "
                f"{error.last_attempt.exception()}",
                container.tail(),
            ) from error


def log_of(container: OwnedContainer) -> str:
    """What a container printed, each line with the time of its arrival."""
    return "".join(f"{stamp(time, line)}\n" for time, line in container.lines)
