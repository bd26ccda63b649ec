"""A machine's own time: the wall clock, less what its processes spent waiting for a processor of the host.

On a host with other load a boot takes longer, and nothing is wrong with it. Deadlines and hold times therefore count
the time in which the machine could run. A machine that waits for something else (a server that does not answer, a
person) is idle and not starved, and its time passes as the wall's does; the processor time alone would stand still.

The kernel keeps both apart for every thread: ``/proc/PID/task/TID/schedstat`` has the nanoseconds that it ran, and then
those that it was ready to run and had no processor (Linux, Documentation/scheduler/sched-stats). Where the kernel does
not count them, the machine's time is the wall's.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from harness.deadline import Clock

SLOWEST = 0.1
"""Of the wall's time, what passes at the least: even for a machine that gets no processor at all every wait ends."""

_SAMPLE_SECONDS = 0.02


class MachineClock:
    """Seconds since the machine was powered on, in its own time.

    Args:
        waited: Seconds that it has been waiting for a processor so far.
        wall: The clock that this is taken from.
    """

    def __init__(self, waited: Callable[[], float], wall: Clock = time.monotonic) -> None:
        self._waited = waited
        self._wall = wall
        self._lock = threading.Lock()
        self._started_at = self._sampled_at = wall()
        self._before = self._starved = waited()
        self._seconds = 0.0

    def __call__(self) -> float:
        """The seconds so far."""
        with self._lock:
            now = self._wall()
            if now - self._sampled_at >= _SAMPLE_SECONDS:
                self._sampled_at = now
                passed = now - self._started_at
                self._starved = max(self._starved, self._waited())
                # The kernel counts a wait when it is over: time then stands still until it is made good.
                own = max(passed - (self._starved - self._before), passed * SLOWEST)
                self._seconds = max(self._seconds, own)
            return self._seconds


def waited_for_processor(pids: Sequence[int], proc: Path = Path("/proc")) -> float:
    """Seconds that processes have been waiting for a processor, as proc(5) says; 0 where it does not say.

    Of a process that is the wait of the thread that waited most: its threads wait at the same time. Processes are
    added up: QEMU stands idle while its TPM waits.

    Args:
        pids: The processes.
        proc: Where proc(5) is mounted.
    """
    return sum(max(_waits(proc / str(pid)), default=0.0) for pid in pids)


def _waits(process: Path) -> Iterator[float]:
    with suppress(OSError):  # it has ended
        for thread in (process / "task").iterdir():
            with suppress(OSError, IndexError):  # likewise, or the kernel does not count
                yield int((thread / "schedstat").read_text().split()[1]) / 1e9
