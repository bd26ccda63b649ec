"""How many machines run on this host at once, over all processes of ours.

A machine that has to wait for its processors fails in ways of its own: the guest's TPM driver times out, hold times
pass before anybody had a chance to answer. So each machine, and each build of an image, takes one of as many slots as
there are processors (``UNLOCK_LAB_MACHINES`` says otherwise). The locks are the kernel's (flock(2)): a killed process
holds none.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from harness.deadline import Deadline
from harness.errors import HostError, UsageError
from harness.paths import run_dir
from harness.progress import Progress

_WAIT_SECONDS = 3600.0
_POLL_SECONDS = 0.05

_waits: list[float] = []
"""Seconds of each wait of this process. A process has its own, as it has its own processor time."""


def slot_count() -> int:
    """How many machines may run at once.

    Raises:
        UsageError: ``UNLOCK_LAB_MACHINES`` is no positive number.
    """
    said = os.environ.get("UNLOCK_LAB_MACHINES", "")
    if not said:
        return max(1, len(os.sched_getaffinity(0)))
    if not said.isdecimal() or int(said) < 1:
        raise UsageError(f"UNLOCK_LAB_MACHINES is {said!r}", hint="say how many machines may run at once: 1 or more")
    return int(said)


def waited() -> float:
    """Seconds that this process has waited for slots, like `time.process_time`: to be taken off what something took."""
    return sum(_waits)


@contextmanager
def machine_slot(what: str, progress: Progress, *, wait: float = _WAIT_SECONDS) -> Iterator[None]:
    """Hold a slot for the length of the block.

    A process that holds one gets more without waiting: two that each run a victim and wait to start the attacker's
    machine would wait for ever.

    Args:
        what: For whom, as people will see it when it waits.
        progress: Says that it waits.
        wait: Seconds to wait.

    Raises:
        HostError: No slot came free in time.
    """
    folder = run_dir() / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    locks = [_lock(folder, number) for number in range(slot_count())]
    if any(lock.is_locked for lock in locks):
        yield
        return
    # Whoever waits keeps the queue: a process that gives its slot back and wants the next one waits behind it.
    queue = FileLock(folder / "queue.lock", thread_local=False)
    deadline = Deadline.after(wait)
    try:
        queue.acquire(timeout=0)
        slot = _free(locks)
    except Timeout:
        slot = None
    try:
        if slot is None:
            with progress.step(f"{what}: waiting for one of {len(locks)} slots for machines"), _counted():
                slot = _wait_for(queue, locks, deadline)
    finally:
        queue.release()
    try:
        yield
    finally:
        slot.release()


@contextmanager
def _counted() -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        _waits.append(time.monotonic() - started)


def _lock(folder: Path, number: int) -> FileLock:
    # One object a process: it tells whether this process holds the slot.
    return FileLock(folder / f"{number}.lock", thread_local=False, is_singleton=True)


def _free(locks: Sequence[FileLock]) -> FileLock | None:
    for lock in locks:
        with suppress(Timeout):
            lock.acquire(timeout=0)
            return lock
    return None


def _wait_for(queue: FileLock, locks: Sequence[FileLock], deadline: Deadline) -> FileLock:
    waiting = Retrying(
        retry=retry_if_result(lambda found: found is None),
        stop=stop_after_delay(deadline.remaining),
        wait=wait_fixed(_POLL_SECONDS),
    )
    try:
        if not queue.is_locked:
            queue.acquire(timeout=deadline.remaining, poll_interval=_POLL_SECONDS)
        slot = waiting(_free, locks)
    except (Timeout, RetryError) as error:
        raise HostError(
            f"no slot for a machine came free within {deadline.seconds:.0f} s",
            hint="other runs hold them all: wait for them, or raise UNLOCK_LAB_MACHINES if there are processors left",
        ) from error
    assert slot is not None
    return slot
