"""How long scenarios and installations take on this host: measured and kept in the cache, or else estimated.

Three sources, the nearest first:

1. What this host took before, kept in ``durations.json`` in the cache.
2. What another host took (``durations.json`` beside this module, which ``unlock-lab list --record`` writes),
   times how much slower this host is: by what both have measured, else by the probe, the start of the firmware.
3. The median of what is known.
"""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources

from filelock import FileLock

from harness import cache as kept
from harness.campaign.schedule import OWN_MACHINES, Costs, Job
from harness.files import write_whole

_NAME = "durations.json"
_SHELF = "host"
_SCENARIO_SECONDS, _INSTALLATION_SECONDS = 70.0, 190.0
"""When nothing at all is known: two cores without KVM."""


@dataclass(frozen=True)
class Installed:
    """An installation that took place.

    Attributes:
        seconds: How long it took.
        key: Of the sealed machine in the cache.
    """

    seconds: float
    key: str


@dataclass(frozen=True)
class Durations:
    """What a host has measured.

    Attributes:
        probe: Seconds that the firmware takes to its boot manager; None when that was not tried.
        scenarios: Seconds of each scenario, by its node id, with its machine installed.
        installations: By the name of the machine.
    """

    probe: float | None = None
    scenarios: Mapping[str, float] = field(default_factory=dict)
    installations: Mapping[str, Installed] = field(default_factory=dict)

    def __or__(self, newer: "Durations") -> "Durations":
        """These, with newer ones in their place."""
        return Durations(
            newer.probe or self.probe,
            {**self.scenarios, **newer.scenarios},
            {**self.installations, **newer.installations},
        )


def parse(text: str | bytes) -> Durations:
    """Read durations; those of another form, or none, are no durations."""
    try:
        value = json.loads(text)
        return Durations(
            value["probe"],
            {str(test): float(seconds) for test, seconds in value["scenarios"].items()},
            {
                name: Installed(float(each["seconds"]), str(each["key"]))
                for name, each in value["installations"].items()
            },
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Durations()


def render(durations: Durations) -> str:
    """Durations as JSON, one a line, in order: the file is read in diffs, too."""
    return json.dumps(asdict(durations), indent=1, sort_keys=True) + "\n"


@cache
def of_another_host() -> Durations:
    """The durations that come with the harness."""
    return parse((resources.files(__package__) / _NAME).read_text())


def of_this_host() -> Durations:
    """What this host has measured so far."""
    path = kept.entry(_SHELF, _NAME)
    return parse(path.read_bytes()) if path.exists() else Durations()


def remember(newer: Durations) -> None:
    """Keep what was measured for the next campaign on this host."""
    path = kept.shelf(_SHELF) / _NAME
    with FileLock(path.with_name(f".{_NAME}.lock")):
        write_whole(path, render(of_this_host() | newer))


def slowness(own: Durations, other: Durations) -> float:
    """How many times longer this host takes than the other one."""
    shared = [own.scenarios[test] / other.scenarios[test] for test in own.scenarios.keys() & other.scenarios.keys()]
    if shared:
        return statistics.median(shared)
    return own.probe / other.probe if own.probe and other.probe else 1.0


def expected(own: Durations, other: Durations) -> Costs:
    """What to expect on this host.

    Args:
        own: Measured on this host.
        other: Measured on another one.
    """
    slower = slowness(own, other)

    def scenario(test: str) -> float:
        known = own.scenarios.get(test)
        return known if known is not None else slower * other.scenarios.get(test, _usual_scenario(other))

    def installation(machine: str) -> float:
        known = own.installations.get(machine)
        if machine in ("", OWN_MACHINES) or (known and kept.entry("sealed", known.key).is_dir()):
            return 0.0
        if known:
            return known.seconds
        there = other.installations.get(machine)
        return slower * (there.seconds if there else _usual_installation(other))

    return Costs(scenario, installation)


def _usual_scenario(durations: Durations) -> float:
    return statistics.median(durations.scenarios.values()) if durations.scenarios else _SCENARIO_SECONDS


def _usual_installation(durations: Durations) -> float:
    seconds = [each.seconds for each in durations.installations.values()]
    return statistics.median(seconds) if seconds else _INSTALLATION_SECONDS


def published(own: Durations, other: Durations, jobs: Iterable[Job]) -> Durations:
    """What this host has measured, added to what comes with the harness, and at the pace of that.

    So the durations of several hosts, or of one under several loads, can be compared with each other. The probe goes
    with them: on a host that has measured nothing else, it is all that tells how they are to be stretched.

    Args:
        own: Measured on this host.
        other: What comes with the harness so far.
        jobs: What there is to run; no other scenario and no other machine is published.
    """
    pace = slowness(own, other)
    scenarios = {**other.scenarios, **{test: seconds / pace for test, seconds in own.scenarios.items()}}
    machines = {name: each.seconds for name, each in other.installations.items()}
    machines |= {name: each.seconds / pace for name, each in own.installations.items()}
    return Durations(
        own.probe / pace if own.probe else other.probe,
        {job.test: round(scenarios[job.test], 1) for job in jobs if job.test in scenarios},
        # What is in this host's cache is nobody else's business.
        {job.machine: Installed(round(machines[job.machine], 1), "") for job in jobs if job.machine in machines},
    )
