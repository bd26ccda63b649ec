"""The TPM bus interceptor: its tools, and the proxy with a fake at both ends, then real ones."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from machines import BOOT_MANAGER, bare_machine, read_until, this_host
from tpm_client import Client

from harness.errors import RigError
from harness.machine.rig import power_on
from harness.machine.spec import Tpm
from harness.machine.tpm import manufacture, powered_tpm
from harness.machine.tpm_bus import (
    PCR_EXTEND,
    RC_FAILURE,
    BusInterceptor,
    TpmTransport,
    code,
    error_response,
    pass_on,
    pcr_extend,
    startup,
    success_response,
    unsealed,
)
from harness.machine.tpm_decode import summarize
from harness.machine.tpm_log import decode, replay_pcrs
from harness.machine.tpm_proxy import BusExchange, Direction, Proxy, intercepted

UNSEAL = bytes.fromhex("80020000001b0000015e80000001") + bytes.fromhex("0000000940000009") + bytes(5)
SECRET = bytes.fromhex("80020000001d 00000000 0000000a 0008") + b"notsecre" + bytes.fromhex("0000010000")
DIGESTS = (("sha1", "11" * 20), ("sha256", "22" * 32))


class FakeTpm:
    """Answers each command with a response of the same length, filled with the number of commands so far."""

    def __init__(self, control: Path) -> None:
        self.heard: list[bytes] = []
        self.controlled: list[int] = []
        self.ended = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(control))
        self._listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with self._listener, connection:
            while True:
                message, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
                if not message:
                    break
                self.controlled.append(struct.unpack_from(">I", message)[0])
                if descriptors:
                    data = socket.socket(fileno=descriptors[0])
                    threading.Thread(target=self._answer, args=(data,), daemon=True).start()
                connection.sendall(bytes(4))
        self.ended.set()

    def _answer(self, data: socket.socket) -> None:
        with data:
            while command := data.recv(4096):
                self.heard.append(command)
                data.sendall(self.response(len(self.heard), len(command)))

    @staticmethod
    def response(number: int, length: int) -> bytes:
        return struct.pack(">HII", 0x8001, length, 0) + bytes([number]) * (length - 10)


@contextmanager
def wires(folder: Path, interceptor: BusInterceptor) -> Iterator[tuple[Client, FakeTpm, Proxy]]:
    tpm = FakeTpm(folder / "swtpm.sock")
    with (
        intercepted(interceptor, folder / "tpm.sock", folder / "swtpm.sock", user=None) as proxy,
        closing(Client(folder / "tpm.sock")) as machine,
    ):
        yield machine, tpm, proxy
    assert tpm.ended.wait(10), "the TPM never saw the end"


# The interceptor's tools


def test_an_extend_is_read_back_as_it_was_made() -> None:
    exchange = decode(pcr_extend(7, DIGESTS), success_response())
    assert (exchange.command, exchange.pcr, exchange.digests, exchange.ok) == ("PCR_Extend", 7, DIGESTS, True)


def test_messages_are_as_long_as_they_say() -> None:
    for message in (startup(), pcr_extend(0, DIGESTS), success_response(), error_response()):
        assert int.from_bytes(message[2:6], "big") == len(message)
    assert code(error_response()) == RC_FAILURE


def test_what_an_unseal_brought_is_read() -> None:
    assert unsealed(UNSEAL, SECRET) == b"notsecre"
    assert unsealed(UNSEAL, error_response()) is None
    assert unsealed(startup(), SECRET) is None


# The proxy, a fake at both ends


def test_it_passes_on_and_records(tmp_path: Path) -> None:
    with wires(tmp_path, pass_on) as (machine, tpm, proxy):
        answers = [machine.ask(startup()), machine.ask(UNSEAL)]
        assert tpm.heard == [startup(), UNSEAL]
        assert answers == [tpm.response(1, len(startup())), tpm.response(2, len(UNSEAL))]
        assert tpm.controlled == [0x10, 0x02]
    assert proxy.exchanges == (
        BusExchange(Direction.PASSED, startup(), answers[0]),
        BusExchange(Direction.PASSED, UNSEAL, answers[1]),
    )


def test_a_command_in_pieces_is_one_command(tmp_path: Path) -> None:
    with wires(tmp_path, pass_on) as (machine, tpm, _):
        for byte in UNSEAL[:-1]:
            machine.data.sendall(bytes([byte]))
        assert machine.ask(UNSEAL[-1:]) == tpm.response(1, len(UNSEAL))
        assert tpm.heard == [UNSEAL]


def test_another_command_may_reach_the_tpm(tmp_path: Path) -> None:
    with wires(tmp_path, lambda _command, tpm: tpm.ask(startup())) as (machine, tpm, proxy):
        answer = machine.ask(UNSEAL)
        assert tpm.heard == [startup()]
        assert answer == tpm.response(1, len(startup()))
    assert [exchange.direction for exchange in proxy.exchanges] == [Direction.TPM, Direction.MACHINE]
    assert [exchange.command for exchange in proxy.exchanges] == [startup(), UNSEAL]


def test_the_machine_may_be_answered_without_the_tpm(tmp_path: Path) -> None:
    with wires(tmp_path, lambda _command, _chip: error_response()) as (machine, tpm, proxy):
        assert machine.ask(UNSEAL) == error_response()
        assert tpm.heard == []
    assert proxy.exchanges == (BusExchange(Direction.MACHINE, UNSEAL, error_response()),)


def test_the_reset_pin(tmp_path: Path) -> None:
    def reset_first(command: bytes, tpm: TpmTransport) -> bytes:
        tpm.reset()
        tpm.ask(startup())
        return tpm.ask(command)

    with wires(tmp_path, reset_first) as (machine, tpm, proxy):
        machine.ask(UNSEAL)
        assert tpm.controlled == [0x10, 0x02, 0x02]
        assert tpm.heard == [startup(), UNSEAL]
    assert [exchange.direction for exchange in proxy.exchanges] == [Direction.TPM, Direction.TPM, Direction.MACHINE]


@pytest.mark.parametrize("made", [b"", bytes(9), error_response() + b"!"])
def test_an_interceptor_that_fails_is_told_and_the_machine_is_answered(tmp_path: Path, made: bytes) -> None:
    with (
        pytest.raises(RigError, match="the interceptor on the TPM's bus failed"),
        wires(tmp_path, lambda _command, _chip: made) as (machine, _, proxy),
    ):
        assert proxy.failure() is None
        assert machine.ask(UNSEAL) == error_response()
        assert "the interceptor on the TPM's bus failed" in (proxy.failure() or "")


def test_a_tpm_that_dies_is_seen_by_the_machine(tmp_path: Path) -> None:
    class Dying(FakeTpm):
        def _answer(self, data: socket.socket) -> None:
            data.recv(4096)
            data.close()

    Dying(tmp_path / "swtpm.sock")
    with (
        intercepted(pass_on, tmp_path / "tpm.sock", tmp_path / "swtpm.sock", user=None),
        closing(Client(tmp_path / "tpm.sock")) as machine,
    ):
        assert machine.ask(UNSEAL) == b""


@pytest.mark.parametrize("error", [FileNotFoundError("no such file"), TimeoutError("nobody answered")])
def test_an_interceptor_that_fails_by_an_error_of_the_system_is_told_too(tmp_path: Path, error: OSError) -> None:
    """It is no broken connection, which a machine that is switched off leaves behind."""

    def fail(_command: bytes, _tpm: TpmTransport) -> bytes:
        raise error

    with (
        pytest.raises(RigError, match=f"the interceptor on the TPM's bus failed: {type(error).__name__}"),
        wires(tmp_path, fail) as (machine, _, _),
    ):
        assert machine.ask(UNSEAL) == error_response()


def test_a_tpm_that_died_is_no_failure_of_the_interceptor_when_the_machine_says_goodbye(tmp_path: Path) -> None:
    """QEMU shuts its TPM down by the control connection, whether swtpm is still there or not."""

    class Dead(FakeTpm):
        def _serve(self) -> None:
            connection, _ = self._listener.accept()
            with self._listener, connection:
                for _ in range(2):  # the data connection, and the start
                    socket.recv_fds(connection, 4096, 1)
                    connection.sendall(bytes(4))

    Dead(tmp_path / "swtpm.sock")
    with (
        intercepted(pass_on, tmp_path / "tpm.sock", tmp_path / "swtpm.sock", user=None),
        closing(Client(tmp_path / "tpm.sock")) as machine,
    ):
        machine.control.sendall(struct.pack(">I", 0x03))  # CMD_SHUTDOWN, swtpm_ioctls(3)
        assert machine.control.recv(4) == b""


def test_it_ends_with_the_block_whoever_is_still_connected(tmp_path: Path) -> None:
    before = threading.active_count()
    tpm = FakeTpm(tmp_path / "swtpm.sock")
    with intercepted(pass_on, tmp_path / "tpm.sock", tmp_path / "swtpm.sock", user=None):
        machine = Client(tmp_path / "tpm.sock")
    with closing(machine):
        assert machine.data.recv(1) == b""
        assert machine.control.recv(1) == b""
    assert tpm.ended.wait(10)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tpm proxy")]
    assert threading.active_count() <= before + 1  # the fake's own


def test_it_ends_even_if_nobody_ever_connected(tmp_path: Path) -> None:
    with intercepted(pass_on, tmp_path / "tpm.sock", tmp_path / "swtpm.sock", user=None):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tpm proxy")]


# In words


@pytest.mark.real
def test_the_traffic_in_words_names_and_hides() -> None:
    text = summarize(
        [
            BusExchange(Direction.PASSED, startup(), error_response(0)),
            BusExchange(Direction.TPM, pcr_extend(7, DIGESTS * 40), success_response()),
            BusExchange(Direction.MACHINE, UNSEAL, SECRET),
            BusExchange(Direction.PASSED, UNSEAL, error_response(0x18B)),
        ]
    )
    assert text.splitlines() == [
        "passed  TPM2_CC_Startup -> TPM2 Success",
        "tpm     TPM2_CC_PCR_Extend sessions decrypt=0 encrypt=0 -> TPM2 Success",
        "machine TPM2_CC_Unseal sessions decrypt=0 encrypt=0 -> TPM2 Success",
        "passed  TPM2_CC_Unseal sessions decrypt=0 encrypt=0 -> Unknown (0x18b)",
    ]


def test_no_traffic_needs_no_words() -> None:
    assert summarize([]) == ""


# Real parts


@pytest.mark.real
def test_a_real_tpm_forgets_its_pcrs_when_the_pin_is_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    tpm = Tpm(tmp_path / "tpm")
    manufacture(tpm)

    def reset_at_unseal(command: bytes, tpm: TpmTransport) -> bytes:
        if command != UNSEAL:
            return tpm.ask(command)
        tpm.reset()
        return tpm.ask(startup())

    with (
        powered_tpm(tpm, tmp_path / "swtpm.sock", tmp_path / "log", user=None) as running,
        intercepted(reset_at_unseal, tmp_path / "tpm.sock", tmp_path / "swtpm.sock", user=None) as proxy,
        closing(Client(tmp_path / "tpm.sock")) as machine,
    ):
        assert code(machine.ask(startup())) == 0
        assert code(machine.ask(startup())) == 0x100, "TPM_RC_INITIALIZE: it is started already"
        assert machine.ask(pcr_extend(7, DIGESTS[1:])) == success_response()
        assert code(machine.ask(UNSEAL)) == 0, "it was not reset"
        seen = tuple(decode(e.command, e.response) for e in proxy.exchanges if e.direction is not Direction.MACHINE)
        assert seen == running.exchanges()
        assert replay_pcrs(seen) == {}


@pytest.mark.real
def test_firmware_boots_through_it_and_both_see_the_same(tmp_path: Path) -> None:
    """What the proxy saw is what swtpm itself logged, to the last exchange."""
    host = this_host()
    seen: list[tuple[bytes, bytes]] = []

    def tap(command: bytes, tpm: TpmTransport) -> bytes:
        response = tpm.ask(command)
        seen.append((command, response))
        return response

    with bare_machine(host) as machine:
        assert machine.tpm
        tapped = replace(machine, tpm=replace(machine.tpm, interceptor=tap))
        with power_on(tapped, host, tmp_path) as rig:
            read_until(rig, BOOT_MANAGER)
            rig.reset()
            read_until(rig, BOOT_MANAGER)
        log = (tmp_path / "swtpm.log").read_text().splitlines()
    assert len(log) > 100
    assert [str(decode(*exchange)) for exchange in seen] == log
    words = (tmp_path / "tpm-bus.txt").read_text().splitlines()
    assert [line.split()[1].removeprefix("TPM2_CC_") for line in words] == [line.split()[0] for line in log]
    assert sum("PCR_Extend" in line for line in words) > 20
    assert {line.split()[0] for line in words} == {"passed"}
    assert any(code(command) == PCR_EXTEND for command, _ in seen)
