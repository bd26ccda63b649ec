"""Break the laboratory at random points, again and again, and look whether it leaves anything behind: `make chaos`.

A hit starts a piece of work (a boot, an installation, a column of the truth table, a guest's container), waits a random
while, and does one thing to it: SIGKILL, SIGTERM or SIGINT to pytest, a worker of it, libvirtd, QEMU, swtpm or the
Docker daemon, a disk that is full, a clock that jumps. Then it holds that

- nothing of the laboratory still runs (within `SETTLE_SECONDS`),
- nothing of the user's changed: a folder beside the run's is as it was, to the byte,
- no entry of the cache is harmed (`unlock-lab doctor --deep`),
- no verdict lies: what was hit says `passed` only where pytest says so, too,

and, every `CHECK_EVERY` hits and at the end, that the next run works. It counts by kind and prints the table; the
status is 1 when anything did not hold. The seed of the random numbers is printed: ``--seed`` repeats the hits.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = Path(sys.executable).parent
SETTLE_SECONDS = 90.0
WORK_SECONDS = 1800.0
CHECK_EVERY = 10
POLL_SECONDS = 0.25
OURS = ("qemu-system-x86", "swtpm")

CONTROL = "scenarios/test_control.py::test_control_unlocks_with_nothing_typed"
WORK: Mapping[str, Sequence[str]] = {
    "boot": ("pytest", "-q", "-p", "no:cacheprovider", CONTROL),
    "two boots": ("pytest", "-q", "-n", "2", "-p", "no:cacheprovider", CONTROL, "scenarios/test_tang.py", "-k", "down"),
    "matrix": ("unlock-lab", "matrix", "--machine", "headless", "--only", "present"),
    "installation": ("pytest", "-q", "-p", "no:cacheprovider", "scenarios/test_recovery.py", "-k", "wrong_passphrase"),
}
"""What is broken, as commands of the virtual environment."""

LONGEST_WAIT: Mapping[str, float] = {"boot": 60, "two boots": 90, "matrix": 60, "installation": 120}
"""Seconds after which it is hit at the latest."""


@dataclass(frozen=True)
class Hit:
    """One blow.

    Attributes:
        work: What was going on, of `WORK`.
        target: What was hit.
        how: The signal, or what was done.
        after: Seconds from the start.
    """

    work: str
    target: str
    how: str
    after: float

    @property
    def kind(self) -> str:
        """For the count."""
        return f"{self.how} to {self.target}" if self.how.startswith("SIG") else self.how


def draw(rng: random.Random) -> Hit:
    """Choose a blow."""
    work = rng.choice(sorted(WORK))
    target = rng.choice(["pytest", "pytest", "a worker", "libvirtd", "QEMU", "swtpm", "dockerd", "disk", "clock"])
    how = {"disk": "disk full", "clock": "clock jumps"}.get(target) or rng.choice(["SIGKILL", "SIGTERM", "SIGINT"])
    return Hit(work, target, how, rng.uniform(0.5, LONGEST_WAIT[work]))


def processes() -> Iterator[tuple[int, int, list[str]]]:
    """Every process: its number, its parent's, its words."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                yield int(entry.name), parent, words


def descendants(of: int) -> list[tuple[int, list[str]]]:
    """The processes below one."""
    found, below = [], {of}
    for _ in range(8):
        for pid, parent, words in processes():
            if parent in below and pid not in below:
                below.add(pid)
                found.append((pid, words))
    return found


def targets(hit: Hit, work: "subprocess.Popen[bytes]", run_folder: Path) -> list[int]:
    """The processes that a blow may fall on, of those that belong to this run."""
    if hit.target == "pytest":
        return [work.pid]
    if hit.target == "a worker":
        return [pid for pid, words in descendants(work.pid) if "python" in words[0] and "exec(eval" in " ".join(words)]
    if hit.target == "dockerd":
        return [int(pid) for pid in (Path("/run/docker.pid").read_text().strip(),)]
    name = {"libvirtd": "libvirtd", "QEMU": "qemu-system-x86", "swtpm": "swtpm"}[hit.target]
    return [
        pid
        for pid, _, words in processes()
        if name in Path(words[0]).name and (hit.target == "libvirtd" or str(run_folder) in " ".join(words))
    ]


def strike(hit: Hit, work: "subprocess.Popen[bytes]", run_folder: Path, clock: Path) -> bool:
    """Do it; says whether there was something to hit."""
    if hit.how == "disk full":
        return True  # it was made so from the start
    if hit.how == "clock jumps":
        clock.write_text("+86400")
        return True
    deadline = time.monotonic() + 20
    while not (found := targets(hit, work, run_folder)):
        if work.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    with suppress(ProcessLookupError):
        os.kill(found[0], signal.Signals[hit.how])
    return True


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system with hardly any room (root only)."""
    with tempfile.TemporaryDirectory(prefix="unlock-lab-chaos-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


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
    """Machines and TPMs of this run that are still on."""
    return [
        f"{pid} {' '.join(words)[:100]}"
        for pid, _, words in processes()
        if any(name in Path(words[0]).name for name in OURS) and str(run_folder) in " ".join(words)
    ]


def settled(run_folder: Path) -> list[str]:
    """What still runs when it should not."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := left_running(run_folder)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left


