"""One HTML page about all that a run left behind: ``unlock-lab report``.

The page stands by itself: no script, no font, no request; its links are relative to where it is written. What it shows
was said by a guest that may be under attack, so all of it is text (`harness.evidence.html.template`), and a document
that cannot be read is a row that says so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import HarnessError, UsageError
from harness.evidence import artifacts, pcrs, record
from harness.evidence.attacks import AttemptMark, attack_rows, guards
from harness.evidence.html import href, template
from harness.evidence.pcrs import PcrLine
from harness.evidence.record import Document, Result
from harness.files import read_whole
from harness.ownership import require_own_file

PAGE = "report.html"
"""In the folder of artifacts, unless another is named."""

UNREADABLE = "unreadable"

GENERATOR = '<meta name="generator" content="unlock-lab report">'
"""What tells a page of ours from another file: in the template's head."""

_NO_VERDICT = (Result.ERROR.value, Result.UNFINISHED.value, UNREADABLE, Result.SKIPPED.value)
_ORDER = (Result.FAILED.value, *_NO_VERDICT, Result.PASSED.value)

_EXCERPT = 60
"""Lines of a log that the page quotes; the whole log is one click away."""

_MOMENTS = ("prompt", "unlock", "end")

_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

_ABOUT_UNLOCK = re.compile(r"clevis|cryptsetup|tang|tpm|luks|unlock|passphrase", re.IGNORECASE)


@dataclass(frozen=True)
class Segment:
    """A stretch of a boot's time line.

    Attributes:
        moment: What ends it: ``prompt``, ``unlock``, ``end``.
        start: Seconds from power-on.
        stop: Seconds from power-on.
        percent: Of the page's longest boot.
    """

    moment: str
    start: float
    stop: float
    percent: float


@dataclass(frozen=True)
class Link:
    """A file of the evidence."""

    name: str
    href: str
    size: str


@dataclass(frozen=True)
class BootView:
    """A boot as the page shows it: its entry in the document, and what lies in its folder."""

    number: int
    entry: Document
    segments: tuple[Segment, ...]
    links: tuple[Link, ...]
    console: tuple[str, ...]
    journal: tuple[str, ...]


@dataclass(frozen=True)
class ReportRow:
    """A test as the page shows it.

    Attributes:
        name: What the row is called.
        result: A `Result`, or `UNREADABLE`.
        document: ``outcome.json``; None when it cannot be read.
        problem: Why it cannot.
        boots: One a boot of the document, else one a boot folder.
        links: Files of the test's folder.
        versions: What took part.
        power_ons: Names of those that measured something.
        pcrs: What they measured, when there are several to compare.
    """

    name: str
    result: str
    document: Document | None
    problem: HarnessError | None
    boots: tuple[BootView, ...]
    links: tuple[Link, ...]
    versions: tuple[tuple[str, str], ...]
    power_ons: tuple[str, ...]
    pcrs: tuple[PcrLine, ...]


def write(root: Path, output: Path) -> None:
    """Write the page, atomically.

    Args:
        root: The folder of all artifacts.
        output: The page.

    Raises:
        UsageError: There is no such folder, it is written to and is not ours, or `output` is not ours to replace.
        HostError: The page cannot be written.
    """
    if not root.is_dir():
        raise UsageError(
            f"there is no folder {root}", "", "run scenarios first, or name the folder: unlock-lab report FOLDER"
        )
    if output.parent.resolve() == root.resolve():
        artifacts.claimed_root(root)
    require_own_file(output, GENERATOR)
    artifacts.write_named(output, render(root, output.parent))


