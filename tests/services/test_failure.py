"""What a service says when it broke by itself, and that what a scenario does to it is no failure. No Docker."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RigError
from harness.network.connection import HOME, Client, Mode
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint
from harness.network.relay import ConnectionRecord
from harness.services.keylime import WEBHOOK, Keylime
from harness.services.tang import Tang
from harness.services.tang_log import TangRequest
from harness.services.verifier import Verifier, serve_verifier

CLIENT = Client("node", "lab-1")


class Server:
    """What runs behind the proxy, and dies when the test says."""

    requests: tuple[TangRequest, ...] = ()

    def __init__(self, nodes: Path | None = None) -> None:
        self.running = True
        self.nodes, self.address = nodes, ("127.0.0.1", 1)
        self.died: str | None = None

    def failure(self) -> str | None:
        return self.died

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False


@pytest.fixture
def tang() -> Iterator[Tang]:
    server: Any = Server()
    with FaultProxy("tang") as proxy:
        yield Tang("tang", Endpoint(80), server, proxy)


def test_what_a_scenario_does_to_a_server_is_no_failure(tang: Tang) -> None:
    for verb in (tang.start, tang.go_silent, tang.stall, tang.answers_only, tang.stop, tang.start, tang.stop):
        verb()
        assert tang.failure() is None
        assert tang.testimony(CLIENT).answers == 0


def test_a_server_that_died_testifies_to_nothing(tang: Tang) -> None:
    """Neither that nobody asked it: it could not have written that down."""
    server: Any = tang.server
    tang.start()
    server.died = "the container of tang has ended by itself"
    assert tang.failure() == server.died
    for ask in (lambda: tang.testimony(CLIENT), lambda: tang.recoveries, lambda: tang.unanswered):
        with pytest.raises(RigError, match="has ended by itself"):
            ask()


def test_nor_does_one_whose_proxy_broke(tang: Tang) -> None:
    tang.start()
    tang.proxy._errors.append(OSError("Too many open files"))
    assert tang.failure() == "the fault proxy of tang broke: Too many open files"
    with pytest.raises(RigError, match="Too many open files"):
        tang.testimony(CLIENT)
    tang.proxy._errors.clear()


def test_a_line_of_the_log_is_waited_for_and_one_that_never_comes_is_told(
    tang: Tang, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Docker daemon that is stuck hands no log on; nobody may take that for a Tang that nobody asked."""
    sent = b"POST /rec/kid HTTP/1.1\r\n\r\n"
    record = ConnectionRecord(CLIENT, HOME, Mode.OPEN, opened=1.0, sent=bytearray(sent), answered=True)
    tang.proxy._records.append(record)
    logged = TangRequest(2.0, "POST", "/rec/kid", 200, None)
    server: Any = tang.server
    asked = [(), (), (logged,)]
    monkeypatch.setattr(Server, "requests", property(lambda _: asked.pop(0) if asked[1:] else asked[0]), raising=False)
    server.raw_log = "the last line"
    assert [each.client for each in tang.recoveries] == [CLIENT]
    asked[:] = [()]
    monkeypatch.setattr("harness.services.tang.LATEST_LINE", 0.1)
    with pytest.raises(RigError, match="answered a recovery that its log lacks") as caught:
        tang.testimony(CLIENT)
    assert caught.value.detail == "the last line"


def test_a_verifier_that_broke_over_a_question_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(RigError, match="ZeroDivisionError"), serve_verifier("verifier", [], []) as verifier:
        assert verifier.failure() is None
        monkeypatch.setattr(Verifier, "answer", broken)
        upstream = verifier.proxy.upstream
        assert upstream
        connection = http.client.HTTPConnection(*upstream, timeout=10)
        connection.request("POST", "/node/register", "{}")
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()
        connection.close()
        assert verifier.failure() == "verifier broke: ZeroDivisionError()"


def test_a_webhook_that_broke_cut_nobody_off_and_says_so(tmp_path: Path) -> None:
    server: Any = Server(tmp_path)
    with pytest.raises(RigError, match="keylime webhook broke"), FaultProxy("keylime") as proxy:
        keylime = Keylime("keylime", Endpoint(8890), server, proxy, ())
        with keylime.webhook(), socket.socket(socket.AF_UNIX) as verifier:
            assert keylime.failure() is None
            verifier.settimeout(10)
            verifier.connect(str(tmp_path / WEBHOOK))
            verifier.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
            assert verifier.recv(1) == b""
            assert keylime.failure() == "keylime webhook broke: KeyError('msg')"
