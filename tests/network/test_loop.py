"""The loop that relays run on."""

import asyncio
import socket
import threading
import time
from contextlib import suppress

import pytest

from harness.errors import RigError
from harness.network.loop import LoopThread
from harness.network.stream import copy, hang_up, readable


async def fail() -> None:
    raise ValueError("a mistake")


async def last(done: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.05)
        done.append("cancelled")


async def running() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def stuck(gate: threading.Event) -> None:
    """What does not give way to others: nothing cancels it."""
    gate.wait(60)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "a loop"]


def test_what_still_runs_is_cancelled_at_the_end_and_the_thread_goes() -> None:
    done: list[str] = []
    with LoopThread("a loop") as loop:
        loop.start(last(done))
        assert loop.call(asyncio.sleep(0, "answer")) == "answer"
        assert [thread.daemon for thread in threads()] == [True], "a process that ends does not wait for it"
        ran_on = loop.call(running())
    assert done == ["cancelled"]
    assert threads() == []
    assert ran_on.is_closed()


def test_what_takes_too_long_is_given_up() -> None:
    with LoopThread("a loop") as loop:
        with pytest.raises(RigError, match="a loop did not do within 0 s what it was told"):
            loop.call(asyncio.sleep(60), 0.1)
        assert loop.call(asyncio.sleep(0, "answer")) == "answer"


@pytest.mark.parametrize(("ending", "told"), [(ValueError, RigError), (KeyboardInterrupt, KeyboardInterrupt)])
def test_what_cannot_be_cancelled_holds_up_nobody_and_hides_no_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, ending: type[BaseException], told: type[BaseException]
) -> None:
    monkeypatch.setattr("harness.network.loop._SECONDS", 0.2)
    gate = threading.Event()
    loop, started = LoopThread("a loop"), time.monotonic()
    with pytest.raises(told), loop:
        ran_on = loop.call(running())
        loop.start(stuck(gate))
        raise ending
    took = time.monotonic() - started
    gate.set()
    for thread in threads():
        thread.join(60)
    for task in asyncio.all_tasks(ran_on):  # given up, and not begun or not ended when the loop was stopped
        with suppress(asyncio.CancelledError):
            ran_on.run_until_complete(task)
    ran_on.close()
    assert took < 8, "and not the seconds that others may take"


def test_what_goes_wrong_on_it_comes_out_at_the_end() -> None:
    with pytest.raises(RigError, match="a loop broke: ValueError"), LoopThread("a loop") as loop:
        assert loop.failure() is None
        loop.start(fail())
        loop.call(asyncio.sleep(0))
        assert loop.failure() == "a loop broke: ValueError('a mistake')"


def test_what_goes_wrong_is_why_something_else_did_and_ctrl_c_ends_all_the_same() -> None:
    with pytest.raises(RigError, match="a loop broke: ValueError"), LoopThread("a loop") as loop:
        loop.start(fail())
        loop.call(asyncio.sleep(0))
        raise KeyError
    with pytest.raises(KeyboardInterrupt), LoopThread("a loop") as loop:
        loop.start(fail())
        loop.call(asyncio.sleep(0))
        raise KeyboardInterrupt


def test_bytes_are_noted_and_passed_on_to_the_end() -> None:
    noted = bytearray()
    (says, source), (sink, hears) = socket.socketpair(), socket.socketpair()
    with says, source, sink, hears, LoopThread("a loop") as loop:
        source.setblocking(False)
        sink.setblocking(False)
        loop.start(copy(source, sink, noted.extend))
        says.sendall(b"hello")
        says.shutdown(socket.SHUT_WR)
        assert hears.recv(9) == b"hello"
        assert hears.recv(9) == b""
    assert noted == b"hello"


def test_a_socket_is_waited_for_and_hung_up_on() -> None:
    says, hears = socket.socketpair()
    with says, hears, LoopThread("a loop") as loop:
        hears.setblocking(False)
        says.sendall(b"x")
        loop.call(readable(hears))
        assert hears.recv(1) == b"x"
        hang_up(says)
        loop.call(readable(hears))
        assert hears.recv(1) == b""
        hang_up(says)  # once more is no error
