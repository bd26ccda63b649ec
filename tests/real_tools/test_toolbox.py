"""What the shell among a guest's tools said, told apart from what others say on the same stream."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.real_tools.toolbox import Toolbox, between, ended

ANSWER = b"m begins\nOPENED\n\nm 0\n"


@pytest.mark.parametrize(
    "said",
    [
        ANSWER,
        b"Loading jwk to TPM2 failed!\n" + ANSWER,
        ANSWER + b"Loading jwk to TPM2 failed!\n",
        b"m ends\n" + ANSWER + b"m 1 and more\n",
        b"half a line\n" + ANSWER + b"half a line",
    ],
)
def test_what_was_left_running_changes_no_answer(said: bytes) -> None:
    assert between("m", said) == (0, "OPENED\n")


def test_an_answer_is_whole_or_none() -> None:
    assert [between("m", ANSWER[:end]) for end in range(len(ANSWER))] == [None] * len(ANSWER)


def test_a_status_and_no_words() -> None:
    assert between("m", b"m begins\n\nm 127\n") == (127, "")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Toolbox]:
    """A shell of this host in a namespace of processes, as that among a guest's files is."""
    apart = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child=KILL", "bash", "-s"]
    shell = subprocess.Popen(apart, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with ended(shell):
        yield Toolbox(tmp_path, shell)


def test_words_and_status_of_a_command(box: Toolbox) -> None:
    assert box.attempt("echo said; echo complained >&2; exit 3") == (3, "said\ncomplained\n")
    with pytest.raises(RigError, match="ended with status 3"):
        box.run("exit 3")


def test_half_a_line_of_what_was_left_running_hides_no_answer(box: Toolbox) -> None:
    assert box._shell.stdin
    box._shell.stdin.write(b"printf half\n")
    assert box.attempt("echo said", 10.0) == (0, "said\n")


def test_a_command_that_hangs_takes_the_shell_with_it_and_what_comes_next_waits_for_nothing(box: Toolbox) -> None:
    box.run("true")
    with pytest.raises(RigError, match="did not end within 0 s"):
        box.attempt("sleep 600", 0.3)
    start = time.monotonic()
    with pytest.raises(RigError, match=r"the shell among the guest's tools (is gone|has ended)"):
        box.attempt("true", 60.0)
    assert time.monotonic() - start < 30


def test_a_command_that_never_stops_talking_ends_at_its_deadline(box: Toolbox) -> None:
    box.run("true")
    with pytest.raises(RigError, match="did not end within 1 s"):
        box.attempt("yes", 1.0)
