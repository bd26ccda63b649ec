"""How many machines run on this host at once, over all processes of ours.

A machine that has to wait for its processors fails in ways of its own: the guest's TPM driver times out, hold times
pass before anybody had a chance to answer. So each machine, and each build of an image, takes one of as many slots as
there are processors (``UNLOCK_LAB_MACHINES`` says otherwise). They are locks of the whole host
(`harness.host.hostwide`), whatever the user and the run folder: a killed process holds none.
"""

import argparse
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from harness.deadline import Deadline
from harness.defaults import count
from harness.errors import HostError, UsageError
from harness.host.hostwide import in_line, taken
from harness.progress import Progress

_WAIT_SECONDS = 3600.0
_POLL_SECONDS = 0.2
_QUEUE = "queue"

_held: list[socket.socket] = []
"""The slots that this process holds."""

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
    try:
        return count(said)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"UNLOCK_LAB_MACHINES: {error}", hint="say how many machines may run at once") from error


def waited() -> float:
    """Seconds that this process has waited for slots, like `time.process_time`: to be taken off what something took."""
    return sum(_waits)


@contextmanager
def machine_slot(what: str, progress: Progress, *, wait: float = _WAIT_SECONDS) -> Iterator[None]:
    """Hold a slot for the length of the block.

    A process that holds one gets more without waiting: two that each run a victim and wait to start the attacker's
    machine would wait for ever.

    Args:
        what: The machine, as people see it named while it waits.
        progress: Says that it waits.
        wait: Seconds to wait.

    Raises:
        HostError: No slot came free in time.
    """
    if _held:
        yield
        return
    names = [f"slot/{number}" for number in range(slot_count())]
    deadline = Deadline.after(wait)
    with in_line(_QUEUE) as first:

        def attempt() -> socket.socket | None:
            return _free(names) if first() else None

        slot = attempt()
        if slot is None:
            with progress.step(f"{what}: waiting for one of {len(names)} slots for machines"), _counted():
                try:
                    slot = _poll(attempt, deadline)
                except RetryError as error:
                    raise HostError(
                        f"no slot for a machine came free within {deadline.seconds:.0f} s",
                        hint="other runs on this host, of any user, hold them all: wait for them, or raise "
                        "UNLOCK_LAB_MACHINES if there are processors left",
                    ) from error
    _held.append(slot)
    try:
        yield
    finally:
        _held.remove(slot)
        slot.close()


@contextmanager
def _counted() -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        _waits.append(time.monotonic() - started)


def _free(names: Sequence[str]) -> socket.socket | None:
    return next((slot for name in names if (slot := taken(name))), None)


def _poll(attempt: Callable[[], socket.socket | None], deadline: Deadline) -> socket.socket:
    waiting = Retrying(
        retry=retry_if_result(lambda found: found is None),
        stop=stop_after_delay(deadline.remaining),
        wait=wait_fixed(_POLL_SECONDS),
    )
    found = waiting(attempt)
    assert found is not None
    return found
