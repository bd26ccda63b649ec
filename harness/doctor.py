"""What this host has, lacks, and how to get it: ``unlock-lab doctor``.

Each check looks at one thing and gives one row. The modules that do the work are imported by the check that needs them,
so that a part that is missing is a row of the table and not a traceback.
"""
# ruff: noqa: PLC0415

import argparse
import os
import pwd
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

from harness.errors import HarnessError
from harness.host.packages import old_qemu, read_os_release
from harness.host.requirement import Requirement, command, requirements
from harness.host.setup import STAMP
from harness.host.userns import has_subordinate_ids
from harness.paths import SETUP, cache_dir, run_dir
from harness.process import run
from harness.progress import Progress

CACHE_GB = 6
"""What the cache holds when all images are built and all policies of the suite are installed, with room to build."""

MACHINE_GB = 2
"""Memory of one machine."""

RUN_GB = 1
"""What the disks of one machine grow by while it runs, with room to spare."""

_GB = 1e9
_DISTRIBUTION = "unlock-lab"


class State(StrEnum):
    """What a row says about running scenarios."""

    GOOD = "good"
    WARNING = "warning"
    """They run, but less well."""
    BAD = "bad"
    """They cannot run."""


@dataclass(frozen=True)
class CheckRow:
    """One line of the diagnosis.

    Attributes:
        state: Whether it stands in the way.
        name: What was looked at.
        found: What is there.
        fix: A command that puts it right; empty when nothing is wrong.
    """

    state: State
    name: str
    found: str
    fix: str = ""


Check = Callable[[], CheckRow]


def main(argv: Sequence[str]) -> int:
    """Look at this host and print what was found; the exit status is 0 when scenarios can run, else 1."""
    parser = argparse.ArgumentParser(prog="unlock-lab doctor", description=main.__doc__)
    parser.add_argument("--deep", action="store_true", help="also read all of the cache, and set bad entries aside")
    arguments = parser.parse_args(argv)
    progress = Progress()
    rows = [examine(name, check) for name, check in checks(progress)]
    if arguments.deep:
        rows.append(examine("cache", lambda: whole_cache(progress)))
    show(rows)
    return int(any(row.state is State.BAD for row in rows))


def whole_cache(progress: Progress) -> CheckRow:
    """Whether every entry of the cache is as it was recorded, to the byte."""
    from harness import cache

    damaged = cache.set_damaged_aside(progress)
    if not damaged:
        return CheckRow(State.GOOD, "cache", "every entry is as it was made")
    names = "\n".join(map(str, damaged))
    return CheckRow(State.WARNING, "cache", f"set aside, and made anew at the next use:\n{names}", "unlock-lab clean")


def examine(name: str, check: Check) -> CheckRow:
    """Run one check; what it raises because something is missing becomes its row."""
    try:
        return check()
    except HarnessError as error:
        found = "\n".join(part for part in (error.what, error.detail.strip()) if part)
        return CheckRow(State.BAD, name, found, error.hint or "see the other rows")
    except ImportError as error:
        return CheckRow(State.BAD, name, f"the .venv lacks a package: {error}", SETUP)
    except OSError as error:
        return CheckRow(State.BAD, name, str(error), "see the other rows")


def checks(progress: Progress) -> Iterable[tuple[str, Check]]:
    """All checks with their names, the cheap ones first."""
    for need in requirements():
        yield need.name, lambda need=need: installed(need)  # type: ignore[misc]
    yield "Python packages", python_packages
    yield "libvirt answers", libvirt_answers
    yield "Docker answers", docker_answers
    yield "user", who_runs_machines
    yield "guest networks", guest_networks
    yield "firmware", lambda: firmware_and_accelerator(progress)
    yield "guest image", guest_image
    yield "disk", lambda: room(cache_dir(), CACHE_GB, "UNLOCK_LAB_CACHE", "cache")
    yield "scratch", lambda: room(run_dir(), RUN_GB, "UNLOCK_LAB_RUN", "running machines")
    yield "memory", memory


