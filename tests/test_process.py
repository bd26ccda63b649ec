"""The one function that runs a command to its end."""

import os
import sys
import time
from pathlib import Path

import pytest

from harness.errors import HostError
from harness.process import run

PYTHON = sys.executable


def test_returns_what_it_printed() -> None:
    assert run(["printf", "%s\n", "hello"], timeout=10) == "hello\n"


def test_takes_paths_and_a_working_directory(tmp_path: Path) -> None:
    assert run([Path("/bin/pwd")], timeout=10, cwd=tmp_path).strip() == str(tmp_path)


def test_reads_nothing_unless_told() -> None:
    assert run(["cat"], timeout=10) == ""
    assert run(["cat"], timeout=10, stdin="text") == "text"
    assert run(["cat"], timeout=10, stdin=b"bytes") == "bytes"


def test_the_environment_is_the_one_given() -> None:
    assert run(["/usr/bin/env"], timeout=10, env={"ONLY": "this"}) == "ONLY=this\n"


def test_bytes_that_are_no_text_do_not_break_it() -> None:
    assert run(["printf", r"\377"], timeout=10) == "�"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(HostError) as caught:
        run(["no-such-program", "--now"], timeout=10)
    assert caught.value.what == "no-such-program is not installed"
    assert "doctor" in caught.value.hint


def test_a_working_directory_that_is_not_there_is_not_blamed_on_the_program(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        run(["true"], timeout=10, cwd=tmp_path / "missing")
    assert caught.value.what == "true cannot be run"
    assert "missing" in caught.value.detail


def test_a_file_that_is_no_program_is_an_error_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "text").touch()
    with pytest.raises(HostError, match="cannot be run"):
        run([tmp_path / "text"], timeout=10)


def test_a_failure_shows_the_command_the_status_and_its_last_words() -> None:
    noisy = "import sys; [print(n, file=sys.stderr) for n in range(100)]; sys.exit(3)"
    with pytest.raises(HostError) as caught:
        run([PYTHON, "-c", noisy], timeout=30)
    assert "status 3" in caught.value.what
    assert noisy in caught.value.what
    assert caught.value.detail.splitlines() == [str(n) for n in range(80, 100)]


def test_a_failure_that_complained_on_standard_output_is_heard() -> None:
    with pytest.raises(HostError) as caught:
        run(["sh", "-c", "echo why; exit 1"], timeout=10)
    assert caught.value.detail == "why"


def test_what_takes_too_long_is_killed_and_its_last_words_kept() -> None:
    start = time.monotonic()
    with pytest.raises(HostError) as caught:
        run(["sh", "-c", "echo slow >&2; exec sleep 60"], timeout=0.5)
    assert time.monotonic() - start < 10
    assert "did not finish within" in caught.value.what
    assert caught.value.detail == "slow"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_runs_as_another_user_without_roots_groups() -> None:
    said = run(["/usr/bin/id", "-Gn"], timeout=10, user="nobody")
    assert said.split() == ["nogroup"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_that_is_not_there_is_named() -> None:
    with pytest.raises(HostError, match="there is no user no-such-user"):
        run(["true"], timeout=10, user="no-such-user")
