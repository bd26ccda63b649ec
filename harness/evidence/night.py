"""A night: what all jobs of a run left, in one value that is small enough to keep, and what has changed since another.

A job is a folder of artifacts: a folder for each test with ``outcome.json`` and ``versions.json``, and perhaps
``matrix.csv``; one that has neither tells by ``junit.xml``. ``accelerator.txt`` is what `unlock-lab prepare` printed.
Jobs that differ just by their shard (``scenarios-debian-12-shard-3``) are one *variant*: which scenario ran in which
shard may change from night to night.
"""

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from harness.errors import HarnessError, UsageError
from harness.evidence import artifacts, record
from harness.evidence.record import Document, Result

SCHEMA = 1
MATRIX = "matrix.csv"
NO_VERDICT = "no verdict"
JUNIT = "junit.xml"
ACCELERATOR, ACCELERATOR_FILE = "accelerator", "accelerator.txt"

_SHARD = re.compile(r"-shard-\d+$")


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
        """The scenarios that did not pass, and the cells without a verdict."""
        scenarios = {test: verdict for test, verdict in self.scenarios.items() if not verdict.startswith("passed")}
        return scenarios | {place: verdict for place, verdict in self.cells.items() if verdict == NO_VERDICT}


@dataclass(frozen=True)
class Night:
    """All variants, by name."""

    variants: Mapping[str, Variant]

    @property
    def good(self) -> bool:
        """Whether something ran, and nothing of it failed or was left without a verdict."""
        ran = any(variant.scenarios or variant.cells for variant in self.variants.values())
        return ran and not any(variant.bad for variant in self.variants.values())


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


def gather(folders: Iterable[Path]) -> Night:
    """Read the folders of all jobs; the name of a folder is the name of its job.

    Raises:
        UsageError: A folder is not there, or its list of cells is none.
    """
    variants: dict[str, Variant] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", hint="name the folders of artifacts that the jobs left")
        name = folder.resolve().name
        variant = _SHARD.sub("", name)
        variants[variant] = _joined(variants.get(variant, Variant()), _read(name, folder))
    return Night(variants)


def _read(name: str, folder: Path) -> Variant:
    scenarios: dict[str, str] = {}
    versions: dict[str, tuple[str, ...]] = {}
    for test in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            document = record.load(test)
        except HarnessError as error:
            scenarios[test.name] = f"{NO_VERDICT}: {error.what}"
            continue
        scenarios[str(document["test"])] = verdict(document)
        versions = _merged(versions, _versions(test / artifacts.VERSIONS))
    if (told := folder / ACCELERATOR_FILE).is_file():
        versions = _merged(versions, {ACCELERATOR: (told.read_text(errors="replace").strip(),)})
    cells = _cells(folder / MATRIX)
    # A job without evidence of its own, such as that of a stack, has told by JUnit what became of its tests.
    return Variant((name,), scenarios or (cells and {}) or _tests(folder / JUNIT), cells, versions)


def _tests(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    found = {}
    try:
        for case in ET.parse(path).iter("testcase"):
            kinds = {child.tag for child in case}
            if "skipped" not in kinds:
                result = NO_VERDICT if "error" in kinds else "failed" if "failure" in kinds else "passed"
                found[f"{case.get('classname')}::{case.get('name')}"] = result
    except (OSError, ET.ParseError) as error:
        raise UsageError(f"{path} is no JUnit XML", str(error)) from error
    return found


def verdict(document: Document) -> str:
    """What became of a test, in words that two nights can be compared by: the result, and what each disk did."""
    boots = [str(boot["unlock"]) if "unlock" in boot else NO_VERDICT for boot in document["boots"]]
    judged = document["result"] in (Result.PASSED.value, Result.FAILED.value)
    result = str(document["result"]) if judged else NO_VERDICT
    return f"{result}: {', '.join(boots)}" if boots else result


def _versions(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        found: Any = record.parse_json(path.read_text(), path.name)
    except (OSError, UnicodeDecodeError, UsageError):
        return {}
    return {str(name): (str(value),) for name, value in found.items()} if isinstance(found, dict) else {}


def _cells(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        rows = list(csv.DictReader(StringIO(path.read_text()), strict=True))
        return {
            f"{row['stack']} {row['policy']} {row['condition']}": (
                f"{row['observed']} {row['failed_pins']}".strip() or NO_VERDICT
            )
            for row in rows
        }
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise UsageError(f"{path} is no list of verdicts", str(error), "such a list is what `matrix` writes") from error


def _joined(one: Variant, other: Variant) -> Variant:
    return Variant(
        (*one.jobs, *other.jobs),
        {**one.scenarios, **other.scenarios},
        {**one.cells, **other.cells},
        _merged(one.versions, other.versions),
    )


def _merged(one: Mapping[str, tuple[str, ...]], other: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    names = sorted(one.keys() | other.keys())
    return {name: tuple(sorted({*one.get(name, ()), *other.get(name, ())})) for name in names}


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
    document = {"schema": SCHEMA, "good": night.good, "variants": variants}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def load(path: Path) -> Night:
    """Read a night.

    Raises:
        UsageError: There is none.
    """
    try:
        value: Any = record.parse_json(path.read_text(), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read", str(error), "such a file is what `report --merge` writes") from error
    try:
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}, and not {SCHEMA}")
        return Night({key: _variant(each) for key, each in value["variants"].items()})
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
        lines.append(f"| {name} | {_cell(accelerators)} | {' | '.join(map(str, figures))} |")
    bad = [(test, seen) for variant in night.variants.values() for test, seen in variant.bad.items()]
    if bad:
        lines += ["", *(f"- {_cell(test)}: {_cell(seen)}" for test, seen in bad)]
    return "\n".join(lines) + "\n"


def counted(variant: Variant) -> dict[str, int]:
    """How many scenarios passed, failed, or were left without a verdict."""
    kinds = ("passed", "failed", NO_VERDICT)
    return {kind: sum(seen.startswith(kind) for seen in variant.scenarios.values()) for kind in kinds}


def _cell(text: str) -> str:
    """Text that stays text in Markdown."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", artifacts.plain(text).replace("\n", " "))
