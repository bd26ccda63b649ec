"""What tangd writes about the requests it served (pure)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_REQUEST = re.compile(
    r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)Z "
    r"(?P<client>\S+) (?P<method>[A-Z]+) (?P<path>\S+) => (?P<status>\d{3}) \(",
    re.MULTILINE,
)


@dataclass(frozen=True)
class TangRequest:
    """One request, as Tang logged it.

    Attributes:
        time: Seconds since the epoch, by the clock of this host.
        method: ``GET`` for an advertisement, ``POST`` for a recovery.
        path: ``/adv``, ``/adv/THUMBPRINT``, or ``/rec/THUMBPRINT`` of the exchange key.
        status: The HTTP status of the answer.
        client: What Tang takes for the client's address; None where it does not know (a server on its own socket).
    """

    time: float
    method: str
    path: str
    status: int
    client: str | None

    @property
    def is_recovery(self) -> bool:
        """Whether the server did its half of an exchange: proof that someone used a binding to this key."""
        return self.method == "POST" and self.path.startswith("/rec/") and self.status == 200

    @property
    def is_advertisement(self) -> bool:
        """Whether the server gave its advertisement."""
        return self.method == "GET" and self.path.rstrip("/").startswith("/adv") and self.status == 200


def stamp(time: float, line: str) -> str:
    """A line of the log with its time before it (ISO 8601, UTC)."""
    return f"{datetime.fromtimestamp(time, UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z {line}"


def parse_log(text: str) -> tuple[TangRequest, ...]:
    """The requests in a log of stamped lines; every other line is passed over.

    The form is tangd's ``CLIENT METHOD PATH => STATUS (FILE:LINE)`` (tang, src/http.c and src/tangd.c).
    """
    return tuple(
        TangRequest(
            time=datetime.fromisoformat(match["time"]).replace(tzinfo=UTC).timestamp(),
            method=match["method"],
            path=match["path"],
            status=int(match["status"]),
            client=None if match["client"] == "<unknown>" else match["client"],
        )
        for match in _REQUEST.finditer(text)
    )
