"""What the jobs of a night left, read from their folders into a `Night`.

A job is a folder of artifacts: a folder for each test with ``outcome.json`` and ``versions.json``, perhaps
``matrix.csv`` with ``matrix-junit.xml``, and ``junit.xml``, which alone knows the tests that have no evidence of their
own. ``accelerator.txt`` is what `unlock-lab prepare` printed. A job that left none of these has no verdict.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

from harness.errors import HarnessError, UsageError
from harness.evidence import artifacts, record
from harness.evidence.night import ACCELERATOR, NO_VERDICT, NOT_PREDICTED, Night, Variant
from harness.evidence.record import Document, Result
from harness.files import read_whole

MATRIX, MATRIX_JUNIT = "matrix.csv", "matrix-junit.xml"
JUNIT = "junit.xml"
ACCELERATOR_FILE = "accelerator.txt"

_SHARD = re.compile(r"-shard-\d+$")


def gather(
    folders: Iterable[Path], ended: Mapping[str, str] | None = None, may_fail: frozenset[str] = frozenset()
) -> Night:
    """Read the folders of all jobs; the name of a folder is the name of its job.

    Args:
        folders: Of artifacts.
        ended: How the workflow says that its jobs ended, by name: ``success`` or something else.
        may_fail: The variants that are an early warning, no failure.

    Raises:
        UsageError: A folder is not there, its list of cells is none, or nothing says what was predicted of them.
    """
    variants: dict[str, Variant] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", hint="name the folders of artifacts that the jobs left")
        name = folder.resolve().name
        variant = _SHARD.sub("", name)
        variants[variant] = _joined(variants.get(variant, Variant()), _read(name, folder))
    return Night(variants, dict(ended or {}), may_fail)


def _read(name: str, folder: Path) -> Variant:
    scenarios: dict[str, str] = {}
    versions: dict[str, tuple[str, ...]] = {}
    for test in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            document = record.load(test)
        except HarnessError as error:
            scenarios[test.name] = f"{NO_VERDICT}: {error.what}"
            continue
        versions = _merged(versions, {name: (value,) for name, value in artifacts.load_versions(test).items()})
        seen = verdict(document)
        if record.is_scenario(document):
            scenarios[str(document["test"])] = seen
    versions = _merged(versions, _accelerator(folder / ACCELERATOR_FILE))
    # What broke before a test had evidence, and tests that leave none, such as those of a stack.
    known = {_junit_name(test) for test in scenarios}
    scenarios |= {test: seen for test, seen in _tests(folder / JUNIT).items() if test not in known}
    cells = _cells(folder)
    if not scenarios and not cells:
        scenarios = {f"({name})": f"{NO_VERDICT}: the job left none"}
    return Variant((name,), scenarios, cells, versions)


def _junit_name(test: str) -> str:
    """What pytest's JUnit XML calls a node id: ``scenarios.test_tang::test_tang_down``."""
    file, colons, rest = test.partition("::")
    return f"{file.removesuffix('.py').replace('/', '.')}{colons}{rest}"


_SEEN = {"skipped": f"{NO_VERDICT}: skipped", "error": NO_VERDICT, "failure": "failed"}
"""What is said of a test by what its case in JUnit XML has; one that has none of these passed."""


def _tests(path: Path) -> dict[str, str]:
    return {
        name: next((seen for kind, seen in _SEEN.items() if kind in kinds), "passed") for name, kinds in _junit(path)
    }


def _junit(path: Path) -> list[tuple[str, set[str]]]:
    """Each test case and what it has: ``error``, ``failure``, ``skipped``."""
    if not path.exists():
        return []
    try:
        cases = list(ET.fromstring(read_whole(path)).iter("testcase"))
    except (OSError, ET.ParseError, ValueError, LookupError) as error:  # the last two: of an encoding
        raise UsageError(f"{path} is no JUnit XML", str(error)) from error
    return [(f"{case.get('classname')}::{case.get('name')}", {child.tag for child in case}) for case in cases]


def verdict(document: Document) -> str:
    """What became of a test, in words that two nights can be compared by: the result, and what each disk did."""
    if document["result"] not in (Result.PASSED.value, Result.FAILED.value):
        said = record.problem(document)
        return f"{NO_VERDICT}: {said}" if said else NO_VERDICT
    boots = [str(boot["unlock"]) if "unlock" in boot else NO_VERDICT for boot in document["boots"]]
    return f"{document['result']}: {', '.join(boots)}" if boots else str(document["result"])


def _accelerator(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        return {ACCELERATOR: (read_whole(path).decode(errors="replace").strip(),)}
    except OSError:
        return {}


def _cells(folder: Path) -> dict[str, str]:
    path = folder / MATRIX
    if not path.exists():
        return {}
    if not (folder / MATRIX_JUNIT).exists():
        raise UsageError(f"{path} has no {MATRIX_JUNIT} beside it", "it alone says which cells are not as predicted")
    differing = {name for name, kinds in _junit(folder / MATRIX_JUNIT) if "failure" in kinds}
    found = {}
    try:
        for row in csv.DictReader(StringIO(read_whole(path).decode()), strict=True):
            seen = f"{row['observed']} {row['failed_pins']}".strip() or NO_VERDICT
            if f"{row['stack']}.{row['policy']}::{row['condition']}" in differing:
                seen += NOT_PREDICTED
            found[f"{row['stack']} {row['policy']} {row['condition']}"] = seen
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise UsageError(f"{path} is no list of verdicts", str(error), "such a list is what `matrix` writes") from error
    return found


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
