"""What `p11-kit remote` writes about the PKCS#11 calls that it served, and what that says (pure)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from harness.network.connection import Client, Connection, Mode
from harness.services.log import Testimony, failures

_RESULT = re.compile(
    r"^(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z) (?P<session>\d+) (?P<function>C_\w+) = (?P<result>CKR_\w+)$",
    re.MULTILINE,
)
"""The last line of each call (p11-kit, log.c), after the number of the process that served the connection."""


@dataclass(frozen=True)
class HsmCall:
    """One call, as the HSM logged it.

    Attributes:
        time: When it was answered, in seconds since the epoch, by the clock of this host.
        session: Which connection; each is served by a process of its own.
        function: Such as ``C_Decrypt`` (PKCS #11 2.40, section 5).
        result: Such as ``CKR_OK``.
        client: The machine that called, where that is known; see `ascribed`.
    """

    time: float
    session: str
    function: str
    result: str
    client: Client | None = None

    def __str__(self) -> str:
        return f"{self.function} => {self.result}"

    @property
    def decrypted(self) -> bool:
        """Whether the private key was used. That what came out is the right key, only the volume knows."""
        return self.function == "C_Decrypt" and self.result == "CKR_OK"

    @property
    def refused(self) -> bool:
        """Whether a login or a decryption failed."""
        return self.function in ("C_Login", "C_Decrypt") and self.result not in ("CKR_OK", "CKR_USER_ALREADY_LOGGED_IN")


@dataclass(frozen=True)
class HsmCalls:
    """What one machine had from an HSM, or wanted, in one power-on.

    Attributes:
        calls: From the HSM's log.
        unanswered: Packets and connections of its that the fault proxy let nobody answer.
    """

    calls: tuple[HsmCall, ...]
    unanswered: int

    @property
    def testimony(self) -> Testimony:
        """What that says."""
        decrypted = sum(call.decrypted for call in self.calls)
        return Testimony(
            answers=decrypted,
            proof=f"hsm log: {decrypted} × C_Decrypt => CKR_OK",
            failures=failures("hsm log", (str(call) for call in self.calls if call.refused), self.unanswered),
            concerns_all=True,
            shown_by="the HSM's log shows",
            title="HSM",
            lacking="with no decryption in the HSM's log",
            conclusive=False,
        )


def parse_log(text: str) -> tuple[HsmCall, ...]:
    """The calls in a log of stamped lines; every other line is passed over."""
    return tuple(_calls(text))


def _calls(text: str) -> Iterator[HsmCall]:
    for match in _RESULT.finditer(text):
        with suppress(ValueError):  # it has the form of a time, as 0000-13-32 has
            yield HsmCall(
                time=datetime.fromisoformat(match["time"]).timestamp(),
                session=match["session"],
                function=match["function"],
                result=match["result"],
            )


def ended_sessions(calls: Sequence[HsmCall]) -> frozenset[str] | None:
    """The sessions in a log, or None while it has none or one that has not ended: its last call is ``C_Finalize``."""
    sessions = frozenset(call.session for call in calls)
    ended = {call.session for call in calls if call.function == "C_Finalize"}
    return sessions if sessions and sessions == ended else None


def ascribed(calls: Sequence[HsmCall], connections: Iterable[Connection]) -> tuple[HsmCall, ...]:
    """The same calls, each with the machine that made it.

    The HSM knows all machines by one address: the proxy's. Each connection that the proxy passed on is served by one
    process, in the order in which they come.

    Args:
        calls: From the log, in its order, without those of the harness's own probes.
        connections: Through the proxy, in the order in which they were opened.
    """
    opened = [each for each in connections if each.mode is Mode.OPEN]
    whose: dict[str, Client] = {}
    for call in calls:
        if call.session not in whose:
            match = next((each for each in opened if each.opened <= call.time), None)
            if match is not None:
                opened.remove(match)
                whose[call.session] = match.client
    return tuple(replace(call, client=whose.get(call.session)) for call in calls)
