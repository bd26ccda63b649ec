"""One blow of the chaos campaign: what was going on, what is hit, and how.

A blow falls on processes of its own run alone. They are known by the run's folder, which the campaign made: it is in
the words or in the environment of each (``UNLOCK_LAB_RUN``, ``XDG_RUNTIME_DIR``, the paths of sockets), and in no
other process of the host.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.services.container import OWNER_LABEL

POLL_SECONDS = 0.1
TURN_SECONDS = 1500.0
"""The longest wait until the work is under way: others of the host may have all slots."""

TARGET_SECONDS = 300.0
"""The longest wait for the process to hit from the moment on that was drawn."""

_TRY = ("unlock-lab", "try", "scenarios/policies/tpm2-and-tang.bu", "--only=present", "--only=without tang")
CONTROL = "scenarios/test_control.py::test_control_unlocks_with_nothing_typed"
_TWO = ("-n", "2", CONTROL, "scenarios/test_tang.py::test_tang_down_asks_for_the_passphrase")
WORK: Mapping[str, Sequence[str]] = {
    "boot": ("pytest", "-v", "-p", "no:cacheprovider", CONTROL),
    "two boots": ("pytest", "-v", "-p", "no:cacheprovider", *_TWO),
    "matrix": ("unlock-lab", "matrix", "--machine", "headless", "--only", "present"),
    "installation": ("pytest", "-v", "-p", "no:cacheprovider", CONTROL),
    "image build": ("unlock-lab", "images", "build", "debian-13"),
    "real tools": _TRY,
}
"""What is broken, as commands of the virtual environment."""

MADE_ANEW: Mapping[str, frozenset[str]] = {
    "installation": frozenset({"sealed"}),
    "image build": frozenset({"images", "sealed"}),
}
"""The kinds of entries that its cache, one of its own then, does not have."""

LONGEST_WAIT: Mapping[str, float] = {"installation": 200, "image build": 150, "real tools": 40}
"""Seconds after which it is hit at the latest, from the moment that it is at work; `_WAIT` for others."""
_WAIT = 60.0

TARGETS: Mapping[str, Sequence[str]] = {
    "boot": ("pytest", "pytest", "libvirtd", "QEMU", "swtpm", "a container", "any process"),
    "two boots": ("pytest", "a worker", "a worker", "libvirtd", "QEMU", "swtpm", "a container", "any process"),
    "matrix": ("pytest", "libvirtd", "QEMU", "swtpm", "a container", "any process"),
    "installation": ("pytest", "pytest", "libvirtd", "QEMU", "swtpm", "a container", "any process"),
    "image build": ("pytest", "any process", "any process"),
    "real tools": ("pytest", "swtpm", "a container", "any process"),
}
"""What can be hit in each kind of work; "pytest" is the work's first process, whatever it is called."""

PROGRAMS: Mapping[str, str] = {"libvirtd": "libvirtd", "QEMU": "qemu-system-x86", "swtpm": "swtpm"}


@dataclass(frozen=True)
class Hit:
    """One blow.

    Attributes:
        work: What was going on, of `WORK`.
        target: What was hit.
        how: The signal, or what was done.
        at_work: Whether the time runs from the moment that a machine or a tool of it is on, and not from its start.
        after: Seconds.
        which: Of several processes, from 0 to 1.
    """

    work: str
    target: str
    how: str
    at_work: bool
    after: float
    which: float = 0.0

    @property
    def kind(self) -> str:
        """For the count."""
        return f"{self.how} to {self.target}" if self.how.startswith("SIG") else self.how


def draw(rng: random.Random, without: Sequence[str] = ()) -> Hit:
    """Choose a blow.

    Args:
        rng: Where chance comes from.
        without: Kinds of work and targets that are left out; "dockerd", "disk" and "clock" are targets of every work.
    """
    work = rng.choice(sorted(set(WORK).difference(without)))
    everywhere = ("dockerd", "disk", "clock")
    target = rng.choice([each for each in (*TARGETS[work], *everywhere) if each not in without])
    how = {"disk": "disk full", "clock": "clock jumps"}.get(target) or rng.choice(["SIGKILL", "SIGTERM", "SIGINT"])
    at_work = target in PROGRAMS or rng.random() < 0.7
    longest = LONGEST_WAIT.get(work, _WAIT) if at_work else 10.0
    return Hit(work, target, how, at_work, rng.uniform(0.0, longest), rng.random())