def installed(need: Requirement) -> CheckRow:
    """Whether the programs and files are there, and which version."""
    distribution, codename = read_os_release()
    if missing := need.missing:
        names = need.debian if distribution == "debian" else need.fedora
        other = f"sudo {'apt-get' if command('apt-get') else 'dnf'} install {' '.join(names)}"
        return CheckRow(
            State.BAD,
            need.name,
            f"missing: {', '.join(missing)} ({need.why})",
            SETUP if distribution == "debian" else other,
        )
    first = next(item.partition(":")[2] for item in need.probe)
    if need.name == "QEMU" and codename == "bookworm" and old_qemu():
        return CheckRow(
            State.WARNING,
            need.name,
            f"{_version(first)}: works, slower without KVM; its emulation of cmpxchg16b is wrong, and so switched off",
            f"rm {STAMP}; {SETUP}    # takes QEMU from bookworm-backports",
        )
    return CheckRow(State.GOOD, need.name, _version(first) if need.name in _VERSIONED else need.why)


_VERSIONED = {"QEMU", "swtpm", "libvirt", "Docker", "mmdebstrap"}


def _version(program: str) -> str:
    path = command(program)
    assert path is not None
    said = run([path, "--version"], timeout=20)
    number = re.search(r"\d+(\.\d+)+", said)
    return f"version {number[0]}" if number else said.strip()


def python_packages() -> CheckRow:
    """Whether the venv has what pyproject.toml names; above all libvirt's binding, which is compiled here."""
    wanted = [re.split(r"[^\w.-]", line)[0] for line in requires(_DISTRIBUTION) or () if "extra ==" not in line]
    if missing := [name for name in wanted if not _is_installed(name)]:
        return CheckRow(State.BAD, "Python packages", f"missing: {', '.join(missing)}", SETUP)
    return CheckRow(State.GOOD, "Python packages", "all there")


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def libvirt_answers() -> CheckRow:
    """Whether the libvirt that machines would use really answers, not just is installed."""
    from harness.host.session import private_session

    uri = "qemu:///session"
    if os.geteuid() == 0:
        session = private_session()
        session.wake()
        uri = session.uri
    said = run(["virsh", "-q", "-c", uri, "version"], timeout=60).splitlines()
    words = [line.partition(":")[2].strip() for line in said if line.startswith(("Using library", "Running hyper"))]
    return CheckRow(State.GOOD, "libvirt answers", f"{', '.join(words)} at {uri}")


def docker_answers() -> CheckRow:
    """Whether a Docker daemon of this host answers."""
    from harness.host.docker import docker_client

    with docker_client(timeout=10) as client:
        version = client.version()["Version"]
    return CheckRow(State.GOOD, "Docker answers", f"version {version}")


def who_runs_machines() -> CheckRow:
    """Which user QEMU runs as, and whether that user has what it needs."""
    if os.geteuid() == 0:
        from harness.host.session import private_session

        return CheckRow(State.GOOD, "user", f"root's machines run as {private_session().user}")
    try:
        me = pwd.getpwuid(os.geteuid())
    except KeyError:
        found = f"user {os.geteuid()} is in no passwd(5), so cannot build images"
        return CheckRow(State.BAD, "user", found, "run it as a user of this host")
    if not has_subordinate_ids(me):
        found = f"{me.pw_name} has no subordinate ids (subuid(5)), so cannot build images"
        return CheckRow(State.BAD, "user", found, SETUP)
    return CheckRow(State.GOOD, "user", f"machines run as {me.pw_name}")


def guest_networks() -> CheckRow:
    """Whether a machine can have a network of its own, found out by making one."""
    from harness.host.user import LAB_USER
    from harness.network.namespace import require_guest_networks

    require_guest_networks(LAB_USER if os.geteuid() == 0 else None)
    return CheckRow(State.GOOD, "guest networks", "each guest can have one of its own")


