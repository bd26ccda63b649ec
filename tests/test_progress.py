"""Progress: a line that counts on a terminal, plain lines in a file."""

import io
import time

import pytest

from harness.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_a_line_at_start_and_at_end() -> None:
    stream = io.StringIO()
    with Progress(stream).step("building"):
        assert stream.getvalue() == "· building …\n"
    start, end = stream.getvalue().splitlines()
    assert end.startswith("✓ building (0.")
    assert "\033" not in start + end


def test_a_failure_is_marked_and_goes_on_up() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError, match="no"), Progress(stream).step("building"):
        raise RuntimeError("no")
    assert stream.getvalue().splitlines()[-1].startswith("✗ building (")


def test_a_terminal_sees_the_seconds_count() -> None:
    stream = Terminal()
    with Progress(stream).step("building"):
        deadline = time.monotonic() + 10
        while "building … 1 s" not in stream.getvalue():
            assert time.monotonic() < deadline, "it does not count"
    assert stream.getvalue().endswith("✓ building (" + stream.getvalue().rpartition("(")[2])
    assert stream.getvalue().count("\n") == 1


def test_a_terminal_sees_a_step_as_soon_as_it_starts() -> None:
    stream = Terminal()
    with Progress(stream).step("building"):
        deadline = time.monotonic() + 0.8
        while "building" not in stream.getvalue():
            assert time.monotonic() < deadline, "it waits for the first second"


def test_say_writes_a_line() -> None:
    stream = io.StringIO()
    Progress(stream).say("one thing")
    assert stream.getvalue() == "one thing\n"
