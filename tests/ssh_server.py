"""An SSH server on a UNIX socket that lets one public key in, for the guest's own ssh: paramiko, without a user."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

GREETING = b"logged in\n"


class _OneKey(paramiko.ServerInterface):
    def __init__(self, allowed: str) -> None:
        self._allowed = allowed.split()[1]

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """The transport has verified the client's signature by then (RFC 4252, 7)."""
        return AUTH_SUCCESSFUL if key.get_base64() == self._allowed else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_greet, args=(channel,), daemon=True).start()
        return True


def _greet(channel: paramiko.Channel) -> None:
    with suppress(OSError, EOFError):
        channel.sendall(GREETING)
        channel.send_exit_status(0)
        channel.close()


@contextmanager
def ssh_server(place: Path, public_key: str) -> Iterator[None]:
    """Serve at a UNIX socket for the block.

    Args:
        place: Of the socket.
        public_key: The line of an authorized_keys file that is let in.
    """
    host_key = paramiko.RSAKey.generate(2048)
    transports: list[paramiko.Transport] = []
    place.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen(1)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    transport = paramiko.Transport(connection)
                    transports.append(transport)
                    transport.add_server_key(host_key)
                    with suppress(paramiko.SSHException, EOFError):
                        transport.start_server(threading.Event(), _OneKey(public_key))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for transport in transports:
                transport.close()
