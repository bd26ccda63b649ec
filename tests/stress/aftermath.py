"""What must hold after a blow: nothing left, nothing of the user's changed, no verdict that lies."""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from blow import POLL_SECONDS, owned_containers, processes_of

from harness.contents import CONTENTS
from harness.ownership import MARK

SETTLE_SECONDS = 120.0
"""Removing a guest's files and libvirt's own end by idleness (30 s), on a host with other work."""


def digest(folder: Path) -> str:
    """Everything about the files of a folder that matters: names, modes, owners, content."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        found.update(f"{path.relative_to(folder)} {about.st_mode} {about.st_uid} {about.st_gid}\n".encode())
        if path.is_file() and not path.is_symlink():
            found.update(path.read_bytes())
    return found.hexdigest()


def bystander(folder: Path) -> Path:
    """A folder of the user's, beside the run's: what must stay as it is."""
    home = folder / "user"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_text("a key")
    (home / ".ssh" / "id_ed25519").chmod(0o600)
    (home / "m" / "not-a-machine").mkdir(parents=True)
    (home / "m" / "not-a-machine" / "letter").write_text("dear reader")
    return home


def left_running(run_folder: Path) -> list[str]:
    """Processes of a run that are still there, whatever they are."""
    return [str(each) for each in processes_of(run_folder)]


def left_lying(run_folder: Path, temporary: Path) -> Iterator[str]:
    """Folders of machines and of builds that nobody will remove any more."""
    for root in (run_folder / "m", *temporary.glob("unlock-lab-tmp-*/b")):
        if root.is_dir():
            yield from (str(path) for path in root.iterdir() if path.is_dir() and path.name != MARK)


def orphaned_containers() -> list[str]:
    """Containers of ours whose owner is dead."""
    return [
        f"container {name} of process {owner}"
        for name, owner in owned_containers()
        if not Path("/proc", str(owner)).exists()
    ]


def left_behind(run_folder: Path, temporary: Path) -> list[str]:
    """All that is still there when it should not be."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        left = [f"still runs: {each}" for each in (*left_running(run_folder), *orphaned_containers())]
        left += [f"was left: {each}" for each in left_lying(run_folder, temporary)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(POLL_SECONDS * 5)


def half_written(cache: Path) -> list[str]:
    """Entries of a cache that were not finished and bear the name of one that was."""
    return [str(path) for path in cache.glob("*/[!.]*") if path.is_dir() and not (path / CONTENTS).exists()]


def lies(artifacts: Path, output: str) -> list[str]:
    """Verdicts that a run did not come to.

    Every test of the campaign passes when it is left alone. So ``failed`` is a wrong verdict, whatever was hit: that is
    the rig's failure, or none. ``passed`` is one where pytest, which prints each test as it ends, did not say so.
    """
    progress = r"(?: [·✓✗].*\n(?:[·✓✗].*\n)*| )"  # what it said between a test's name and its end
    said = {
        name for pair in re.findall(rf"PASSED (scenarios/\S+)|(scenarios/\S+){progress}PASSED", output) for name in pair
    }
    found = []
    for document in documents(artifacts):
        test, result = str(document.get("test")), document.get("result")
        if result == "failed":
            found.append(f"{test} says failed: {str(document.get('failure'))[:300]}")
        if result == "passed" and test.startswith("scenarios/") and test not in said:
            found.append(f"{test} says passed, and pytest did not")
    return found


def tried_otherwise(output: str) -> list[str]:
    """What `unlock-lab try` says that tools did otherwise than the rules: none of the campaign's cells does."""
    return [f"a wrong verdict: {line}" for line in re.findall(r".*\b[1-9]\d* differ from the rules.*", output)]


def documents(artifacts: Path) -> Iterator[Mapping[str, object]]:
    """What the tests of a run recorded."""
    for path in artifacts.rglob("outcome.json"):
        with suppress(ValueError):
            yield json.loads(path.read_text())
