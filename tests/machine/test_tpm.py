"""TPMs: what is read from swtpm's log, and swtpm itself."""

import hashlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from machines import processes_naming, wait_gone
from tpm_client import Client

from harness.errors import HostError
from harness.machine.spec import Tpm, TpmVersion
from harness.machine.tpm import Swtpm, clone, manufacture, powered_tpm
from harness.machine.tpm_log import TpmExchange, decode_log, in_failure_mode, replay_pcrs, torn

STARTUP = bytes.fromhex("80010000000c000001440000")
POLICY_FAIL = bytes.fromhex("80010000000a0000099d")
SUCCESS = bytes.fromhex("80010000000a00000000")
UNSEAL = bytes.fromhex("80020000001b0000015e80000001") + bytes.fromhex("00000009") + bytes(9)
SECRET = bytes.fromhex("800200000016000000000000000000086e6f7475736563726574")
EMPTY_DIGEST = bytes(32)


def dump(way: str, data: bytes) -> str:
    """As swtpm 0.7.1 writes it."""
    rows = [" ".join(f"{byte:02X}" for byte in data[start : start + 16]) for start in range(0, len(data), 16)]
    return f" SWTPM_IO_{way}: length {len(data)}\n" + "".join(f" {row} \n" for row in rows)


def pcr_extend(pcr: int, *digests: tuple[int, bytes]) -> bytes:
    authorization = bytes.fromhex("40000009") + bytes(5)  # TPM_RS_PW, no nonce, no attributes, no password
    values = b"".join(struct.pack(">H", algorithm) + digest for algorithm, digest in digests)
    body = struct.pack(">II", pcr, len(authorization)) + authorization + struct.pack(">I", len(digests)) + values
    return struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body


def log_of(*exchanges: tuple[bytes, bytes]) -> str:
    return "".join(dump("Read", command) + dump("Write", response) for command, response in exchanges)


