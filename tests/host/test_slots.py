"""Slots: as many machines at once as the host has processors, over all processes."""

import io
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import HostError, UsageError
from harness.host import hostwide
from harness.host.slots import machine_slot, slot_count, waited
from harness.progress import Progress

HOLD = """
import os, sys
from harness.host import hostwide
from harness.host.slots import machine_slot
from harness.progress import Progress
hostwide.PREFIX = sys.argv[1]
os.setuid(int(sys.argv[2]))
with machine_slot("other", Progress()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots of this test's own."""
    monkeypatch.setattr(hostwide, "PREFIX", f"unlock-lab-test-{os.getpid()}")


@contextmanager
def another_process_with_a_slot(user: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", HOLD, hostwide.PREFIX, str(os.geteuid() if user is None else user)]
    environment = {**os.environ, "UNLOCK_LAB_RUN": "/tmp/another-run-folder"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def test_there_is_a_slot_for_each_processor_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNLOCK_LAB_MACHINES", raising=False)
    assert slot_count() >= 1
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "7")
    assert slot_count() == 7


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5", "10000", "9" * 5000])
def test_a_wrong_number_of_slots_is_named(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", said)
    with pytest.raises(UsageError, match="UNLOCK_LAB_MACHINES"):
        slot_count()


def test_who_comes_late_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "1")
    said, before = io.StringIO(), waited()
    with (
        another_process_with_a_slot(),
        pytest.raises(HostError, match="no slot"),
        machine_slot("late", Progress(said), wait=0.1),
    ):
        pytest.fail("it did not wait")
    assert "late: waiting for one of 1 slots" in said.getvalue()
    assert waited() - before >= 0.1


def test_nobody_overtakes_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "1")
    with (
        hostwide.in_line("queue"),
        pytest.raises(HostError, match="no slot"),
        machine_slot("second", Progress(io.StringIO()), wait=0.2),
    ):
        pytest.fail("it overtook who waits")
    with machine_slot("third", Progress(io.StringIO()), wait=0.2):
        pass


def test_who_waits_longest_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six wait for one slot, each in a process of its own: they get it in the order in which they came."""
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "1")
    with ExitStack() as stack:
        with another_process_with_a_slot():
            waiting = []
            for _ in range(6):
                command = [sys.executable, "-c", HOLD, hostwide.PREFIX, str(os.geteuid())]
                other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                stack.enter_context(other)
                stack.callback(other.kill)
                waiting.append(other)
                in_line = Deadline.after(20)
                while f"/{other.pid}\n" not in Path("/proc/net/unix").read_text():
                    assert not in_line.over
                    time.sleep(0.02)
        for other in waiting:
            outputs = [each.stdout for each in waiting if each.stdout and each.poll() is None]
            ready, _, _ = select.select(outputs, [], [], 20)
            assert ready == [other.stdout], "another one overtook it"
            other.kill()
            other.wait()


def test_a_killed_process_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "1")
    with another_process_with_a_slot() as other:
        other.kill()
        other.wait()
        with machine_slot("next", Progress(io.StringIO()), wait=5.0):
            pass


def test_a_process_with_a_slot_never_waits_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "1")
    said = io.StringIO()
    progress = Progress(said)
    with machine_slot("victim", progress), machine_slot("attacker", progress, wait=0.1):
        pass
    with machine_slot("again", progress, wait=0.1):
        pass
    assert said.getvalue() == ""


def test_two_slots_are_for_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "2")
    with another_process_with_a_slot(), machine_slot("second", Progress(io.StringIO()), wait=0.1):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user")
def test_a_slot_of_another_user_with_another_run_folder_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "1")
    with (
        another_process_with_a_slot(user=65534),
        pytest.raises(HostError, match="no slot"),
        machine_slot("late", Progress(io.StringIO()), wait=0.1),
    ):
        pytest.fail("two machines on one slot")
