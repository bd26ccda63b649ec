"""Attacks on the wires of a TPM, with a TPM that only remembers what it was told."""

import struct
from contextlib import closing
from pathlib import Path

import pytest
from tpm_client import Client

from harness.attack.bus import BusSniffer, MeasurementSpoofer, ResetAndReplay
from harness.machine.spec import Tpm
from harness.machine.tpm import manufacture, powered_tpm
from harness.machine.tpm_bus import (
    PCR_EXTEND,
    STARTUP,
    code,
    encrypts_response,
    error_response,
    pcr_extend,
    startup,
    success_response,
)
from harness.machine.tpm_log import TpmExchange, decode, replay_pcrs
from harness.machine.tpm_proxy import intercepted

FIRMWARE = (("sha256", "11" * 32),)
SYSTEM = (("sha256", "22" * 32),)
SECRET = bytes.fromhex("80020000001d 00000000 0000000a 0008") + b"notsecre" + bytes.fromhex("0000010000")


def unseal(*sessions: tuple[int, int]) -> bytes:
    """Asks for an object, under sessions of which each has a nonce of so many bytes, and these attributes."""
    area = b"".join(
        struct.pack(">IH", 0x03000000, nonce) + bytes(nonce) + bytes([attributes]) + struct.pack(">H", 32) + bytes(32)
        for nonce, attributes in sessions
    )
    body = struct.pack(">II", 0x80000001, len(area)) + area
    return struct.pack(">HII", 0x8002, 10 + len(body), 0x15E) + body


class Memory:
    """A TPM that does all that it is asked for."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def ask(self, command: bytes) -> bytes:
        if command == startup() and startup() in self.heard:
            return error_response(0x100)  # TPM_RC_INITIALIZE: it has started already
        self.heard.append(command)
        return SECRET if code(command) == 0x15E else success_response()

    def reset(self) -> None:
        self.heard = [b"reset"]


def extend(pcr: int) -> bytes:
    return pcr_extend(pcr, FIRMWARE)


def boot(sniffer: BusSniffer, tpm: Memory) -> None:
    for command in (startup(), extend(0), startup(), extend(7), unseal((16, 1)), pcr_extend(9, SYSTEM)):
        sniffer(command, tpm)


def test_who_listens_changes_nothing_and_hears_the_secret() -> None:
    sniffer, tpm = BusSniffer(), Memory()
    boot(sniffer, tpm)
    assert [code(command) for command in tpm.heard] == [STARTUP, PCR_EXTEND, PCR_EXTEND, 0x15E, PCR_EXTEND]
    assert sniffer.unsealed == (b"notsecre",)
    assert not sniffer.encrypted


def test_the_log_of_a_boot_goes_to_its_first_unsealing_and_starts_with_the_tpm() -> None:
    sniffer, tpm = BusSniffer(), Memory()
    sniffer(startup(), tpm)
    sniffer(pcr_extend(3, SYSTEM), tpm)
    tpm.reset()
    boot(sniffer, tpm)
    assert [(exchange.pcr, exchange.digests) for exchange in sniffer.extends] == [(0, FIRMWARE), (7, FIRMWARE)]


@pytest.mark.parametrize(
    ("sessions", "encrypts"),
    [((), False), (((0, 0),), False), (((16, 1),), False), (((16, 0x41),), True), (((0, 1), (20, 0x60)), True)],
)
def test_a_session_that_encrypts_is_seen(sessions: tuple[tuple[int, int], ...], encrypts: bool) -> None:
    assert encrypts_response(unseal(*sessions)) == encrypts
    assert not encrypts_response(startup())


def log() -> tuple[TpmExchange, ...]:
    return tuple(decode(extend(pcr), success_response()) for pcr in (0, 7))


def test_a_replay_waits_until_it_is_armed_and_happens_once() -> None:
    replay, tpm = ResetAndReplay(log()), Memory()
    replay(unseal(), tpm)
    assert tpm.heard == [unseal()]
    replay.arm()
    assert replay(unseal(), tpm) == SECRET
    replay(unseal(), tpm)
    played = [b"reset", startup(), extend(0), extend(7)]
    assert tpm.heard == [*played, unseal(), unseal()]


def test_a_spoofer_keeps_what_is_booted_from_the_tpm() -> None:
    spoofer, tpm = MeasurementSpoofer(log()), Memory()
    for command in (startup(), pcr_extend(0, SYSTEM), pcr_extend(7, SYSTEM)):
        assert spoofer(command, tpm) == success_response()
    assert spoofer(startup(), tpm) == error_response(0x100)
    assert spoofer(unseal(), tpm) == SECRET
    assert tpm.heard == [startup(), extend(0), extend(7), unseal()]


def test_what_the_tpm_refused_is_in_no_log() -> None:
    class Refusing(Memory):
        def ask(self, command: bytes) -> bytes:
            return error_response()

    sniffer = BusSniffer()
    boot(sniffer, Refusing())
    assert sniffer.extends == ()
    assert sniffer.unsealed == ()


@pytest.mark.real
@pytest.mark.parametrize("attack", [ResetAndReplay, MeasurementSpoofer])
def test_a_real_tpm_takes_a_played_boot_for_a_real_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: type[ResetAndReplay] | type[MeasurementSpoofer]
) -> None:
    """The machine measures another system, and the TPM itself says that it saw the good one."""
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    tpm = Tpm(tmp_path / "tpm")
    manufacture(tpm)
    interceptor = attack(log())
    good = replay_pcrs(log())
    with (
        powered_tpm(tpm, tmp_path / "swtpm.sock", tmp_path / "log", user=None),
        intercepted(interceptor, tmp_path / "tpm.sock", tmp_path / "swtpm.sock", user=None),
        closing(Client(tmp_path / "tpm.sock")) as machine,
    ):
        assert code(machine.ask(startup())) == 0
        for pcr in good:
            assert machine.ask(pcr_extend(pcr, SYSTEM)) == success_response()
        if isinstance(interceptor, ResetAndReplay):
            assert {pcr: read_pcr(machine, pcr) for pcr in good} != good
            interceptor.arm()
        assert {pcr: read_pcr(machine, pcr) for pcr in good} == good


def read_pcr(machine: Client, pcr: int) -> str:
    """TPM2_PCR_Read of the bank sha256 (TPM 2.0 Library, Part 3, 22.4)."""
    selection = struct.pack(">IHB", 1, 0xB, 3) + (1 << pcr).to_bytes(3, "little")
    answer = machine.ask(struct.pack(">HII", 0x8001, 10 + len(selection), 0x17E) + selection)
    assert code(answer) == 0, answer.hex()
    return answer[-32:].hex()