def lies(artifacts: Path, status: int) -> list[str]:
    """Verdicts that a run did not come to: what says `passed` although pytest did not end well."""
    found = []
    for path in artifacts.rglob("outcome.json"):
        with suppress(ValueError):
            if json.loads(path.read_text()).get("result") == "passed" and status not in (0, 1):
                found.append(f"{path.parent.name} says passed, and the run ended with status {status}")
    return found


def run_once(hit: Hit, folder: Path, environment: Mapping[str, str]) -> tuple[bool, list[str]]:
    """One blow: whether it fell, and what did not hold."""
    home, clock = bystander(folder), folder / "clock"
    before = digest(home)
    clock.write_text("+0")
    run_folder = Path(tempfile.mkdtemp(prefix="ulc", dir="/tmp"))
    run_folder.chmod(0o755)
    own = {**environment, "UNLOCK_LAB_RUN": str(run_folder), "HOME": str(home)}
    if hit.how == "clock jumps":
        own |= {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
        own |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    argv = [str(VENV / WORK[hit.work][0]), *WORK[hit.work][1:]]
    option = "--lab-artifacts" if argv[0].endswith("pytest") else "--artifacts"
    artifacts = folder / "artifacts"
    with ExitStack() as stack:
        if hit.how == "disk full":
            own["TMPDIR"] = str(stack.enter_context(small_disk("2m")))
        output = stack.enter_context((folder / "output").open("wb"))
        work = subprocess.Popen(
            [*argv, option, str(artifacts)],
            cwd=REPOSITORY,
            env=own,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
        with suppress(subprocess.TimeoutExpired):
            work.wait(hit.after)
        fell = work.poll() is None and strike(hit, work, run_folder, clock)
        try:
            status = work.wait(WORK_SECONDS)
        except subprocess.TimeoutExpired:
            work.kill()
            status = work.wait()
    wrong = [f"still runs: {each}" for each in settled(run_folder)]
    wrong += [] if digest(home) == before else ["the user's folder changed"]
    wrong += lies(artifacts, status)
    if hit.target == "dockerd":
        subprocess.run([VENV / "unlock-lab", "start"], cwd=REPOSITORY, env=environment, check=False)
    return fell, wrong


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
"""Debian's package libfaketime; without it the clock is left alone."""


def checked(environment: Mapping[str, str]) -> list[str]:
    """Whether the cache is whole and the next run works."""
    steps: tuple[Sequence[str], ...] = (("unlock-lab", "doctor", "--deep"), WORK["boot"])
    wrong = []
    for program, *arguments in steps:
        done = subprocess.run(
            [VENV / program, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, check=False
        )
        if done.returncode:
            end = done.stdout.decode(errors="replace")[-1500:]
            wrong.append(f"{program} {' '.join(arguments)} ended with status {done.returncode}: {end}")
    return wrong


def main() -> int:
    """Run the campaign; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hits", type=int, default=100, help="how many blows (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the random numbers")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no more after so many")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("run it as root: it kills daemons and mounts small disks")
    rng, started = random.Random(arguments.seed), time.monotonic()
    print(f"seed {arguments.seed}", flush=True)
    fell, missed = Counter[str](), Counter[str]()
    wrong: list[str] = []
    for number in range(1, arguments.hits + 1):
        if time.monotonic() - started > arguments.minutes * 60:
            break
        hit = draw(rng)
        if hit.how == "clock jumps" and not Path(FAKETIME).exists():
            missed["clock jumps (no libfaketime)"] += 1
            continue
        with tempfile.TemporaryDirectory(prefix="unlock-lab-chaos-") as folder:
            did, found = run_once(hit, Path(folder), os.environ)
        (fell if did else missed)[hit.kind] += 1
        wrong += [f"hit {number} ({hit.kind} during {hit.work} after {hit.after:.1f} s): {each}" for each in found]
        print(f"{number:>4} {'hit ' if did else 'miss'} {hit.work:<13} {hit.kind:<24} {'; '.join(found)}", flush=True)
        if number % CHECK_EVERY == 0:
            wrong += (found := checked(os.environ))
            print(*found, sep="\n", flush=True)
    wrong += checked(os.environ)
    print(f"\n{sum(fell.values())} hits, {sum(missed.values())} that met nothing, {time.monotonic() - started:.0f} s")
    for kind, count in sorted(fell.items()):
        print(f"{count:>5} {kind}")
    print(f"{len(wrong)} things that did not hold", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
