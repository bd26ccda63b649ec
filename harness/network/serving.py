"""A server of `socketserver` for the length of a block."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer

_POLL_SECONDS = 0.05
_STOP_SECONDS = 10.0


@contextmanager
def serving(server: BaseServer, name: str) -> Iterator[None]:
    """Have a server serve in a thread of its own; it is closed at the end of the block.

    Args:
        server: It listens already.
        name: Of the thread.
    """
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name=name, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(_STOP_SECONDS)
