"""The software authenticator: its parts, and libfido2 and systemd-cryptenroll talking to it over a pseudo-terminal."""

import base64
import hashlib
import hmac
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import RigError
from harness.machine import cbor, ctap2_log, ctaphid
from harness.machine.ctap2 import Authenticator, manufacture
from harness.machine.ctap2_log import STATUS
from harness.machine.security_key import PluggedKey, plugged

PIN = "1234"

# CBOR.

values: st.SearchStrategy[Any] = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.integers(-300, 300) | st.text(max_size=3), inner),
    max_leaves=12,
)


@given(values)
def test_cbor_reads_what_it_wrote(value: Any) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (1000000, "1a000f4240"),
        (-1, "20"),
        (-1000, "3903e7"),
        (b"\1\2\3\4", "4401020304"),
        ("ü", "62c3bc"),
        ([1, [2, 3]], "8201820203"),
        ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
        ({2: True, -1: False, "b": 0, "aa": 0}, "a402f520f461620062616100"),
    ],
)
def test_cbor_by_the_vectors_of_rfc_8949_and_ctap2_s_order_of_keys(value: Any, text: str) -> None:
    assert cbor.encode(value).hex() == text
    assert cbor.decode(bytes.fromhex(text)) == value


@pytest.mark.parametrize("text", ["", "18", "61", "6261", "81", "a1", "a100", "f6", "5f", "c000", "0000", "a14100f5"])
def test_cbor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        cbor.decode(bytes.fromhex(text))


# CTAPHID.


@given(st.binary(max_size=1200))
def test_a_message_in_reports_is_answered_in_reports(data: bytes) -> None:
    transport = ctaphid.Transport(lambda message: message[::-1])
    answers = [each for report in ctaphid.reports(7, ctaphid.CBOR, data) for each in transport.feed(report)]
    assert all(len(report) == ctaphid.REPORT_BYTES for report in answers)
    assert answers == list(ctaphid.reports(7, ctaphid.CBOR, data[::-1]))


def test_a_channel_is_given_and_others_do_not_disturb() -> None:
    transport = ctaphid.Transport(lambda message: message)
    (answer,) = transport.feed(next(ctaphid.reports(0xFFFFFFFF, ctaphid.INIT, b"12345678")))
    assert answer[7:15] == b"12345678"
    assert struct.unpack(">I", answer[15:19])[0] > 1
    first, second = ctaphid.reports(2, ctaphid.PING, bytes(100))
    assert transport.feed(first) == ()
    assert transport.feed(second[:3] + b"\x09" + second[4:]) == (), "a report of another channel"
    assert len(transport.feed(second)) == 2
    assert transport.feed(b"short") == ()


def test_a_message_that_is_longer_than_all_its_reports_is_refused() -> None:
    transport = ctaphid.Transport(lambda message: message)
    (answer,) = transport.feed(struct.pack(">IBH", 7, ctaphid.PING | 0x80, 7610).ljust(64, b"\0"))
    assert answer[4:8] == bytes([ctaphid.ERROR | 0x80, 0, 1, 3])
    longest = [each for report in ctaphid.reports(7, ctaphid.PING, bytes(7609)) for each in transport.feed(report)]
    assert len(longest) == 129


# The authenticator, by a client of the tests' own.


@pytest.mark.parametrize("body", [b"", b"\x80", b"\x00", b"\x81" * 5000, b"\xa1\x02\x80", b"\xff"])
@pytest.mark.parametrize("command", range(8))
def test_no_message_ends_an_authenticator(tmp_path: Path, command: int, body: bytes) -> None:
    manufacture(tmp_path / "key", PIN)
    assert Authenticator(tmp_path / "key").answer(bytes([command]) + body)


