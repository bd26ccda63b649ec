"""A machine's own time, by a wall clock and waits that the test sets."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.machine.clock import SLOWEST, MachineClock, waited_for_processor


@dataclass
class Host:
    """What the clock looks at."""

    wall: float = 100.0
    waited: float = 7.0

    def pass_time(self, seconds: float, *, starved: float = 0.0) -> None:
        self.wall += seconds
        self.waited += starved


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def clock(host: Host) -> MachineClock:
    return MachineClock(lambda: host.waited, lambda: host.wall)


def test_a_machine_that_gets_its_processor_has_the_time_of_the_wall(host: Host, clock: MachineClock) -> None:
    assert clock() == 0.0
    host.pass_time(12.5)
    assert clock() == 12.5


def test_an_idle_machine_has_the_time_of_the_wall(host: Host, clock: MachineClock) -> None:
    """It waits for a server, or for a person: no wait for a processor, however little it ran."""
    for _ in range(60):
        host.pass_time(1.0)
        clock()
    assert clock() == 60.0


def test_time_in_which_it_waited_for_a_processor_does_not_count(host: Host, clock: MachineClock) -> None:
    for _ in range(100):
        host.pass_time(1.0, starved=0.75)
        clock()
    assert clock() == pytest.approx(25.0)


def test_every_wait_ends_even_without_a_processor(host: Host, clock: MachineClock) -> None:
    host.pass_time(1000.0, starved=1000.0)
    assert clock() == pytest.approx(1000.0 * SLOWEST)


def test_it_never_goes_back_when_a_wait_is_counted_late(host: Host, clock: MachineClock) -> None:
    host.pass_time(10.0)
    assert clock() == 10.0
    host.pass_time(1.0, starved=8.0)
    assert clock() == 10.0
    host.pass_time(6.0)
    assert clock() == 10.0
    host.pass_time(3.0)
    assert clock() == 12.0


def test_it_never_goes_back_when_a_process_has_ended(host: Host, clock: MachineClock) -> None:
    host.pass_time(10.0, starved=4.0)
    assert clock() == 6.0
    host.waited = 0.0
    host.pass_time(1.0)
    assert clock() == 7.0


def test_of_a_process_the_thread_that_waited_most_counts_and_processes_add_up(tmp_path: Path) -> None:
    for pid, thread, waited in ((1, 1, 500_000_000), (1, 7, 2_000_000_000), (2, 2, 250_000_000)):
        folder = tmp_path / str(pid) / "task" / str(thread)
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(f"12345 {waited} 6\n")
    assert waited_for_processor([1, 2], tmp_path) == 2.25
    assert waited_for_processor([2, 3], tmp_path) == 0.25, "one that has ended waits no more"


def test_a_kernel_that_does_not_count_leaves_the_time_of_the_wall(tmp_path: Path) -> None:
    (tmp_path / "1" / "task" / "1").mkdir(parents=True)
    assert waited_for_processor([1], tmp_path) == 0.0


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel does not count waits")
def test_a_starved_process_is_seen_to_wait() -> None:
    """Two processes that want one processor."""
    cpu = min(os.sched_getaffinity(0))
    spin = f"import os, time; os.sched_setaffinity(0, {{{cpu}}}); end = time.monotonic() + 0.6\n"
    spin += "while time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", spin]) as one, subprocess.Popen([sys.executable, "-c", spin]) as two:
        waited, end = 0.0, time.monotonic() + 5.0
        while one.poll() is None and two.poll() is None and time.monotonic() < end:
            waited = max(waited, waited_for_processor([one.pid, two.pid]))
    assert waited > 0.1
