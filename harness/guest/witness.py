"""What is known about a boot beside the guest's own words: what we typed, what Tang and the TPM say they did.

All of it is frozen data. The judge weighs it against the events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.guest.events import Event
from harness.luks2.metadata import LuksHeader
from harness.machine.tpm_log import TpmExchange
from harness.services.tang_log import TangRequest


@dataclass(frozen=True)
class TypedPassphrase:
    """Something that the harness typed at a prompt; never the words themselves.

    Attributes:
        at: Seconds from power-on.
        volume: Whose prompt.
        size: Bytes, with the line end.
        pin: Whether it was the TPM's PIN that was asked for.
    """

    at: float
    volume: str
    size: int
    pin: bool = False


class End(StrEnum):
    """Why the harness stopped watching."""

    UP = "up"
    """The boot went through."""
    WAITING = "waiting"
    """It asks, and there is nothing (more) that we are to type."""
    SHUT = "shut"
    """The guest gave up on the volume."""
    REFUSED = "refused"
    """The firmware started nothing."""


@dataclass(frozen=True)
class Observation:
    """One boot as it was watched.

    Attributes:
        events: All of them, in the order in which they were read.
        typed: All that was typed.
        end: Why watching stopped.
        why: The same in a sentence.
        at: When, in seconds from power-on.
        hold: Seconds after a prompt for which pins were given the chance to answer, at the least; see `hold_time`.
    """

    events: tuple[Event, ...]
    typed: tuple[TypedPassphrase, ...]
    end: End
    why: str
    at: float
    hold: float


def hold_time(least: float, prompt: float) -> float:
    """How many seconds after a prompt pins that neither answered nor failed are given up.

    A guest that took a minute to ask is given a minute to answer: a busy host slows both.

    Args:
        least: What it is at the least.
        prompt: When the prompt came, in seconds from power-on.
    """
    return max(least, prompt)


@dataclass(frozen=True)
class TangActivity:
    """What a Tang server of the harness, and the fault proxy before it, saw during this boot.

    Attributes:
        server: Its name in the policy.
        requests: From its log.
        unanswered: Connections or packets that the fault proxy saw and let nobody answer.
        tampered: Replies that the fault proxy changed.
    """

    server: str
    requests: tuple[TangRequest, ...] = ()
    unanswered: int = 0
    tampered: int = 0

    @property
    def recoveries(self) -> int:
        """How often it did its half of an exchange, and the guest got that."""
        return max(0, sum(request.is_recovery for request in self.requests) - self.tampered)


@dataclass(frozen=True)
class ExternalEvidence:
    """What everybody but the guest's console says about a boot.

    Attributes:
        tang: One entry for each server that the harness provides.
        tpm: The exchanges of this boot; empty for a machine without a TPM, None when nobody listened.
        urls: Where the guest finds each server, by the server's name.
        headers: LUKS headers by the name of the volume, when they could be read.
        pcrs: PCR values (sha256, hex) by index, when they could be read.
        canaries: The secrets on the encrypted volumes that this boot could read, by the name of the volume.
        open: Names of the volumes that are open in the end, when the guest could be asked.
    """

    tang: tuple[TangActivity, ...] = ()
    tpm: tuple[TpmExchange, ...] | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, LuksHeader] = field(default_factory=dict)
    pcrs: Mapping[int, str] = field(default_factory=dict)
    canaries: Mapping[str, str] = field(default_factory=dict)
    open: frozenset[str] = frozenset()
