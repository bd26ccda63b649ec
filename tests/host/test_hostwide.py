"""Names that one process of the host has at a time, whatever its user and its folders."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.host import hostwide
from harness.host.hostwide import announced, taken, users

HOLD = """
import os
import sys
from harness.host import hostwide
hostwide.PREFIX = sys.argv[1]
os.setuid(int(sys.argv[2]))
with hostwide.taken("slot") as bound, hostwide.announced("image"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    """Names of this test's own."""
    monkeypatch.setattr(hostwide, "PREFIX", f"unlock-lab-test-{os.getpid()}")
    return hostwide.PREFIX


@contextmanager
def another_process(prefix: str, user: int) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, prefix, str(user)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "UNLOCK_LAB_RUN": "/nowhere"},
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def test_a_name_is_one_processs_and_goes_with_it(prefix: str) -> None:
    with another_process(prefix, os.geteuid()) as other:
        assert taken("slot") is None
        assert users("image") == [other.pid]
        other.kill()
        other.wait()
        bound = taken("slot")
        assert bound is not None
        bound.close()
        assert users("image") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user")
def test_another_user_with_other_folders_is_seen(prefix: str) -> None:
    with another_process(prefix, user=65534) as other:
        assert taken("slot") is None
        assert users("image") == [other.pid]


def test_two_blocks_of_one_process_are_two_users() -> None:
    with announced("image"), announced("image"):
        assert users("image") == [os.getpid(), os.getpid()]
    assert users("image") == []


def test_one_use_is_not_another() -> None:
    with announced("image-of-another-kind"):
        assert users("image") == []
