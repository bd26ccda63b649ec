"""The HSM: what its log says, read by itself; and the real one, alone."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from harness.host.docker import docker_client
from harness.network.connection import Client, Connection, Mode
from harness.network.namespace import Endpoint
from harness.progress import Progress
from harness.services.container import OWNER_LABEL
from harness.services.hsm import Hsm, serve_hsm
from harness.services.hsm_log import HsmCall, ascribed, ended_sessions, parse_log
from harness.services.hsm_token import HsmToken

LOG = """\
2026-11-28T22:39:44.320554Z 15 C_Login
2026-11-28T22:39:44.320554Z 15   IN: hSession = S1
2026-11-28T22:39:44.320554Z 15   IN: pPin = (4) "2468"
2026-11-28T22:39:44.328984Z 15 C_Login = CKR_OK
2026-11-28T22:39:45.000000Z 21 C_Login = CKR_PIN_INCORRECT
2026-11-28T22:39:46.000000Z 15 C_Decrypt = CKR_OK
2026-11-28T22:39:46.000000Z The key pair has been imported.
"""
ONE, TWO = Client("one", "1"), Client("two", "2")


def connection(client: Client, opened: float, mode: Mode = Mode.OPEN) -> Connection:
    return Connection(opened, None, client, "home", mode, b"", b"")


def test_the_log_says_what_was_called_and_what_came_of_it() -> None:
    calls = parse_log(LOG)
    assert [str(call) for call in calls] == [
        "C_Login => CKR_OK",
        "C_Login => CKR_PIN_INCORRECT",
        "C_Decrypt => CKR_OK",
    ]
    assert [call.decrypted for call in calls] == [False, False, True]
    assert [call.refused for call in calls] == [False, True, False]


@pytest.mark.parametrize(
    ("function", "result", "refused"),
    [
        ("C_Decrypt", "CKR_ENCRYPTED_DATA_INVALID", True),
        ("C_Login", "CKR_USER_ALREADY_LOGGED_IN", False),
        ("C_GetSlotInfo", "CKR_SLOT_ID_INVALID", False),
    ],
)
def test_what_an_hsm_refuses_is_a_login_or_a_decryption(function: str, result: str, refused: bool) -> None:
    call = HsmCall(1.0, "15", function, result)
    assert (call.refused, call.decrypted) == (refused, False)


def test_the_log_is_in_utc() -> None:
    """What is compared with it is this host's clock, in seconds since the epoch."""
    line = "{} 15 C_Login = CKR_OK\n".format
    assert not parse_log(line("2026-13-28T19:00:00Z") + line("0000-11-28T19:00:00Z")), "stamps that are no times"
    [call] = parse_log("1970-01-01T00:00:02.500000Z 15 C_Login = CKR_OK\n")
    assert call.time == 2.5


def test_probes_are_known_once_all_of_them_have_ended() -> None:
    def call(session: str, function: str) -> HsmCall:
        return HsmCall(1.0, session, function, "CKR_OK")

    first = [call("15", "C_Initialize"), call("15", "C_Finalize")]
    assert ended_sessions([]) is None
    assert ended_sessions(first[:1]) is None
    assert ended_sessions([*first, call("19", "C_Initialize")]) is None
    assert ended_sessions([*first, call("19", "C_Initialize"), call("19", "C_Finalize")]) == frozenset({"15", "19"})


def test_each_call_is_ascribed_to_the_machine_whose_connection_it_came_by() -> None:
    calls = parse_log(LOG)
    start = calls[0].time
    connections = [connection(ONE, start - 9, Mode.STALL), connection(TWO, start - 1), connection(ONE, start + 0.1)]
    assert [call.client for call in ascribed(calls, connections)] == [TWO, ONE, TWO]
    assert [call.client for call in ascribed(calls, [])] == [None] * 3


def test_a_call_before_any_connection_is_nobody_s() -> None:
    early = HsmCall(1.0, "7", "C_Initialize", "CKR_OK")
    assert ascribed([early], [connection(ONE, 2.0)]) == (early,)
    assert [call.client for call in ascribed([early], [connection(ONE, 1.0)])] == [ONE]


@pytest.fixture
def hsm() -> Iterator[Hsm]:
    with serve_hsm("hsm", HsmToken.new("lab", "2468"), Endpoint(5696), Progress()) as hsm:
        yield hsm
    with docker_client() as client:
        left = client.containers.list(all=True, filters={"label": f"{OWNER_LABEL}={os.getpid()}"}, ignore_removed=True)
    assert not left


def first_byte(connection: socket.socket) -> bytes:
    """What answers the first byte of p11-kit's protocol."""
    with connection:
        connection.settimeout(20.0)
        connection.sendall(b"\0")
        return connection.recv(1)


@pytest.mark.real
def test_it_answers_and_says_in_its_log_which_machine(hsm: Hsm) -> None:
    assert hsm.calls == (), "the harness's own probes are left out"
    assert first_byte(hsm.connect(ONE))
    deadline = time.monotonic() + 20
    while not any(call.function == "C_Initialize" for call in hsm.calls_of(ONE).calls):
        assert time.monotonic() < deadline, hsm.raw_log
        time.sleep(0.05)
    assert hsm.calls_of(TWO).calls == ()


@pytest.mark.real
def test_stopped_it_refuses_and_with_another_key_it_is_another(hsm: Hsm) -> None:
    token = hsm.server.token
    hsm.stop()
    with pytest.raises(ConnectionRefusedError):
        hsm.connect(ONE)
    hsm.start()
    assert first_byte(hsm.connect(ONE))
    assert hsm.server.token == token
    hsm.replace_key()
    assert first_byte(hsm.connect(ONE))
    assert hsm.server.token != token
    assert hsm.server.token.label == token.label