@settings(max_examples=60)
@given(command=st.sampled_from((1, 2, 4, 6)), request=st.dictionaries(st.integers(1, 9), values, max_size=6) | values)
def test_no_request_ends_an_authenticator(command: int, request: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        manufacture(Path(folder, "key"), PIN)
        assert Authenticator(Path(folder, "key")).answer(bytes([command]) + cbor.encode(request))


class Client:
    """Asks an authenticator as libfido2 does."""

    def __init__(self, state: Path) -> None:
        self.authenticator = Authenticator(state)
        self.credential = b""
        self.token = b""

    def ask(self, command: int, **request: Any) -> Any:
        """The answer, or the status if that is no success; keys are ``k1=``."""
        body = cbor.encode({int(key[1:]): value for key, value in request.items()}) if request else b""
        answer = self.authenticator.answer(bytes([command]) + body)
        return cbor.decode(answer[1:]) if answer[0] == ctap2_log.OK and len(answer) > 1 else answer[0]

    def agree(self) -> tuple[dict[int, Any], bytes]:
        """A key of the client's, and the secret that both share."""
        theirs = self.ask(6, k1=1, k2=2)[1]
        own = ec.generate_private_key(ec.SECP256R1())
        peer = ec.EllipticCurvePublicNumbers(
            int.from_bytes(theirs[-2], "big"), int.from_bytes(theirs[-3], "big"), ec.SECP256R1()
        )
        numbers = own.public_key().public_numbers()
        cose = {1: 2, 3: -25, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        return cose, hashlib.sha256(own.exchange(ec.ECDH(), peer.public_key())).digest()

    def type_pin(self, pin: str) -> int:
        """Ask for the token that a PIN gives; returns the status."""
        cose, shared = self.agree()
        answer = self.ask(6, k1=1, k2=5, k3=cose, k6=aes(shared, hashlib.sha256(pin.encode()).digest()[:16]))
        if isinstance(answer, int):
            return answer
        self.token = aes(shared, answer[2], encrypt=False)
        return ctap2_log.OK

    def verified(self, key: str) -> dict[str, Any]:
        return {key: hmac.digest(self.token, bytes(32), "sha256")[:16]} if self.token else {}

    def make(self) -> Any:
        made = self.ask(
            1,
            k1=bytes(32),
            k2={"id": "io.systemd.cryptsetup"},
            k3={"id": b"user", "name": "var"},
            k4=[{"type": "public-key", "alg": -7}],
            k6={"hmac-secret": True},
            **self.verified("k8"),
        )
        if not isinstance(made, int):
            data = made[2]
            size = struct.unpack(">H", data[53:55])[0]
            self.credential = data[55 : 55 + size]
        return made

    def secret(self, salt: bytes, party: str = "io.systemd.cryptsetup") -> Any:
        """What hmac-secret derives from a salt, or the status."""
        cose, shared = self.agree()
        encrypted = aes(shared, salt)
        extension = {1: cose, 2: encrypted, 3: hmac.digest(shared, encrypted, "sha256")[:16]}
        answer = self.ask(
            2,
            k1=party,
            k2=bytes(32),
            k3=[{"type": "public-key", "id": b"other"}, {"type": "public-key", "id": self.credential}],
            k4={"hmac-secret": extension},
            **self.verified("k6"),
        )
        if isinstance(answer, int):
            return answer
        output: Any = cbor.decode(answer[2][37:])
        return aes(shared, output["hmac-secret"], encrypt=False)


def aes(key: bytes, data: bytes, *, encrypt: bool = True) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(16)))
    context = cipher.encryptor() if encrypt else cipher.decryptor()
    return context.update(data) + context.finalize()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    manufacture(tmp_path / "key.json", None)
    return tmp_path / "key.json"


@pytest.fixture
def state_with_pin(tmp_path: Path) -> Path:
    manufacture(tmp_path / "key-with-pin.json", PIN)
    return tmp_path / "key-with-pin.json"


def test_what_it_can_is_told(state: Path, state_with_pin: Path) -> None:
    said = Client(state).ask(4)
    assert said[2] == ["hmac-secret"]
    assert "clientPin" not in said[4]
    assert Client(state_with_pin).ask(4)[4]["clientPin"] is True


def test_the_same_salt_gives_the_same_secret_after_a_power_cycle_too(state: Path) -> None:
    client = Client(state)
    made = client.make()
    first = client.secret(b"s" * 32)
    assert len(first) == 32
    assert client.secret(b"t" * 32) != first
    assert client.secret(b"s" * 32 + b"t" * 32)[:32] == first
    again = Client(state)
    again.credential = client.credential
    assert again.secret(b"s" * 32) == first
    assert again.authenticator.exchanges[-1].gave_secret
    assert (state.stat().st_mode & 0o777) == 0o600
    public = ec.EllipticCurvePublicNumbers(
        int.from_bytes(cbor_key(made[2])[-2], "big"), int.from_bytes(cbor_key(made[2])[-3], "big"), ec.SECP256R1()
    ).public_key()
    public.verify(made[3]["sig"], made[2] + bytes(32), ec.ECDSA(hashes.SHA256()))


def cbor_key(data: bytes) -> Any:
    """The COSE key at the end of a new credential's data, before its extensions."""
    size = struct.unpack(">H", data[53:55])[0]
    extensions = cbor.encode({"hmac-secret": True})
    return cbor.decode(data[55 + size :].removesuffix(extensions))


