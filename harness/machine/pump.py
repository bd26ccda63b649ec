"""Takes what QEMU's consoles say as fast as they say it, so that no word is lost on a busy host.

QEMU does not wait for whoever reads a console. What a guest says while the socket is full never reaches the reader,
only the log file: hw/char/virtio-console.c, flush_buf, "silently dropping console data"; hw/char/serial.c gives up
after some tries. Seen with nine volumes, whose journal filled the socket while the reader was parsing.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue

_CHUNK = 65536


@contextmanager
def pumped(source: socket.socket) -> Iterator[socket.socket]:
    """A socket that says what `source` says, and takes what it is to be told, however slowly it is read.

    Args:
        source: A connection to QEMU. It belongs to the pump for the length of the block.
    """
    near, far = socket.socketpair()
    said: SimpleQueue[bytes] = SimpleQueue()
    works = ((_take, source, said), (_give, said, far), (_tell, far, source))
    threads = [threading.Thread(target=work, args=ends, name="console pump", daemon=True) for work, *ends in works]
    with near, far:
        for thread in threads:
            thread.start()
        try:
            yield near
        finally:
            _hang_up(near)
            for thread in threads:
                thread.join()


def _take(source: socket.socket, said: SimpleQueue[bytes]) -> None:
    with suppress(OSError):  # QEMU died
        while data := source.recv(_CHUNK):
            said.put(data)
    said.put(b"")


def _give(said: SimpleQueue[bytes], far: socket.socket) -> None:
    with suppress(OSError):  # the reader hung up
        while data := said.get():
            far.sendall(data)
        far.shutdown(socket.SHUT_WR)


def _tell(far: socket.socket, source: socket.socket) -> None:
    with suppress(OSError):
        while data := far.recv(_CHUNK):
            source.sendall(data)
    _hang_up(source)


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):  # the other side was first
        end.shutdown(socket.SHUT_RDWR)
