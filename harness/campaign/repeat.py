"""One scenario many times (``--lab-repeat N``): how often which outcome, and how far that can be trusted. Pure.

An error of the rig is no outcome: it is counted apart, and the interval is about the runs that were judged.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

_RUN = re.compile(r"(?:(?<=\[)|-)run-\d+(?=\])")
_Z = 1.96
"""The quantile of the normal distribution for 95 %."""


@dataclass(frozen=True)
class Tally:
    """What became of the runs of one scenario.

    Attributes:
        test: Its node id, without the number of the run.
        outcomes: How often what was seen, by the words for it; those that passed and those that failed.
        passed: How many runs passed.
        judged: How many runs have a verdict.
        rig_errors: How many have none.
    """

    test: str
    outcomes: Mapping[str, int]
    passed: int
    judged: int
    rig_errors: int


def run_id(number: int) -> str:
    """How a run is named in a node id."""
    return f"run-{number}"


def base(test: str) -> str:
    """The node id of a scenario without the number of its run."""
    return _RUN.sub("", test).replace("[]", "")


def tallies(documents: Sequence[Mapping[str, Any]]) -> list[Tally]:
    """Count the runs of each scenario; what ran once is left out.

    Args:
        documents: ``outcome.json`` of each run.
    """
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for document in documents:
        runs.setdefault(base(str(document["test"])), []).append(document)
    return [_tally(test, mine) for test, mine in runs.items() if len(mine) > 1]


def _tally(test: str, documents: Sequence[Mapping[str, Any]]) -> Tally:
    judged = [document for document in documents if document["result"] in ("passed", "failed")]
    outcomes = Counter(
        ", ".join(str(boot.get("unlock", "no verdict")) for boot in document["boots"]) or "no boot"
        for document in judged
    )
    passed = sum(document["result"] == "passed" for document in judged)
    return Tally(test, dict(outcomes.most_common()), passed, len(judged), len(documents) - len(judged))


def interval(successes: int, trials: int) -> tuple[float, float]:
    """Where the true rate lies, with 95 % confidence: the score interval (Wilson 1927, JASA 22:209).

    Unlike the usual one it says something useful after 20 successes in 20 trials: not below 84 %.

    Args:
        successes: At most `trials`.
        trials: Independent ones; after none, the rate may be anything.
    """
    if trials == 0:
        return 0.0, 1.0
    rate, square = successes / trials, _Z * _Z
    middle = rate + square / (2 * trials)
    spread = _Z * sqrt(rate * (1 - rate) / trials + square / (4 * trials * trials))
    low, high = ((middle + sign * spread) / (1 + square / trials) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def lines(tally: Tally) -> list[str]:
    """A tally for people."""
    low, high = interval(tally.passed, tally.judged)
    errors = f", and {tally.rig_errors} without a verdict" if tally.rig_errors else ""
    return [
        f"{tally.test}",
        f"  passed {tally.passed} of {tally.judged} ({100 * low:.0f} % to {100 * high:.0f} %){errors}",
        *(f"  {count} × {outcome}" for outcome, count in tally.outcomes.items()),
    ]