def render(root: Path, base: Path) -> str:
    """The page as text.

    Args:
        root: The folder of all artifacts.
        base: The folder that links are relative to.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    loaded = [(folder, _load(folder)) for folder in folders]
    ends = [at for _, found in loaded if not isinstance(found, HarnessError) for at in _moments(found)]
    longest = max(ends, default=1.0) or 1.0
    rows = sorted(
        (_row(folder, found, base, longest) for folder, found in loaded),
        key=lambda row: (_ORDER.index(row.result), row.name),
    )
    attacks = attack_rows([row.document for row in rows if row.document])
    places = {found["test"]: folder for folder, found in loaded if not isinstance(found, HarnessError)}
    return template("harness.evidence", "report.html.j2").render(
        rows=rows,
        attacks=attacks,
        guards=guards(attacks),
        shown=lambda mark: _shown(mark, places[mark.test], base),
        counts={result: sum(row.result == result for row in rows) for result in _ORDER},
        scenarios=sum(row.document is None or record.is_scenario(row.document) for row in rows),
        boots=sum(len(row.boots) for row in rows),
        machine_seconds=sum(boot.segments[-1].stop for row in rows for boot in row.boots if boot.segments),
        longest=longest,
        versions=_versions(rows),
        runs=_runs(rows),
    )


def _load(folder: Path) -> Document | HarnessError:
    try:
        return record.load(folder)
    except HarnessError as error:
        return error


def _row(folder: Path, found: Document | HarnessError, base: Path, longest: float) -> ReportRow:
    links, versions = _links(folder, base), tuple(artifacts.load_versions(folder).items())
    if isinstance(found, HarnessError):
        kept = sorted(
            (path.name for path in folder.glob("boot-*") if path.is_dir()), key=lambda name: (len(name), name)
        )
        entries: list[Document] = [{"evidence": name} for name in kept]
        document, problem, name, result = None, found, folder.name, UNREADABLE
    else:
        entries = found["boots"]
        document, problem, name, result = found, None, found["test"], found["result"]
    boots = tuple(_boot(number, entry, folder, base, longest) for number, entry in enumerate(entries, 1))
    measured = _measured(folder)
    return ReportRow(name, result, document, problem, boots, links, versions, tuple(measured), pcrs.compared(measured))


def _boot(number: int, entry: Document, folder: Path, base: Path, longest: float) -> BootView:
    name = entry["evidence"]
    # The name was read from a file: it may only lead to a folder right here.
    if not _FOLDER.fullmatch(name):
        return BootView(number, entry, _segments(entry, longest), (), (), ())
    place = folder / name
    journal = [
        line for line in artifacts.tail(place / artifacts.JOURNAL, 100_000, 1 << 22) if _ABOUT_UNLOCK.search(line)
    ]
    return BootView(
        number,
        entry,
        _segments(entry, longest),
        _links(place, base),
        tuple(artifacts.tail(place / artifacts.CONSOLE, _EXCERPT)),
        tuple(journal[-_EXCERPT:]),
    )


def _measured(folder: Path) -> dict[str, dict[int, str]]:
    """The PCRs of each power-on of a test: its boots in order, then those that were not judged."""
    boots = sorted(folder.glob(f"boot-*/{pcrs.PCRS}"), key=lambda path: (len(path.parent.name), path.parent.name))
    others = sorted(folder.glob(f"*-{pcrs.PCRS}"))
    found = {path.parent.name: _pcrs(path) for path in boots}
    found |= {path.name.removesuffix(f"-{pcrs.PCRS}"): _pcrs(path) for path in others}
    return {name: values for name, values in found.items() if values}


def _shown(mark: AttemptMark, folder: Path, base: Path) -> str | None:
    """The link to what shows a try: the console of a boot, or a file of the test's."""
    if not _FOLDER.fullmatch(mark.evidence):
        return None
    place = folder / mark.evidence
    place = place / artifacts.CONSOLE if place.is_dir() else place
    return href(place, base) if place.is_file() else None


def _segments(entry: Document, longest: float) -> tuple[Segment, ...]:
    moments = sorted(_times(entry))
    starts = [0.0, *(at for at, _ in moments)]
    return tuple(
        Segment(name, start, at, 100 * (at - start) / longest)
        for start, (at, name) in zip(starts, moments, strict=False)
    )


def _times(entry: Document) -> list[tuple[float, str]]:
    """What happened when. An entry without a verdict has no times that the schema vouches for."""
    return [(at, name) for name in _MOMENTS if "unlock" in entry and (at := entry["seconds"][name]) is not None]


def _moments(document: Document) -> list[float]:
    return [at for boot in document["boots"] for at, _ in _times(boot)]


def _links(folder: Path, base: Path) -> tuple[Link, ...]:
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        return tuple(Link(path.name, href(path, base), _size(path.stat().st_size)) for path in files)
    except OSError:
        return ()


def _size(size: int) -> str:
    return f"{size} B" if size < 1000 else f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1e6:.1f} MB"


def _pcrs(path: Path) -> dict[int, str]:
    try:
        return pcrs.parse(read_whole(path).decode())
    except (OSError, UnicodeDecodeError):
        return {}


def _versions(rows: Sequence[ReportRow]) -> dict[str, list[str]]:
    """Every version that took part; more than one a name when runs are mixed."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for name, value in row.versions:
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return dict(sorted(found.items()))


def _runs(rows: Sequence[ReportRow]) -> list[datetime]:
    """When the first and the last test of the page started."""
    times = []
    for row in rows:
        try:
            started = datetime.fromisoformat(str((row.document or {}).get("started")))
        except ValueError:
            continue
        times.append(started.astimezone(UTC) if started.tzinfo else started.replace(tzinfo=UTC))
    return sorted(times)[:: max(1, len(times) - 1)]
