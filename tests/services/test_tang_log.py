"""Tang's log as a witness: what is a recovery, what an advertisement, and which machine asked for it."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.network.connection import HOME, Client, Connection, Mode
from harness.services.log import stamp
from harness.services.tang_log import TangRequest, ascribed, parse_log, unlogged

ONE, TWO = Client("one", "1"), Client("two", "2")
POST, GET = ("POST", "/rec/kid"), ("GET", "/adv")


def request(time: float, said: tuple[str, str] = POST, status: int = 200) -> TangRequest:
    return TangRequest(time, *said, status, None)


def connection(
    client: Client, opened: float, closed: float | None, *said: tuple[str, str], mode: Mode = Mode.OPEN
) -> Connection:
    sent = b"".join(f"{method} {path} HTTP/1.1\r\nHost: tang\r\n\r\n".encode() for method, path in said)
    return Connection(opened, closed, client, HOME, mode, sent, b"")


@pytest.mark.parametrize(
    ("method", "path", "status", "advertisement"),
    [
        ("GET", "/adv", 200, True),
        ("GET", "/adv/", 200, True),
        ("GET", "/adv/kid", 200, True),
        ("GET", "/adv", 404, False),
        ("POST", "/adv", 200, False),
        ("GET", "/rec/kid", 200, False),
        ("GET", "/x/adv", 200, False),
    ],
)
def test_an_advertisement_is_an_answered_get_of_adv(method: str, path: str, status: int, advertisement: bool) -> None:
    assert TangRequest(0.0, method, path, status, None).is_advertisement is advertisement


@pytest.fixture
def abroad(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host that does not live by UTC."""
    monkeypatch.setenv("TZ", "EST+5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("abroad")
def test_a_line_is_stamped_and_read_in_utc_wherever_the_host_is() -> None:
    line = stamp(0.5, "<unknown> GET /adv => 200 (a:1)")
    assert line == "1970-01-01T00:00:00.500000Z <unknown> GET /adv => 200 (a:1)"
    assert parse_log(line) == (TangRequest(0.5, "GET", "/adv", 200, None),)


def test_a_time_without_a_fraction_and_an_address_are_read() -> None:
    text = "x\n1970-01-01T00:00:10Z 10.0.2.2 POST /rec/kid => 200 (a:1)\n1970-01-01T00:00:11Z a b => 200 (a:1)\n"
    assert parse_log(text) == (TangRequest(10.0, "POST", "/rec/kid", 200, "10.0.2.2"),)


@pytest.mark.parametrize("time", ["2026-13-28T19:00:00Z", "0000-11-28T19:00:00Z", "2026-11-28T19:00:٣٣Z"])
def test_a_line_whose_stamp_is_no_time_is_passed_over(time: str) -> None:
    line = "{} 10.0.2.2 POST /rec/abc => 200 (src/tangd.c:168)\n".format
    assert len(parse_log(line(time) + line("2026-11-28T19:00:00Z"))) == 1


def test_each_request_is_that_of_the_machine_that_sent_it() -> None:
    connections = [connection(ONE, 1.0, 5.0, GET, POST), connection(TWO, 2.0, None, POST)]
    requests = (request(3.0, GET), request(3.5), request(4.0))
    assert [each.client for each in ascribed(requests, connections)] == [ONE, ONE, TWO]
    first = ascribed(requests, connections)[0]
    assert (first.time, first.method, first.path, first.status) == (3.0, "GET", "/adv", 200), "nothing else is changed"


def test_a_request_that_was_sent_once_is_answered_once() -> None:
    twice = ascribed((request(3.0), request(3.0)), [connection(ONE, 1.0, 5.0, POST)])
    assert [each.client for each in twice] == [ONE, None]


@pytest.mark.parametrize(
    ("said", "opened", "closed", "mode"),
    [
        (("POST", "/rec/other"), 1.0, 5.0, Mode.OPEN),
        (("GET", "/rec/kid"), 1.0, 5.0, Mode.OPEN),
        (POST, 10.5, None, Mode.OPEN),
        (POST, 1.0, 5.0, Mode.STALL),
    ],
    ids=["another path", "another method", "opened later", "never reached the server"],
)
def test_a_machine_that_did_not_make_a_request_is_not_named(
    said: tuple[str, str], opened: float, closed: float | None, mode: Mode
) -> None:
    [found] = ascribed((request(10.0),), [connection(ONE, opened, closed, said, mode=mode)])
    assert found.client is None


@pytest.mark.parametrize(
    ("opened", "closed", "time", "client"),
    [(10.0, None, 10.0, ONE), (1.0, 5.0, 35.0, ONE), (1.0, 5.0, 35.5, None), (1.0, None, 1000.0, ONE)],
    ids=["at once", "30 s after its end", "too long after its end", "while it lasts"],
)
def test_tang_may_write_a_line_until_30_s_after_the_connection_ended(
    opened: float, closed: float | None, time: float, client: Client | None
) -> None:
    [found] = ascribed((request(time),), [connection(ONE, opened, closed, POST)])
    assert found.client is client


def answered(*said: tuple[str, str], mode: Mode = Mode.OPEN) -> Connection:
    return replace(connection(ONE, 1.0, 2.0, *said, mode=mode), answered=True)


def test_a_recovery_that_was_answered_is_in_the_log_or_the_log_lacks_it() -> None:
    other = ("POST", "/rec/other")
    assert unlogged([], [answered(POST), answered(POST), answered(other)]) == 3
    assert unlogged([request(1.0)], [answered(POST), answered(POST), answered(other)]) == 2
    assert unlogged([request(1.0), request(1.1, status=404)], [answered(POST), answered(POST)]) == 0
    assert unlogged([request(1.0)], []) == 0, "one whose answer was cut off"


@pytest.mark.parametrize(
    "seen",
    [answered(GET), answered(("POST", "/elsewhere")), answered(), answered(POST, mode=Mode.STALL)],
)
def test_what_is_no_recovery_need_not_be_in_the_log(seen: Connection) -> None:
    assert unlogged([], [seen, connection(ONE, 1.0, None, POST)]) == 0
