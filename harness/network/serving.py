"""A server of `socketserver` for the length of a block."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseServer

from harness.errors import RigError

_POLL_SECONDS = 0.05


@contextmanager
def serving(server: BaseServer, name: str) -> Iterator[Callable[[], str | None]]:
    """Have a server serve in a thread of its own; it is closed at the end of the block.

    Args:
        server: It listens already.
        name: Of the thread, and in messages.

    Returns:
        Asked within the block, what an answer failed with, if one did.

    Raises:
        RigError: At the end of a block that went well: an answer failed, and not since its caller hung up.
    """
    failures: list[BaseException] = []

    def note(request: object, client_address: object) -> None:
        error = sys.exception()
        if error and not isinstance(error, ConnectionError):
            failures.append(error)

    def failure() -> str | None:
        return f"{name} broke: {failures[0]!r}" if failures else None

    server.handle_error = note  # type: ignore[method-assign]  # it would print a traceback, and go on
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name=name, daemon=True)
        thread.start()
        try:
            yield failure
        finally:
            server.shutdown()
            thread.join()  # shutdown has waited for it
    if what := failure():
        raise RigError(what) from failures[0]