def test_another_key_or_another_party_gives_nothing(state: Path, tmp_path: Path) -> None:
    client = Client(state)
    client.make()
    manufacture(tmp_path / "another.json", None)
    another = Client(tmp_path / "another.json")
    another.credential = client.credential
    assert another.secret(b"s" * 32) == ctap2_log.NO_CREDENTIALS
    assert client.secret(b"s" * 32, party="elsewhere") == ctap2_log.NO_CREDENTIALS
    assert not another.authenticator.exchanges[-1].gave_secret
    assert "no credentials" in str(another.authenticator.exchanges[-1])


def test_with_the_pin_it_is_another_secret(state_with_pin: Path) -> None:
    client = Client(state_with_pin)
    assert client.make() == ctap2_log.PIN_REQUIRED
    assert client.type_pin(PIN) == ctap2_log.OK
    client.make()
    verified = client.secret(b"s" * 32)
    client.token = b""
    assert client.secret(b"s" * 32) != verified
    client.token = bytes(32)
    assert client.secret(b"s" * 32) == ctap2_log.PIN_AUTH_INVALID


def test_three_wrong_pins_want_a_power_cycle_and_eight_block_it(state_with_pin: Path) -> None:
    said = [Client(state_with_pin).type_pin("0000")]
    client = Client(state_with_pin)
    assert client.type_pin(PIN) == ctap2_log.OK
    assert client.ask(6, k1=1, k2=1)[3] == 8, "the right one gives the tries back"
    said = [client.type_pin("0000") for _ in range(3)]
    assert said == [ctap2_log.PIN_INVALID, ctap2_log.PIN_INVALID, ctap2_log.PIN_AUTH_BLOCKED]
    assert client.type_pin(PIN) == ctap2_log.PIN_AUTH_BLOCKED
    client = Client(state_with_pin)
    said = [client.type_pin("0000") for _ in range(3)]
    client = Client(state_with_pin)
    said = [client.type_pin("0000") for _ in range(2)]
    assert said == [ctap2_log.PIN_INVALID, ctap2_log.PIN_BLOCKED]
    assert Client(state_with_pin).type_pin(PIN) == ctap2_log.PIN_BLOCKED


def test_what_it_does_not_understand_is_an_answer_too(state: Path) -> None:
    authenticator = Authenticator(state)
    assert authenticator.answer(b"\x0b")[0] == ctap2_log.INVALID_COMMAND
    no_map, deep, party_of_no_words = b"\x06\x80", b"\x02" + b"\x81" * 5000, b"\x01\xa2\x01\x41\x00\x02\xa1\x62id\x05"
    for message in (
        b"",
        b"\x02",
        b"\x02\xff",
        b"\x01\xa1\x01\x02",
        b"\x06\xa1\x02\x18",
        no_map,
        deep,
        party_of_no_words,
    ):
        assert authenticator.answer(message)[0] in STATUS
        assert authenticator.answer(message)[0] != ctap2_log.OK


def test_a_key_without_a_pin_takes_none(state: Path) -> None:
    assert [Client(state).type_pin(pin) for pin in ("None", "")] == [ctap2_log.PIN_NOT_SET] * 2


def test_a_key_that_breaks_is_an_error_of_the_rig_and_gone_for_the_guest(state: Path) -> None:
    here, there = socket.socketpair()
    here.settimeout(10)
    with (
        pytest.raises(RigError, match="the security key broke: NotADirectoryError"),
        here,
        there,
        plugged(state, there) as key,
    ):
        key._authenticator._path = state / "no folder"
        for report in ctaphid.reports(1, ctaphid.CBOR, b"\x01" + cbor.encode({1: bytes(32), 2: {"id": "here"}})):
            here.sendall(report)
        assert here.recv(64) == b""
        assert "the security key broke: NotADirectoryError" in (key.failure() or "")


def test_a_key_that_is_pulled_is_gone(state: Path) -> None:
    here, there = socket.socketpair()
    here.settimeout(10)
    with here, there, plugged(state, there) as key:
        here.sendall(next(ctaphid.reports(1, ctaphid.CBOR, b"\x04")))
        assert here.recv(64)
        assert [each.command for each in key.exchanges] == ["getInfo"]
        key.pull()
        while here.recv(4096):
            pass  # what it sent before
        assert key.failure() is None


# libfido2 and systemd-cryptenroll.

needs_systemd_cryptenroll = pytest.mark.skipif(
    shutil.which("systemd-cryptenroll") is None,
    reason="Debian 13 has systemd-cryptenroll in a package of its own, systemd-cryptsetup, that 12 does not know",
)
"""The other tools come with the set-up."""


