"""Whether a guest gave its disks the time that they should have had (pure).

A guest counts its time-outs by its own clock. On a host with other load it may get a tenth of a processor, and its
clock goes on; in emulation that clock was also seen to run too fast: 1,080 s counted in 40 s of the machine. What such
a guest gives up says nothing about its disk.
"""

from collections.abc import Sequence

from harness.guest.events import DeviceTimedOut, Event, NoPromptPossible, TooManyAttempts

CLOCK_AHEAD = 1.5
"""How many seconds a guest's clock may count in one of its machine. Its clock starts later, so it should be behind."""


def given_up_too_early(events: Sequence[Event]) -> str | None:
    """What a guest gave up before its time, in words; None if nothing shows that it did.

    That it refused the passphrases it got, or could not ask, needs no clock.

    Args:
        events: All that was seen, in order.
    """
    if any(isinstance(event, TooManyAttempts | NoPromptPossible) for event in events):
        return None
    for event in events:
        if isinstance(event, DeviceTimedOut) and event.guest_seconds > CLOCK_AHEAD * event.at:
            return (
                f"the guest's clock counted {event.guest_seconds:.0f} s where its machine had {event.at:.0f} s from "
                f"power-on, so it gave a disk up too early (was the host too busy?): {event.line}"
            )
    return None
