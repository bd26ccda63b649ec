"""What QEMU is to a TPM."""

import socket
import struct
from pathlib import Path


class Client:
    """Speaks to swtpm as QEMU does: a control connection that carries the data connection (swtpm_ioctls(3))."""

    def __init__(self, control: Path) -> None:
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(10)
        self.control.connect(str(control))
        self.data, theirs = socket.socketpair()
        self.data.settimeout(10)
        socket.send_fds(self.control, [struct.pack(">I", 0x10)], [theirs.fileno()])
        theirs.close()
        assert self.control.recv(4) == bytes(4)
        self.control.sendall(struct.pack(">II", 2, 0))  # CMD_INIT
        assert self.control.recv(4) == bytes(4)

    def ask(self, command: bytes) -> bytes:
        self.data.sendall(command)
        return self.data.recv(4096)

    def close(self) -> None:
        self.data.close()
        self.control.close()
