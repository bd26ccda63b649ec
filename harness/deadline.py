"""A point in time after which a wait has failed."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A deadline on the monotonic clock.

    Attributes:
        at: Seconds on `time.monotonic`.
        seconds: How long the whole wait was allowed to take, for messages.
    """

    at: float
    seconds: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """A deadline that many seconds from now."""
        return cls(time.monotonic() + seconds, seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.remaining == 0.0