def firmware_and_accelerator(progress: Progress) -> CheckRow:
    """Fetch the pinned firmware, which is small, and boot it under KVM: a device node proves nothing."""
    from harness.host.accel import PROBE_FIRMWARE, choose_accel
    from harness.host.session import find_emulator
    from harness.host.user import LAB_USER
    from harness.images import firmware

    image = firmware(PROBE_FIRMWARE, progress)
    emulator, version, _ = find_emulator()
    user = LAB_USER if os.geteuid() == 0 else None
    accel = choose_accel("auto", emulator, version, image.code, user)
    found = f"OVMF {image.version}; {accel.name}: {accel.reason}"
    if accel.name == "kvm":
        return CheckRow(State.GOOD, "firmware", found)
    return CheckRow(State.WARNING, "firmware", f"{found}. Emulation works and gives the same verdicts, more slowly")


def guest_image() -> CheckRow:
    """Whether the guest image is there, or can be built from the mirror that answers."""
    from harness.cache import entry
    from harness.defaults import IMAGE
    from harness.images import archive, guest_key
    from harness.images.recipe import guest_recipe

    if entry("images", guest_key(guest_recipe(IMAGE))).is_dir():
        return CheckRow(State.GOOD, "guest image", f"{IMAGE} is in the cache")
    return CheckRow(State.GOOD, "guest image", f"{IMAGE} will be built from {archive.mirror()} on first use")


def room(folder: Path, wanted: float, variable: str, what: str) -> CheckRow:
    """Whether a file system has room, counting what our own folder on it already holds.

    Args:
        folder: Need not be there yet.
        wanted: GB (10^9 bytes).
        variable: The environment variable that moves the folder.
        what: For people.
    """
    name = "disk" if what == "cache" else "scratch"
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / _GB
    found = f"{free:.1f} GB free for {folder} ({what})"
    if what == "cache":
        from harness.cache import disk_use

        held = disk_use(folder) / _GB
        found += f", which holds {held:.1f} GB"
        free += held
    if free < wanted:
        return CheckRow(State.BAD, name, f"{found}; {wanted:g} GB are needed", f"export {variable}=/somewhere/larger")
    return CheckRow(State.GOOD, name, found)


def memory() -> CheckRow:
    """Memory for one machine, and how many machines run well side by side."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024 / _GB
    cores = len(os.sched_getaffinity(0))
    found = f"{free:.1f} GB available, {cores} cores"
    if free < MACHINE_GB:
        return CheckRow(
            State.BAD, "memory", f"{found}; one machine needs {MACHINE_GB} GB", "end other programs, or: swapon a file"
        )
    side_by_side = max(1, min(cores, int(free // MACHINE_GB)))
    return CheckRow(
        State.GOOD, "memory", f"{found}: room for {side_by_side} machines side by side: pytest -n {side_by_side}"
    )


_MARKS = {State.GOOD: ("✓", "green"), State.WARNING: ("!", "yellow"), State.BAD: ("✗", "red")}


def show(rows: Iterable[CheckRow]) -> None:
    """Print the table, by rich when it is there."""
    rows = list(rows)
    bad = sum(row.state is State.BAD for row in rows)
    verdict = "scenarios can run" if not bad else f"scenarios cannot run: {bad} to put right"
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        for row in rows:
            print(f"{_MARKS[row.state][0]} {row.name}: {row.found}" + (f"\n    fix: {row.fix}" if row.fix else ""))
        print(verdict)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        mark, colour = _MARKS[row.state]
        found = Text(row.found)
        if row.fix:
            found.append(f"\n→ {row.fix}", style="bold")
        table.add_row(Text(mark, style=colour), row.name, found)
    console = Console()
    console.print(table)
    console.print(Text(verdict, style="red" if bad else "green"))
