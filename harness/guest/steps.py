"""What can come next in a boot that is watched: the words of `plan.decide` to the driver (pure)."""

from dataclasses import dataclass

from harness.guest.witness import End


@dataclass(frozen=True)
class Wait:
    """Nothing to do before `until` unless something new is seen.

    Attributes:
        until: Seconds from power-on.
        awaited: What should come.
        since: From when it is awaited; at `until` the stage is over.
        fatal: Whether the rig is broken when `until` is reached, or whether to decide again.
    """

    until: float
    awaited: str
    since: float
    fatal: bool


@dataclass(frozen=True)
class Type:
    """Answer a prompt; `pin` when it asks for the TPM's PIN."""

    volume: str
    text: str
    pin: bool = False


@dataclass(frozen=True)
class Finish:
    """Watch no longer."""

    end: End
    why: str


@dataclass(frozen=True)
class Broken:
    """The boot can have no verdict.

    Attributes:
        what: What is wrong.
        starved: Whether the guest was given too little time: another try may end otherwise.
        by_itself: Whether the guest went wrong by itself, and not the rig.
    """

    what: str
    starved: bool = False
    by_itself: bool = False


Step = Wait | Type | Finish | Broken
