"""What tangd writes about the requests it served, and what that says (pure)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from harness.network.connection import Client, Connection, Mode
from harness.services.log import Testimony, failures

_REQUEST = re.compile(
    r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)Z "
    r"(?P<client>\S+) (?P<method>[A-Z]+) (?P<path>\S+) => (?P<status>\d{3}) \(",
    re.MULTILINE,
)


LATEST_LINE = 30.0
"""Seconds from the end of a connection to the arrival of Tang's last line about it, on a busy host."""


@dataclass(frozen=True)
class TangRequest:
    """One request, as Tang logged it.

    Attributes:
        time: Seconds since the epoch, by the clock of this host.
        method: ``GET`` for an advertisement, ``POST`` for a recovery.
        path: ``/adv``, ``/adv/THUMBPRINT``, or ``/rec/THUMBPRINT`` of the exchange key.
        status: The HTTP status of the answer.
        address: What Tang takes for the client's address; None where it does not know (a server on its own socket).
        client: The machine that asked, where that is known; see `ascribed`.
    """

    time: float
    method: str
    path: str
    status: int
    address: str | None
    client: Client | None = None

    @property
    def is_recovery(self) -> bool:
        """Whether the server did its half of an exchange: proof that someone used a binding to this key."""
        return self.method == "POST" and self.path.startswith("/rec/") and self.status == 200

    @property
    def is_advertisement(self) -> bool:
        """Whether the server gave its advertisement."""
        return self.method == "GET" and self.path.startswith("/adv") and self.status == 200


@dataclass(frozen=True)
class TangCalls:
    """What one machine had from a Tang server, or wanted, in one power-on.

    Attributes:
        server: What the policy calls it.
        requests: From Tang's log.
        unanswered: Packets and connections of its that the fault proxy let nobody answer.
        tampered: Replies to it that the fault proxy changed.
    """

    server: str
    requests: tuple[TangRequest, ...] = ()
    unanswered: int = 0
    tampered: int = 0

    @property
    def recoveries(self) -> int:
        """How often the server did its half of an exchange, and the guest got that."""
        return max(0, sum(request.is_recovery for request in self.requests) - self.tampered)

    @property
    def testimony(self) -> Testimony:
        """What that says."""
        refused = (
            f"{request.method} {request.path} => {request.status}"
            for request in self.requests
            if request.method == "POST" and not request.is_recovery
        )
        changed = [(f"{self.tampered} replies changed on their way", "fault proxy")] if self.tampered else []
        return Testimony(
            answers=self.recoveries,
            proof=f"tang log: {self.server} served {self.recoveries} × POST /rec => 200",
            failures=(*failures("tang log", refused, self.unanswered), *changed),
            concerns_all=True,
            shown_by=f"{self.server}'s log shows",
            title="Tang",
            lacking="with no recovery in Tang's log",
        )


def parse_log(text: str) -> tuple[TangRequest, ...]:
    """The requests in a log of stamped lines; every other line is passed over.

    The form is tangd's ``CLIENT METHOD PATH => STATUS (FILE:LINE)`` (tang, src/http.c and src/tangd.c).
    """
    return tuple(_requests(text))


def _requests(text: str) -> Iterator[TangRequest]:
    for match in _REQUEST.finditer(text):
        with suppress(ValueError):  # it has the form of a time, as 0000-13-32 has
            yield TangRequest(
                time=datetime.fromisoformat(match["time"]).replace(tzinfo=UTC).timestamp(),
                method=match["method"],
                path=match["path"],
                status=int(match["status"]),
                address=None if match["client"] == "<unknown>" else match["client"],
            )


def ascribed(requests: Iterable[TangRequest], connections: Iterable[Connection]) -> tuple[TangRequest, ...]:
    """The same requests, each with the machine that made it.

    Tang's log is what testifies that a request was served, and it knows all machines by one address: the proxy's. The
    proxy knows what each of them sent, so each line goes to the first connection that sent such a request before it and
    has no line yet. Where two machines ask the same at the same moment, each gets one line, as is right.

    Args:
        requests: From Tang's log, in its order.
        connections: Through the proxy, in the order in which they were opened.
    """
    sent = [(*line, each) for each in connections if each.mode is Mode.OPEN for line in each.requests]
    found = []
    for request in requests:
        match = next((each for each in sent if _made(request, *each)), None)
        if match is not None:
            sent.remove(match)
        found.append(replace(request, client=match[2].client if match else None))
    return tuple(found)


def unlogged(requests: Iterable[TangRequest], connections: Iterable[Connection]) -> int:
    """How many recoveries that Tang answered are not in its log (yet): the line is written before the answer is sent.

    Args:
        requests: From Tang's log.
        connections: Through the proxy.
    """
    answered = (each.requests[:1] for each in connections if each.mode is Mode.OPEN and each.answered)
    sent = Counter(line for lines in answered for line in lines if line[0] == "POST" and line[1].startswith("/rec/"))
    return (sent - Counter((request.method, request.path) for request in requests)).total()


def _made(request: TangRequest, method: str, path: str, connection: Connection) -> bool:
    ended = connection.closed is not None and connection.closed + LATEST_LINE < request.time
    return (method, path) == (request.method, request.path) and connection.opened <= request.time and not ended
