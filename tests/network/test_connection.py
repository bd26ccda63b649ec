"""What a connection brought: where an HTTP message ends, and what was asked."""

import time

import pytest
from fuzz_targets import SECONDS
from hypothesis import given
from hypothesis import strategies as st

from harness.network.connection import HOME, Client, Connection, Mode, message_end


@given(body=st.binary(max_size=40), rest=st.binary(max_size=10), data=st.data())
def test_a_message_ends_after_its_body_and_never_before(body: bytes, rest: bytes, data: st.DataObject) -> None:
    message = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: %d\r\n\r\n%b" % (len(body), body)
    assert message_end(message + rest) == len(message)
    cut = data.draw(st.integers(0, len(message) - 1))
    assert message_end(message[:cut]) is None


def test_a_message_that_states_no_length_has_no_body() -> None:
    assert message_end(b"HTTP/1.1 404 Not Found\r\n\r\n") == 26


@pytest.mark.parametrize("length", ["many", "", "-1", "2: 2", "2.0", "9" * 5000])
def test_a_message_that_states_no_sound_length_has_no_end(length: str) -> None:
    assert message_end(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{{}}".encode()) is None


def requests(sent: bytes) -> tuple[tuple[str, str], ...]:
    return Connection(1.0, 2.0, Client("here", "lab-1"), HOME, Mode.OPEN, sent, b"").requests


def test_the_requests_of_a_connection_are_those_that_were_sent_whole() -> None:
    first = b"GET /adv HTTP/1.1\r\nHost: tang\r\n\r\n"
    second = b"POST /rec/x HTTP/1.1\r\nContent-Length: 6\r\n\r\n{\r\n\r\n}"
    assert requests(first + second + b"GET /half") == (("GET", "/adv"), ("POST", "/rec/x"))
    assert requests(b"GET /\xff HTTP/1.1\r\n\r\n") == (("GET", "/\N{REPLACEMENT CHARACTER}"),)


def test_what_does_not_begin_as_a_request_is_none() -> None:
    """RFC 9112, 3: three words with one space between each."""
    assert requests(b"nonsense\r\n\r\nGET  /adv HTTP/1.1\r\n\r\nGET /adv HTTP/1.1\r\n\r\n") == (("GET", "/adv"),)
    assert requests(b"nonsense\r\ncontent-length: many\r\n\r\n") == ()


def test_a_guest_that_asks_very_often_does_not_keep_who_counts_it() -> None:
    started = time.process_time()
    assert len(requests(b"GET / HTTP/1.1\r\n\r\n" * 50_000)) == 50_000
    assert time.process_time() - started < SECONDS