@dataclass(frozen=True)
class Process:
    """A process of a run: its number and its words."""

    pid: int
    words: Sequence[str]

    @property
    def program(self) -> str:
        """The name of its program."""
        return Path(self.words[0]).name

    def __str__(self) -> str:
        return f"{self.pid} {' '.join(self.words)[:100]}"


def processes_of(run_folder: Path) -> Iterator[Process]:
    """Every process whose words or environment name a run's folder, or something in it."""
    sought = os.fsencode(run_folder)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if words and any(_names(text, sought) for text in (words, (entry / "environ").read_bytes())):
                    yield Process(int(entry.name), words.decode(errors="replace").rstrip("\0").split("\0"))


def _names(text: bytes, path: bytes) -> bool:
    """Whether a path is in it, and not as the beginning of another name."""
    rest = text.split(path)[1:]
    return any(not each[:1].isalnum() and each[:1] not in (b"-", b"_", b".") for each in rest)


def owned_containers() -> Iterator[tuple[str, int]]:
    """The laboratory's containers on this host: the name of each, and the process that owns it."""
    argv = [
        "docker",
        "ps",
        "--format",
        f'{{{{.Names}}}} {{{{.Label "{OWNER_LABEL}"}}}}',
        f"--filter=label={OWNER_LABEL}",
    ]
    listed = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    for line in listed.stdout.splitlines():
        name, _, owner = line.partition(" ")
        yield name, int(owner)


def containers_of(owners: Sequence[int]) -> Iterator[int]:
    """The first process of each container that one of these processes owns."""
    for name, owner in owned_containers():
        if owner in owners:
            argv = ["docker", "inspect", "--format", "{{.State.Pid}}", name]
            pid = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
            if pid.isdecimal() and int(pid):
                yield int(pid)


def targets(hit: Hit, work: "subprocess.Popen[bytes]", run_folder: Path) -> list[int]:
    """The processes that a blow may fall on: of this run, or the Docker daemon where that is what is to be hit."""
    if hit.target == "pytest":
        return [work.pid]
    if hit.target == "dockerd":
        return [int(Path("/run/docker.pid").read_text())]
    found = list(processes_of(run_folder))
    if hit.target == "a worker":
        return [each.pid for each in found if "exec(eval" in " ".join(each.words)]
    if hit.target == "a container":
        return list(containers_of([each.pid for each in found]))
    if hit.target == "any process":
        return [each.pid for each in found]
    return [each.pid for each in found if PROGRAMS[hit.target] in each.program]


def is_at_work(work: "subprocess.Popen[bytes]", run_folder: Path) -> bool:
    """Whether it is beyond its preparations, and its wait for a slot: a tool that takes time runs."""
    tools = (*PROGRAMS.values(), "mmdebstrap", "qemu-img", "debugfs")
    found = [each for each in processes_of(run_folder) if each.pid != work.pid]
    return any(tool in each.program or any(tool in word for word in each.words[:3]) for each in found for tool in tools)


def await_moment(hit: Hit, work: "subprocess.Popen[bytes]", run_folder: Path) -> bool:
    """Wait until it is time; says whether the work is still under way."""
    deadline = time.monotonic() + TURN_SECONDS
    while hit.at_work and not is_at_work(work, run_folder):
        if work.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    with suppress(subprocess.TimeoutExpired):
        work.wait(hit.after)
    return work.poll() is None


def strike(hit: Hit, work: "subprocess.Popen[bytes]", run_folder: Path) -> bool:
    """Send the signal; says whether there was something to hit."""
    deadline = time.monotonic() + TARGET_SECONDS
    while not (found := targets(hit, work, run_folder)):
        if work.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    with suppress(ProcessLookupError):
        os.kill(found[int(hit.which * len(found))], signal.Signals[hit.how])
        return True
    return False
