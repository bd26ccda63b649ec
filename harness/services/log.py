"""What a service writes about itself, and what that says about one boot (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Testimony:
    """What a service says about one boot. It does not know for which volume it answered.

    Attributes:
        answers: How often it answered.
        proof: The same as a proof.
        failures: What it refused or left unanswered, and who says so.
        concerns_all: Whether its failures concern every volume that needs it: it is one server for all of them.
        shown_by: What shows the number of answers, in words.
        title: What a policy is called that needs it.
        lacking: What is missing where it did not answer, after "it auto-unlocked under such a policy".
        conclusive: Whether an answer is the secret, even if the volume does not open. A PKCS#11 token with another key
            decrypts too: to something else (PKCS #1 v1.5 with implicit rejection).
    """

    answers: int
    proof: str
    failures: tuple[tuple[str, str], ...]
    concerns_all: bool
    shown_by: str
    title: str
    lacking: str
    conclusive: bool = True


def failures(log: str, refused: Iterable[str], unanswered: int) -> tuple[tuple[str, str], ...]:
    """What a log has as refused, each once, and what the fault proxy let nobody answer: `Testimony.failures`."""
    found = [(words, log) for words in dict.fromkeys(refused)]
    return (*found, *([(f"{unanswered} connections, none answered", "fault proxy")] if unanswered else []))


def stamp(time: float, line: str) -> str:
    """A line of the log with its time before it (ISO 8601, UTC)."""
    return f"{datetime.fromtimestamp(time, UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z {line}"