@contextmanager
def on_pty(state: Path) -> Iterator[tuple[str, PluggedKey]]:
    """The key behind a pseudo-terminal, which libfido2 takes for a hidraw node: a report's number comes first."""
    master, slave = os.openpty()
    tty.setraw(slave)
    tty.setraw(master)
    ours, theirs = socket.socketpair()

    def to_key() -> None:
        buffer = b""
        while data := read(master):
            buffer += data
            while len(buffer) > ctaphid.REPORT_BYTES:
                ours.sendall(buffer[1 : ctaphid.REPORT_BYTES + 1])
                buffer = buffer[ctaphid.REPORT_BYTES + 1 :]

    def from_key() -> None:
        while data := ours.recv(4096):
            os.write(master, data)

    threads = [threading.Thread(target=each, daemon=True) for each in (to_key, from_key)]
    for thread in threads:
        thread.start()
    with ours, theirs, plugged(state, theirs) as key:
        yield os.ttyname(slave), key
        os.close(slave)
    for thread in threads:
        thread.join(5)
    os.close(master)


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""  # the other end of a terminal is closed


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.write_bytes(b"")
    os.truncate(path, 20 * 2**20)
    (tmp_path / "password").write_text("password")
    quick = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
    subprocess.run(["cryptsetup", "luksFormat", "-q", *quick, str(path), str(tmp_path / "password")], check=True)
    return path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PASSWORD": "password", "SYSTEMD_LOG_LEVEL": "debug"}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


def enroll(volume: Path, device: str, with_pin: str = "no") -> list[str]:
    return [
        "systemd-cryptenroll",
        f"--fido2-device={device}",
        f"--fido2-with-client-pin={with_pin}",
        "--fido2-with-user-presence=no",
        str(volume),
    ]


def secret_by_libfido2(volume: Path, device: str) -> subprocess.CompletedProcess[str]:
    """What the token in the LUKS header leads to, by fido2-assert(1): the last line is the secret in base64."""
    token = json.loads(run("cryptsetup", "token", "export", "--token-id", "0", str(volume)).stdout)
    assert token["type"] == "systemd-fido2"
    nonce = base64.b64encode(bytes(32)).decode()
    lines = [nonce, token["fido2-rp"], token["fido2-credential"], token["fido2-salt"]]
    asked = ["fido2-assert", "-G", "-h", "-t", "up=false", device]
    return subprocess.run(asked, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=60, check=False)


def opens(volume: Path, key: str) -> bool:
    """Whether a passphrase opens a volume."""
    asked = ["cryptsetup", "open", "--test-passphrase", "--key-file", "-", str(volume)]
    return subprocess.run(asked, input=key, text=True, capture_output=True, check=False).returncode == 0


@pytest.mark.real
@needs_systemd_cryptenroll
def test_what_systemd_enrolled_the_key_opens_and_no_other(state: Path, volume: Path, tmp_path: Path) -> None:
    with on_pty(state) as (device, key):
        done = run(*enroll(volume, device))
        assert done.returncode == 0, done.stderr
        assert any(each.gave_secret for each in key.exchanges)
    with on_pty(state) as (device, _):
        said = secret_by_libfido2(volume, device)
        assert said.returncode == 0, said.stderr
        assert opens(volume, said.stdout.split()[-1])
    assert not opens(volume, base64.b64encode(bytes(32)).decode())
    manufacture(tmp_path / "another.json", None)
    with on_pty(tmp_path / "another.json") as (device, key):
        said = secret_by_libfido2(volume, device)
        assert "NO_CREDENTIALS" in said.stderr
        assert not any(each.gave_secret for each in key.exchanges)


@pytest.mark.real
@needs_systemd_cryptenroll
@pytest.mark.parametrize(("typed", "opened"), [(PIN, True), ("0000", False)])
def test_systemd_enrolls_by_the_pin_that_is_typed(state_with_pin: Path, volume: Path, typed: str, opened: bool) -> None:
    with on_pty(state_with_pin) as (device, key):
        command, *arguments = enroll(volume, device, "yes")
        environment = {**os.environ, "PASSWORD": "password"}
        asked: pexpect.spawn[str] = pexpect.spawn(command, arguments, env=environment, encoding="utf-8", timeout=30)
        asked.expect("enter security token PIN")
        asked.sendline(typed)
        assert asked.expect(["New FIDO2 token enrolled", "PIN incorrect"]) == (0 if opened else 1)
        asked.close(force=True)
        assert any(each.gave_secret for each in key.exchanges) is opened
        assert any("PIN invalid" in str(each) for each in key.exchanges) is not opened
