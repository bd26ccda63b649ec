"""An asyncio event loop in a thread of its own, for servers that run beside a test."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, Self, TypeVar

from harness.errors import RigError

T = TypeVar("T")

_SECONDS = 10.0


class LoopThread:
    """Runs a loop from `__enter__` to `__exit__`, which cancels what still runs on it and waits for that."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop
        self._started: list[Future[None]] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        try:
            self.call(_cancel_others(), _SECONDS)
        except RigError:
            if not interrupted:  # Ctrl-C ends the run, whatever it left half done
                raise
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_SECONDS)
            if not self._thread.is_alive():
                self._loop.close()
        if interrupted:
            return
        if first := self._first_failure():
            raise RigError(f"{self._name} broke: {first!r}") from first

    def failure(self) -> str | None:
        """What went wrong with what was started on it, if anything did."""
        return f"{self._name} broke: {first!r}" if (first := self._first_failure()) else None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the loop until it ends, or until the end, where what it raised comes out."""
        self._started.append(asyncio.run_coroutine_threadsafe(work, self._loop))

    def call(self, work: Coroutine[Any, Any, T], seconds: float = _SECONDS) -> T:
        """Run a coroutine on the loop and return what it returns.

        Args:
            work: What to run.
            seconds: How long it may take.

        Raises:
            RigError: It took longer.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except FutureTimeoutError as error:
            future.cancel()
            raise RigError(f"{self._name} did not do within {seconds:.0f} s what it was told") from error

    def _first_failure(self) -> BaseException | None:
        failures = (work.exception() for work in self._started if work.done() and not work.cancelled())
        return next(filter(None, failures), None)

    def _run(self) -> None:
        self._loop.run_forever()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
