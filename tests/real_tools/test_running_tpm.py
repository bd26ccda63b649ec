"""A TPM for the guest's own tools that fails by the host: what they met then is no verdict. No swtpm takes part."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.machine import tpm as tpms
from harness.machine.tpm import listening_tpm
from harness.machine.tpm_bus import error_response, shutdown, success_response
from harness.real_tools import tpm
from harness.real_tools.tpm import running_tpm


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The TPM's end of the connection on which it is shut down."""

    @contextmanager
    def listening(*_: object) -> Iterator[None]:
        yield

    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(tpm, "listening_tpm", listening)
        monkeypatch.setattr(tpm, "_measure", lambda *_: None)
        monkeypatch.setattr(tpm, "_connected", lambda _: ours)
        yield theirs


def test_a_tpm_that_is_shut_down_in_order_worked(chip: socket.socket, tmp_path: Path) -> None:
    with running_tpm(tmp_path, tmp_path):
        chip.sendall(success_response())
    assert chip.recv(99) == shutdown()


def test_a_tpm_that_could_not_write_its_state_is_an_error_of_the_rig(chip: socket.socket, tmp_path: Path) -> None:
    """In failure mode it answers so to all that it is asked, as to TPM2_Unseal before (swtpm 0.7, on a full disk)."""
    with pytest.raises(RigError, match=r"did not shut its TPM down: [0-9a-f]+0101"), running_tpm(tmp_path, tmp_path):
        chip.sendall(error_response())


def test_so_is_one_that_hangs_up(chip: socket.socket, tmp_path: Path) -> None:
    with pytest.raises(RigError, match="it hung up"), running_tpm(tmp_path, tmp_path):
        chip.shutdown(socket.SHUT_WR)


def test_a_power_cut_asks_nothing_of_it(chip: socket.socket, tmp_path: Path) -> None:
    with running_tpm(tmp_path, tmp_path, orderly=False):
        pass
    chip.settimeout(0.1)
    with pytest.raises(TimeoutError):
        chip.recv(1)


@pytest.mark.parametrize(("program", "told"), [("false", True), ("sleep", False)])
def test_a_swtpm_that_ended_by_itself_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, told: bool
) -> None:
    monkeypatch.setattr(tpms, "_require_tools", lambda: None)
    started: list[subprocess.Popen[bytes]] = []

    def start(_command: object) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen([program, "60"]))
        return started[0]

    monkeypatch.setattr(tpms, "_started", start)
    if told:
        with (
            pytest.raises(RigError, match="swtpm ended by itself with status 1"),
            listening_tpm(tmp_path, tmp_path / "tpm"),
        ):
            started[0].wait(10)
    else:
        with listening_tpm(tmp_path, tmp_path / "tpm"):
            assert started[0].poll() is None
