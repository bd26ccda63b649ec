"""Who called a service, and all that went over the wire (pure)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_BLANK = b"\r\n\r\n"

HOME = "home"
"""Where a machine stands unless it was moved off-site."""


@dataclass(frozen=True)
class Client:
    """A machine while it is on, as the services that it calls know it.

    Attributes:
        machine: Its name.
        power_on: Names this power-on alone.
    """

    machine: str
    power_on: str


class Mode(StrEnum):
    """What the fault proxy does with a connection."""

    OPEN = "open"
    REFUSE = "refuse"
    DROP = "drop"
    STALL = "stall"


@dataclass(frozen=True)
class Connection:
    """One connection that the fault proxy accepted. Those that it refused or dropped never came to be.

    Attributes:
        opened: Seconds since the epoch, by the clock of this host.
        closed: The same; None while it lasts.
        client: The machine that made it.
        site: Where that machine stood.
        mode: What the fault proxy did with it: `Mode.OPEN` or `Mode.STALL`.
        sent: All that the guest sent.
        received: All that the guest was sent, after tampering.
        tampered: How many of the replies in it are not what the service said.
        answered: Whether the service said anything.
    """

    opened: float
    closed: float | None
    client: Client
    site: str
    mode: Mode
    sent: bytes
    received: bytes
    tampered: int = 0
    answered: bool = False

    @property
    def requests(self) -> tuple[tuple[str, str], ...]:
        """Method and path of each HTTP request that the guest sent whole (RFC 9112, 3)."""
        return tuple(_request_lines(self.sent))


def message_end(data: bytes, start: int = 0) -> int | None:
    """Where the HTTP message ends that begins there; None if there is more to come, or it states no sound length.

    Tang states the length of every body (tang, src/http.c), so that is all that is understood here (RFC 9112, 6.2).
    """
    body = data.find(_BLANK, start) + len(_BLANK)
    if body < len(_BLANK):
        return None
    head = data[start:body].split(b"\r\n")
    lengths = [line.partition(b":")[2].strip() for line in head if line.lower().startswith(b"content-length:")]
    if lengths and not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        return None
    end = body + (int(lengths[0]) if lengths else 0)
    return end if end <= len(data) else None


def _request_lines(sent: bytes) -> Iterator[tuple[str, str]]:
    start = 0
    while (end := message_end(sent, start)) is not None:
        words = sent[start : sent.find(b"\r\n", start)].decode(errors="replace").split(" ")
        if len(words) == 3:
            yield words[0], words[1]
        start = end
