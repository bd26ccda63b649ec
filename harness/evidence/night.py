"""A night: what all jobs of a run left, in one value that is small enough to keep, and what has changed since another.

Jobs that differ just by their shard (``scenarios-debian-12-shard-3``) are one *variant*: which scenario ran in which
shard may change from night to night. `jobs.gather` reads a night from the folders of its jobs.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.evidence import artifacts, record
from harness.files import read_whole, why_unread

SCHEMA = 1
NO_VERDICT = "no verdict"
NOT_PREDICTED = ", not as predicted"
"""What the end of a cell says where the rules had predicted something else."""
ACCELERATOR = "accelerator"
SUCCESS = "success"


@dataclass(frozen=True)
class Variant:
    """What the jobs of one kind saw.

    Attributes:
        jobs: Their names.
        scenarios: What became of each test, by its node id.
        cells: What was observed in each cell of the truth table, by "stack policy condition".
        versions: Of what took part, by name; several when jobs differ.
    """

    jobs: tuple[str, ...] = ()
    scenarios: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def accelerators(self) -> tuple[str, ...]:
        """KVM or emulation, with the reason; none when no machine was started."""
        return self.versions.get(ACCELERATOR, ())

    @property
    def bad(self) -> dict[str, str]:
        """The scenarios that did not pass, and the cells without a verdict or not as predicted."""
        scenarios = {test: seen for test, seen in self.scenarios.items() if not seen.startswith("passed")}
        cells = self.cells.items()
        return scenarios | {
            place: seen for place, seen in cells if seen.startswith(NO_VERDICT) or NOT_PREDICTED in seen
        }


@dataclass(frozen=True)
class Night:
    """A night.

    Attributes:
        variants: By name.
        ended: How the jobs ended by the word of the workflow, by name: it knows those, too, that left nothing.
        may_fail: The variants that are an early warning, no failure.
    """

    variants: Mapping[str, Variant]
    ended: Mapping[str, str] = field(default_factory=dict)
    may_fail: frozenset[str] = frozenset()

    @property
    def bad(self) -> dict[str, dict[str, str]]:
        """What was not as expected, by variant, but for those that may fail."""
        found = {name: variant.bad for name, variant in self.variants.items() if name not in self.may_fail}
        return {name: bad for name, bad in found.items() if bad}

    @property
    def broken(self) -> dict[str, str]:
        """The jobs that did not end well, and how they ended."""
        return {job: how for job, how in self.ended.items() if how != SUCCESS}

    @property
    def good(self) -> bool:
        """Whether something ran, all jobs ended well, and nothing failed or was left without a verdict."""
        ran = any(variant.scenarios or variant.cells for variant in self.variants.values())
        return ran and not self.bad and not self.broken


@dataclass(frozen=True)
class Change:
    """One thing that is not what it was.

    Attributes:
        name: Of the scenario, the cell or the package.
        before: "" when it was not there.
        now: "" when it is not there any more.
    """

    name: str
    before: str
    now: str


@dataclass(frozen=True)
class Changes:
    """What has changed in a variant."""

    scenarios: tuple[Change, ...] = ()
    cells: tuple[Change, ...] = ()
    versions: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.scenarios or self.cells or self.versions)


def changes(before: Night, now: Night) -> dict[str, Changes]:
    """What has changed, by variant; those that are new or gone are told by their scenarios."""
    found = {}
    for name in sorted(before.variants.keys() | now.variants.keys()):
        old, new = before.variants.get(name, Variant()), now.variants.get(name, Variant())
        found[name] = Changes(
            _changed(old.scenarios, new.scenarios),
            _changed(old.cells, new.cells),
            _changed(
                {key: " / ".join(value) for key, value in old.versions.items()},
                {key: " / ".join(value) for key, value in new.versions.items()},
            ),
        )
    return found


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[Change, ...]:
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return tuple(Change(name, before.get(name, ""), now.get(name, "")) for name in names)


def dumps(night: Night) -> str:
    """A night as JSON, to be compared with the next one."""
    variants = {name: asdict(variant) for name, variant in night.variants.items()}
    document = {
        "schema": SCHEMA,
        "good": night.good,
        "variants": variants,
        "ended": dict(night.ended),
        "may_fail": sorted(night.may_fail),
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def load(path: Path) -> Night:
    """Read a night.

    Raises:
        UsageError: There is none.
    """
    try:
        value: Any = record.parse_json(read_whole(path).decode(), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read", why_unread(error), "such a file is what `report --merge` writes"
        ) from error
    try:
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}, and not {SCHEMA}")
        return Night(
            {key: _variant(each) for key, each in value["variants"].items()},
            {str(job): str(how) for job, how in value["ended"].items()},
            frozenset(map(str, value["may_fail"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is no night", str(error), "such a file is what `report --merge` writes") from error


def _variant(value: Any) -> Variant:
    return Variant(
        tuple(map(str, value["jobs"])),
        {str(key): str(each) for key, each in value["scenarios"].items()},
        {str(key): str(each) for key, each in value["cells"].items()},
        {str(key): tuple(map(str, each)) for key, each in value["versions"].items()},
    )


def summary(night: Night) -> str:
    """A night in Markdown, as GitHub shows it beside a job (``GITHUB_STEP_SUMMARY``)."""
    lines = [
        "| job | accelerator | scenarios | passed | failed | no verdict | cells |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for name, variant in night.variants.items():
        counts = counted(variant)
        accelerators = "; ".join(variant.accelerators) or "no machine was started"
        figures = (len(variant.scenarios), counts["passed"], counts["failed"], counts[NO_VERDICT], len(variant.cells))
        lines.append(
            f"| {artifacts.markdown(name)} | {artifacts.markdown(accelerators)} | {' | '.join(map(str, figures))} |"
        )
    bad = [(test, seen) for variant in night.variants.values() for test, seen in variant.bad.items()]
    if bad:
        lines += ["", *(f"- {artifacts.markdown(test)}: {artifacts.markdown(seen)}" for test, seen in bad)]
    return "\n".join(lines) + "\n"


def counted(*variants: Variant) -> dict[str, int]:
    """How many scenarios passed, failed, or were left without a verdict."""
    seen = [verdict for variant in variants for verdict in variant.scenarios.values()]
    return {kind: sum(verdict.startswith(kind) for verdict in seen) for kind in ("passed", "failed", NO_VERDICT)}