@pytest.mark.real
def test_what_a_setup_that_ends_early_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """swtpm_setup runs swtpm, which goes on when swtpm_setup is killed: by a user, or for want of memory."""
    program, marker = tmp_path / "swtpm_setup", tmp_path / "state-of-a-tpm"
    marker.touch()
    program.write_text(f"#!/bin/sh\ntail -f {marker} >/dev/null 2>&1 &\nsleep 0.5\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(HostError, match="swtpm_setup"):
        manufacture(Tpm(tmp_path / "tpm", TpmVersion.TPM_2_0))
    assert not wait_gone(lambda: processes_naming(str(marker)), 10)


@pytest.mark.parametrize("code", [0x182, 0x13D])
@pytest.mark.parametrize("size", range(10, 60))
def test_a_command_that_ends_early_is_told_and_extends_nothing(code: int, size: int) -> None:
    """Root in a guest sends the TPM what it likes; the TPM refuses it (TPM_RC_COMMAND_SIZE)."""
    command = struct.pack(">HII", 0x8002, size, code).ljust(size, b"\0")
    (exchange,) = decode_log(log_of((command, bytes.fromhex("80010000000a00000142"))))
    assert (exchange.code, exchange.response, exchange.pcr) == (code, 0x142, None if size < 14 else 0)
    assert replay_pcrs([exchange]) == {}


def test_a_refused_unseal_is_told_with_its_code() -> None:
    assert decode_log(log_of((UNSEAL, POLICY_FAIL))) == (TpmExchange("Unseal", 0x15E, 0x99D),)
    assert str(decode_log(log_of((UNSEAL, POLICY_FAIL)))[0]) == "Unseal -> 0x99d"


def test_what_was_unsealed_is_not_told() -> None:
    (exchange,) = decode_log(log_of((UNSEAL, SECRET)))
    assert exchange.ok
    assert str(exchange) == "Unseal -> success"
    assert "6e6f" not in repr(exchange)


def test_control_commands_are_passed_over() -> None:
    text = " Ctrl Cmd: length 4\n 00 00 00 10 \n Ctrl Rsp: length 4\n 00 00 00 00 \n" + log_of((STARTUP, SUCCESS))
    assert [exchange.command for exchange in decode_log(text)] == ["Startup"]


def test_a_log_with_a_length_that_nobody_can_read_tells_nothing_of_that() -> None:
    assert decode_log(f" SWTPM_IO_Read: length {'9' * 5000}\n 80 01\n") == ()


@pytest.mark.parametrize("end", range(len(log_of((UNSEAL, SECRET)))))
def test_a_log_that_ends_anywhere_gives_no_half_exchange(end: int) -> None:
    text = log_of((STARTUP, SUCCESS)) + log_of((UNSEAL, SECRET))[:end]
    assert decode_log(text) == (TpmExchange("Startup", 0x144, 0),)


TWO = log_of((STARTUP, SUCCESS), (UNSEAL, SECRET))


@pytest.mark.parametrize("end", range(len(TWO) + 1))
def test_a_log_that_ends_anywhere_is_not_torn(end: int) -> None:
    assert not torn(TWO[:end])
    assert not torn(f" Ctrl Cmd: length 4\n 00 00 00 10 \n{TWO[:end]}")


def test_a_log_that_something_in_the_middle_is_missing_of_is_torn() -> None:
    """A refused unseal may be what is missing, and the TPM have failed for no reason that is known."""
    lines = [line for line in TWO.splitlines(keepends=True) if "SWTPM_IO" not in line]
    assert torn(TWO.replace(lines[0], "")), "the bytes of a command"
    assert torn(TWO.replace(lines[1], lines[1][:9] + "\n")), "half of a response"
    assert torn(log_of((STARTUP, SUCCESS)) + dump("Write", SECRET)), "a whole command"
    assert torn(dump("Write", SUCCESS) + TWO)
    assert not torn(dump("Read", STARTUP) + TWO), "a machine that was reset before the answer"


def test_a_command_that_is_no_whole_header_is_passed_over_with_its_answer() -> None:
    """The guest's root sent it; the TPM refuses it (TPM_RC_COMMAND_SIZE)."""
    text = log_of((b"\x80\x01", POLICY_FAIL), (STARTUP, SUCCESS), (b"\x80\x01", POLICY_FAIL), (UNSEAL, SECRET))
    assert [str(exchange) for exchange in decode_log(text)] == ["Startup -> success", "Unseal -> success"]


@pytest.mark.parametrize(("code", "name"), [(0xFF, "TPM_Shutdown"), (0x100, "TPM2_Shutdown")])
def test_a_command_s_full_name_says_which_tpm_it_is_of(code: int, name: str) -> None:
    assert TpmExchange("Shutdown", code, 0).full_name == name


def test_unknown_commands_keep_their_numbers_and_those_of_a_1_2_have_names_of_their_own() -> None:
    unknown = bytes.fromhex("80010000000a20000001")
    refused = bytes.fromhex("00c40000000a00000026")
    started, unknown_1_2 = bytes.fromhex("00c10000000c000000990001"), bytes.fromhex("00c10000000a000000f1")
    said = decode_log(log_of((unknown, SUCCESS), (started, refused), (unknown_1_2, refused)))
    assert [str(exchange) for exchange in said] == ["0x20000001 -> success", "Startup -> 0x26", "0xf1 -> 0x26"]


def test_a_1_2_extends_its_one_bank() -> None:
    started, ok = bytes.fromhex("00c10000000c000000990001"), bytes.fromhex("00c40000000a00000000")
    digest = hashlib.sha1(b"kernel").digest()
    extend = bytes.fromhex("00c1000000220000001400000008") + digest
    exchanges = decode_log(log_of((started, ok), (extend, ok)))
    assert str(exchanges[1]) == f"Extend 8 sha1:{digest.hex()} -> success"
    assert exchanges[1].full_name == "TPM_Extend"
    assert replay_pcrs(exchanges, "sha1") == {8: hashlib.sha1(bytes(20) + digest).hexdigest()}
    assert replay_pcrs((*exchanges, exchanges[0]), "sha1") == {}
    assert replay_pcrs(exchanges) == {}


def test_extends_add_up_to_pcrs() -> None:
    text = log_of(
        (STARTUP, SUCCESS),
        (pcr_extend(8, (0xB, EMPTY_DIGEST)), POLICY_FAIL),
        (pcr_extend(7, (0x4, bytes(20)), (0xB, EMPTY_DIGEST)), SUCCESS),
    )
    exchanges = decode_log(text)
    assert exchanges[2].pcr == 7
    assert str(exchanges[2]) == f"PCR_Extend 7 sha1:{'00' * 20} sha256:{'00' * 32} -> success"
    assert exchanges[2].digests == (("sha1", "00" * 20), ("sha256", "00" * 32))
    once = hashlib.sha256(bytes(64)).digest()
    assert replay_pcrs(exchanges) == {7: once.hex()}
    assert replay_pcrs((*exchanges, exchanges[2])) == {7: hashlib.sha256(once + EMPTY_DIGEST).hexdigest()}
    assert set(replay_pcrs(exchanges, "sha1")) == {7}
    assert replay_pcrs((*exchanges, exchanges[0])) == {}


@pytest.mark.parametrize(("pcr", "before"), [(16, 0), (17, 0xFF), (22, 0xFF), (23, 0)])
def test_the_pcrs_of_a_dynamic_launch_begin_with_all_ones(pcr: int, before: int) -> None:
    """TCG PC Client Platform TPM Profile: what the PCRs are after a start."""
    exchanges = decode_log(log_of((pcr_extend(pcr, (0xB, EMPTY_DIGEST)), SUCCESS)))
    assert replay_pcrs(exchanges) == {pcr: hashlib.sha256(bytes([before]) * 32 + EMPTY_DIGEST).hexdigest()}


def test_a_pcr_that_was_reset_begins_anew() -> None:
    """TCG TPM 2.0 Library, Part 3, 22.8: only some can be, and only the one that is named."""
    extended = [(pcr_extend(pcr, (0xB, EMPTY_DIGEST)), SUCCESS) for pcr in (16, 23)]
    reset = (bytes.fromhex("80020000001b0000013d00000010 00000009 4000000900 00000000"), SUCCESS)
    exchanges = decode_log(log_of(reset, *extended, reset))
    assert str(exchanges[-1]) == "PCR_Reset 16 -> success"
    assert set(replay_pcrs(exchanges)) == {23}
    assert replay_pcrs((*exchanges, exchanges[1])) == replay_pcrs(exchanges[1:3])


def test_an_unknown_bank_ends_the_digests() -> None:
    (exchange,) = decode_log(log_of((pcr_extend(1, (0x12, bytes(32)), (0xB, bytes(32))), SUCCESS)))
    assert exchange.digests == ()


def endorsement_key(tpm: Tpm, folder: Path) -> bytes:
    """The public part of an ECC primary key in the endorsement hierarchy: it depends on nothing but the seed."""
    with (
        powered_tpm(tpm, folder / "ek.sock", folder / "ek.log", user=None) as running,
        closing(Client(folder / "ek.sock")) as client,
    ):
        assert client.ask(STARTUP) == SUCCESS
        public = struct.pack(">HHIH", 0x23, 0xB, 0x30072, 0) + struct.pack(
            ">HHHHHHHH", 6, 128, 0x43, 0x10, 3, 0x10, 0, 0
        )
        authorization = bytes.fromhex("40000009") + bytes(5)
        body = struct.pack(">II", 0x4000000B, len(authorization)) + authorization
        body += bytes.fromhex("000400000000") + struct.pack(">H", len(public)) + public + bytes(6)
        answer = client.ask(struct.pack(">HII", 0x8002, 10 + len(body), 0x131) + body)
        assert answer[6:10] == bytes(4), answer.hex()
        assert [str(exchange) for exchange in running.exchanges()] == ["Startup -> success", "CreatePrimary -> success"]
    (size,) = struct.unpack_from(">H", answer, 18)
    return answer[20 : 20 + size]


@pytest.mark.parametrize(
    ("said", "failed"),
    [
        ("libtpms/tpm2: TPM2_Process: Entered failure mode through command:\n", True),
        (" SWTPM_IO_Write: length 10\n 80 01 00 00 00 0A 00 00 01 01\n", False),
        ("Entered failure mode, says a guest in no log of swtpm's\n", False),
        ("", False),
    ],
)
def test_a_tpm_in_failure_mode_says_so(said: str, failed: bool) -> None:
    assert in_failure_mode(said) is failed


def test_a_log_that_is_gone_is_none_in_which_nothing_was_asked(tmp_path: Path) -> None:
    """Such as one that something tidied away beneath it."""
    log = tmp_path / "swtpm.log"
    log.write_text("")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as running:
        tpm = Swtpm(running, log)
        assert tpm.failure() is None
        log.write_text("libtpms/tpm2: TPM2_Process: Entered failure mode through command:\n")
        assert "failure mode" in (tpm.failure() or "")
        log.write_text(dump("Write", SUCCESS))
        assert "swtpm's log lacks something" in (tpm.failure() or "")
        log.unlink()
        assert "swtpm's log is gone" in (tpm.failure() or "")
        os.close(tpm.wake_fd)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.real
@pytest.mark.usefixtures("cache")
def test_a_clone_is_the_same_tpm_and_another_one_is_not(tmp_path: Path) -> None:
    tpm = Tpm(tmp_path / "tpm")
    manufacture(tpm)
    twin = clone(tpm, tmp_path / "twin")
    stranger = Tpm(tmp_path / "stranger")
    manufacture(stranger)
    key = endorsement_key(tpm, tmp_path)
    (tmp_path / "ek.sock").unlink()
    assert endorsement_key(twin, tmp_path) == key
    (tmp_path / "ek.sock").unlink()
    assert endorsement_key(stranger, tmp_path) != key


@pytest.mark.real
def test_certificates_are_signed_by_the_harnesss_own_authority(tmp_path: Path, cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path("/var/lib").glob("swtpm-localca/*")}
    manufacture(Tpm(tmp_path / "tpm"))
    assert (cache / "tpm-authority" / "issuercert.pem").exists()
    assert {path: path.stat().st_mtime_ns for path in Path("/var/lib").glob("swtpm-localca/*")} == before
    assert [path.name for path in (tmp_path / "tpm").iterdir()] == ["tpm2-00.permall"]


@pytest.mark.real
@pytest.mark.usefixtures("cache")
def test_a_tpm_1_2_answers_in_its_own_language(tmp_path: Path) -> None:
    tpm = Tpm(tmp_path / "tpm", TpmVersion.TPM_1_2)
    manufacture(tpm)
    with (
        powered_tpm(tpm, tmp_path / "s", tmp_path / "log", user=None) as running,
        closing(Client(tmp_path / "s")) as client,
    ):
        answer = client.ask(bytes.fromhex("00c10000000c000000990001"))  # TPM_Startup(ST_CLEAR)
        assert answer[:2] == bytes.fromhex("00c4")
        assert [exchange.code for exchange in running.exchanges()] == [0x99]


@pytest.mark.real
@pytest.mark.usefixtures("cache")
def test_it_ends_when_its_client_goes_and_the_alarm_tells(tmp_path: Path) -> None:
    tpm = Tpm(tmp_path / "tpm")
    manufacture(tpm)
    with powered_tpm(tpm, tmp_path / "s", tmp_path / "log", user=None) as running:
        assert running.exit_status() is None
        Client(tmp_path / "s").close()
        poll = select.poll()
        poll.register(running.wake_fd, select.POLLIN)
        assert poll.poll(10_000), "swtpm outlived its only client"
        assert running.exit_status() == 0


@pytest.mark.real
@pytest.mark.usefixtures("cache")
def test_it_ends_with_the_block_even_if_nobody_ever_connected(tmp_path: Path) -> None:
    tpm = Tpm(tmp_path / "tpm")
    manufacture(tpm)
    with powered_tpm(tpm, tmp_path / "s", tmp_path / "log", user=None) as running:
        pass
    assert running.exit_status() is not None


@pytest.mark.real
@pytest.mark.usefixtures("cache")
def test_it_dies_with_a_harness_that_is_killed(tmp_path: Path) -> None:
    manufacture(Tpm(tmp_path / "tpm"))
    script = """
import sys
from pathlib import Path
from harness.machine.spec import Tpm
from harness.machine.tpm import powered_tpm
folder = Path(sys.argv[1])
with powered_tpm(Tpm(folder / "tpm"), folder / "s", folder / "log", user=None) as running:
    print(running._process.pid, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        handle = os.pidfd_open(int(child.stdout.readline()))
        child.send_signal(signal.SIGKILL)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    gone = poll.poll(5_000)
    os.close(handle)
    assert gone, "swtpm outlived the harness"


@pytest.mark.real
def test_a_listening_tpm_does_not_outlive_a_harness_that_was_killed(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from harness.machine.tpm import listening_tpm
with listening_tpm(Path(sys.argv[1]), Path(sys.argv[1], "tpm")):
    while not Path(sys.argv[1], "tpm").exists():
        pass
    print("up", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "up\n"
        with socket.socket(socket.AF_UNIX) as tpm:
            tpm.connect(str(tmp_path / "tpm"))
            tpm.settimeout(5)
            child.send_signal(signal.SIGKILL)
            with suppress(ConnectionResetError):
                assert tpm.recv(1) == b""  # or it times out: swtpm outlived the harness


@pytest.mark.usefixtures("cache")
def test_a_failed_manufacture_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, status in (("swtpm_setup", 1), ("swtpm_localca", 0)):
        (tools / name).write_text(f"#!/bin/sh\necho no luck >&2\nexit {status}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(HostError, match="swtpm_setup failed with status 1") as caught:
        manufacture(Tpm(tmp_path / "here" / "tpm"))
    assert "no luck" in str(caught.value)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_tpm_that_ends_before_it_says_a_word_was_asked_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of it would else hide why the machine was not made."""
    (tmp_path / "swtpm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "swtpm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with powered_tpm(Tpm(tmp_path / "state"), tmp_path / "s", tmp_path / "log", user=None) as running:
        assert select.select([running.wake_fd], [], [], 20)[0]
        assert running.exit_status() == 1
        assert running.exchanges() == ()


@pytest.mark.usefixtures("cache")
def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with (
        pytest.raises(HostError, match="is not installed"),
        powered_tpm(Tpm(tmp_path), tmp_path / "s", tmp_path / "l", user=None),
    ):
        pass
