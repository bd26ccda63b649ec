"""The folder that a test leaves behind.

::

    artifacts/test_tang-test_tang_down-tpm2-and-tang-1f3a9c2b/
        outcome.json     what was seen and what proves it (`record`)
        config.bu        the policy as it was written        config.ign     as it was installed
        tang.log         what Tang said (one log a server, by its name)
        versions.json    of everything that took part
        boot-1/ …        one folder for every power-on:
            console.log journal.log domain.xml swtpm.log pcrs.json qemu.log, and what the rig adds

A test's folder replaces that of an earlier run as a whole. A file or a boot's folder is written beside its place and
renamed, so whoever looks sees it whole or not at all. ``outcome.json`` is there from the start, and says "unfinished"
until the test has ended: that is also what a run that is killed leaves, with the boots it finished.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.errors import HostError, UsageError
from harness.evidence.record import OUTCOME, Scenario, document, parse_json
from harness.evidence.scrub import scrubbed_document
from harness.files import end_of, is_full, read_whole, whole_file, whole_folder, why_unread, write_whole
from harness.ownership import claim
from harness.plain import plain

CONFIG_BU, CONFIG_IGN, VERSIONS = "config.bu", "config.ign", "versions.json"
CONSOLE, JOURNAL = "console.log", "journal.log"
EVENT_LOG = "event-log"
"""What the firmware says that it measured (TCG PC Client Platform Firmware Profile, 10)."""

Source = Path | bytes | str | None
"""What goes into a file: its content, or a file to copy. None, or a file that is not there, makes no file."""

_SLUG = 80
"""Characters of a folder's name that are for people. The run folder's paths stay well under NAME_MAX (255)."""


def folder_name(test: str) -> str:
    """A short name for a test's folder: safe on any file system, readable, and different for every node id.

    Args:
        test: pytest's node id: ``scenarios/test_tang.py::test_tang_down[tpm2-and-tang]``.
    """
    file, _, rest = test.partition("::")
    words = re.sub(r"[^A-Za-z0-9_]+", "-", f"{Path(file).stem}-{rest}").strip("-")
    mark = hashlib.sha256(test.encode(errors="surrogatepass")).hexdigest()[:8]
    return "-".join(filter(None, (words[:_SLUG].rstrip("-"), mark)))


def open_folder(root: Path, test: str) -> Path:
    """Make an empty folder for a test in place of an earlier run's.

    Args:
        root: The folder of all artifacts; made if it is not there.
        test: pytest's node id.

    Raises:
        UsageError: The folder of all artifacts is not ours.
        HostError: It cannot be written.
    """
    place = claimed_root(root) / folder_name(test)
    with _explained(place), FileLock(root / ".lock"):
        for leftover in root.glob(f".{place.name}.*"):
            _remove(leftover)
        with whole_folder(place) as part:
            old = part.with_suffix(".old")
            if place.exists() or place.is_symlink():
                place.rename(old)
        _remove(old)
    return place


def claimed_root(root: Path) -> Path:
    """The folder of all artifacts, claimed (`harness.ownership`); one that holds an `OUTCOME` is ours too.

    Raises:
        UsageError: It is not ours.
        HostError: It cannot be made.
    """
    with_evidence = any(root.glob(f"*/{OUTCOME}"))
    return claim(root, "--lab-artifacts (pytest) or --artifacts", 0o700, adopt=with_evidence)


def save(folder: Path, files: Mapping[str, Source], mode: int = 0o600) -> None:
    """Write files into a folder, each atomically.

    Args:
        folder: A folder that `open_folder` made.
        files: Content by file name, such as `CONFIG_BU`.
        mode: Permission bits of the files.

    Raises:
        HostError: One cannot be written.
    """
    with _explained(folder):
        for name, source in files.items():
            _write(folder, name, source, mode)


def save_boot(folder: Path, name: str, files: Mapping[str, Source]) -> None:
    """Write the folder of one boot, atomically.

    Args:
        folder: A folder that `open_folder` made.
        name: Of the boot's folder, as `Boot.evidence` has it: ``boot-1`` for the first of the test.
        files: Content by file name, such as `CONSOLE`. Any name may be added: what is there is shown.

    Raises:
        HostError: It cannot be written.
    """
    place = folder / name
    with _explained(place), whole_folder(place) as part:
        for file, source in files.items():
            _write(part, file, source)
        _remove(place)


def save_versions(folder: Path, versions: Mapping[str, str]) -> None:
    """Write `VERSIONS`: what took part (``qemu``, ``libvirt``, ``image``, …) and its version.

    Raises:
        HostError: It cannot be written.
    """
    save(folder, {VERSIONS: _json(dict(versions))})


def load_versions(folder: Path) -> dict[str, str]:
    """What `save_versions` wrote, by name; nothing where that cannot be read."""
    try:
        found: Any = parse_json(read_whole(folder / VERSIONS).decode(), VERSIONS)
    except (OSError, UnicodeDecodeError, UsageError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def save_outcome(folder: Path, scenario: Scenario, secrets: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Write `OUTCOME` in place of what it said before, and return what it says.

    Args:
        folder: A folder that `open_folder` made.
        scenario: What is known of the test.
        secrets: What stands in the place of each secret, by secret (`harness.evidence.scrub`).

    Raises:
        HostError: It cannot be written.
    """
    found: dict[str, Any] = scrubbed_document(document(scenario), secrets or {})
    save(folder, {OUTCOME: _json(found)})
    return found


def require_place(path: Path) -> None:
    """See that `write_named` can write a file, before the minutes or hours that its content takes.

    Raises:
        HostError: Its folder is not there, or cannot be written to.
    """
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        why = "cannot be written to" if path.parent.is_dir() else "is no folder"
        raise HostError(f"{path} cannot be written", f"{path.parent} {why}", "name another file")


def write_named(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that the user named, atomically.

    Raises:
        HostError: It cannot be written.
    """
    require_place(path)
    try:
        write_whole(path, text, mode)
    except OSError as error:
        raise HostError(f"{path} cannot be written", why_unread(error), "name another file") from error


def tail(path: Path, lines: int = 25, limit: int = 65536) -> list[str]:
    """The last lines of a log as plain text: without escape sequences, blank lines and control characters.

    Args:
        path: The log; one that cannot be read has no lines.
        lines: How many at most.
        limit: Bytes of its end that are looked at.
    """
    try:
        data = end_of(path, limit)
    except OSError:
        return []
    return [line for line in plain(data.decode(errors="replace")).splitlines() if line][-lines:]


def markdown(text: str) -> str:
    """Text that stays text, on one line, in Markdown."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", plain(text).replace("\n", " "))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write(folder: Path, name: str, source: Source, mode: int = 0o600) -> None:
    if not name or name != Path(name).name or name.startswith("."):
        raise ValueError(f"not a plain file name: {name!r}")
    if isinstance(source, Path):
        try:
            log = source.open("rb")
        except FileNotFoundError:
            return
        with log, whole_file(folder / name, mode) as file:
            shutil.copyfileobj(log, file)
    elif source is not None:
        write_whole(folder / name, source, mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            f"the evidence cannot be written to {place}",
            str(error),
            "free some room"
            if is_full(error)
            else "name a folder that can be written to, or give this one to yourself",
        ) from error
