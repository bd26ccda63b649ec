"""A point in time after which a wait has failed."""

import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
"""Seconds since some moment, never going back: `time.monotonic` is the wall's, a machine has its own
(`harness.machine.clock`)."""


@dataclass(frozen=True)
class Deadline:
    """A deadline on a clock.

    Attributes:
        at: Seconds on the clock.
        seconds: How long the whole wait was allowed to take, for messages.
        clock: The wall's, or a machine's. Where a machine's stands still, a wait of `remaining` seconds may end before
            the deadline is `over`: so wait again.
    """

    at: float
    seconds: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> "Deadline":
        """A deadline that many seconds from now."""
        return cls(clock() + seconds, seconds, clock)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock())

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.remaining == 0.0
