"""An interceptor between tools and a TPM on a socket, with a fake TPM."""

import socket
import threading
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.machine.tpm_bus import BusInterceptor, error_response, pass_on, startup
from harness.machine.tpm_proxy import read_message
from harness.real_tools.relay import intercepted

ANSWER = error_response(0x100)


def connected(_where: Path) -> socket.socket:
    """A TPM that answers one command."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        with theirs:
            if read_message(theirs):
                theirs.sendall(ANSWER)

    threading.Thread(target=answer, daemon=True).start()
    return ours


def asked(folder: Path, interceptor: BusInterceptor) -> bytes:
    with (
        intercepted(folder / "tpm", folder / "tpm.behind", connected, interceptor),
        socket.socket(socket.AF_UNIX) as tool,
    ):
        tool.settimeout(10)
        tool.connect(str(folder / "tpm"))
        tool.sendall(startup())
        return read_message(tool)


def test_a_command_and_its_answer_pass(tmp_path: Path) -> None:
    assert asked(tmp_path, pass_on) == ANSWER


def test_an_interceptor_that_fails_is_told(tmp_path: Path) -> None:
    def fail(_command: bytes, _tpm: object) -> bytes:
        raise FileNotFoundError("what it was to answer")

    with pytest.raises(RigError, match="tpm relay broke: FileNotFoundError"):
        asked(tmp_path, fail)
