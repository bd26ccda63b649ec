"""Break the laboratory at random points, again and again, and look whether it leaves anything behind: `make chaos`.

A hit starts a piece of work (a boot, two, an installation, a column of the truth table, the build of an image, a policy
tried without a machine), waits a random while, and does one thing to it: SIGKILL, SIGTERM or SIGINT to pytest, a worker
of it, libvirtd, QEMU, swtpm, a container, any other process of it, or the Docker daemon; a disk that is full, a clock
that jumps. Then it holds that (`aftermath`)

- nothing of the run still runs, and no copy of a disk or a TPM lies about,
- nothing of the user's changed: a folder beside the run's is as it was, to the byte,
- no entry of the cache is harmed or half-written (`unlock-lab doctor --deep`),
- no verdict lies: none is ``failed``, ``passed`` only where pytest says so, too, and no tool differs from the rules,
- what was wrong is told: no traceback of ours,

and, every ``--check-every`` hits and at the end, that the next run works. It counts by kind and prints the table; the
status is 1 when anything did not hold. The seed of the random numbers is printed: ``--seed`` repeats the hits.

A blow falls on its own run alone (`blow`), so other work on the host goes on; not so with the Docker daemon, which
``--without dockerd`` spares, as it does kinds of work: ``--without matrix``.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from aftermath import bystander, digest, half_written, left_behind, lies, tried_otherwise
from blow import MADE_ANEW, WORK, Hit, await_moment, draw, strike

from harness.ownership import MARK
from harness.paths import cache_dir

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = Path(sys.executable).parent
WORK_SECONDS = 1800.0
CLOCK = Path(__file__).with_name("clock.c")
"""What a process looks at the clock through, so that it can jump for it alone."""


SMALL_MIB = 400
"""The size of a disk that is to be full: what a run needs to begin with, and some more."""

JUMP_SECONDS = 86400


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own in a folder (root only)."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MIB}m,mode=755", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def compiled(source: Path, folder: Path) -> Path:
    """A library made of a file of C."""
    library = folder / f"{source.stem}.so"
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def fill(folder: Path) -> None:
    """Leave no room on a disk."""
    with suppress(OSError), (folder / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def cache_without(kinds: frozenset[str], folder: Path) -> Path:
    """A cache with links to the entries of the usual one, but for some kinds; what is made anew stays in it."""
    folder.mkdir()
    (folder / MARK).touch()
    for kind in sorted(set(cache_dir().iterdir()) - {cache_dir() / kind for kind in kinds}):
        if kind.is_dir() and not kind.name.startswith("."):
            (folder / kind.name).mkdir(mode=0o755)
            (folder / kind.name / MARK).touch()
            for entry in kind.glob("[!.]*"):
                (folder / kind.name / entry.name).symlink_to(entry)
    return folder


def run_once(hit: Hit, folder: Path, run_folder: Path, environment: Mapping[str, str]) -> tuple[bool, list[str]]:
    """One blow: whether it fell, and what did not hold."""
    home, clock, temporary, artifacts = bystander(folder), folder / "clock", folder / "tmp", folder / "artifacts"
    before = digest(home)
    clock.write_text("0")
    temporary.mkdir()
    cache = cache_without(MADE_ANEW[hit.work], folder / "cache") if hit.work in MADE_ANEW else cache_dir()
    own = {**environment, "UNLOCK_LAB_RUN": str(run_folder), "UNLOCK_LAB_CACHE": str(cache), "HOME": str(home)}
    own |= {"TMPDIR": str(temporary), "PYTHONPATH": str(REPOSITORY)}
    if hit.how == "clock jumps":
        own |= {"LD_PRELOAD": str(compiled(CLOCK, folder)), "CHAOS_CLOCK": str(clock)}
    program, *arguments = WORK[hit.work]
    option = {"pytest": ["--lab-artifacts", str(artifacts)], "matrix": ["--artifacts", str(artifacts)]}
    arguments += option.get(program, option.get(arguments[0], []))
    with ExitStack() as stack:
        if hit.how == "disk full":
            small = (temporary, run_folder, artifacts)[int(hit.which * 3)]
            stack.enter_context(small_disk(small))
        output = stack.enter_context((folder / "output").open("wb"))
        work = subprocess.Popen(
            [str(VENV / "python"), "-m", "harness" if program == "unlock-lab" else program, *arguments],
            cwd=REPOSITORY,
            env=own,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        fell = await_moment(hit, work, run_folder)
        if hit.how == "clock jumps":
            clock.write_text(str(JUMP_SECONDS))
        elif hit.how == "disk full":
            fill(small)
        else:
            fell = fell and strike(hit, work, run_folder)
        try:
            work.wait(WORK_SECONDS)
        except subprocess.TimeoutExpired:
            work.kill()
            work.wait()
        said = (folder / "output").read_text(errors="replace")
        wrong = left_behind(run_folder, temporary)
        wrong += tried_otherwise(said)
        wrong += lies(artifacts, said) if artifacts.exists() else []
    wrong += [] if digest(home) == before else ["the user's folder changed"]
    wrong += [f"half-written: {each}" for each in half_written(cache)]
    told = hit.how == "SIGINT" or "Traceback (most recent call last)" not in said
    wrong += [] if told else [f"a traceback: {said[-1500:]}"]
    if hit.target == "dockerd":
        subprocess.run([VENV / "unlock-lab", "start"], cwd=REPOSITORY, env=environment, check=False)
    return fell, wrong


def checked(environment: Mapping[str, str]) -> list[str]:
    """Whether the cache is whole and the next run works."""
    wrong = []
    for program, *arguments in (("harness", "doctor", "--deep"), WORK["boot"]):
        argv = [str(VENV / "python"), "-m", program, *arguments]
        done = subprocess.run(argv, cwd=REPOSITORY, env=environment, capture_output=True, check=False)
        if done.returncode:
            end = done.stdout.decode(errors="replace")[-1500:]
            wrong.append(f"{program} {' '.join(arguments)} ended with status {done.returncode}: {end}")
    return wrong


def main() -> int:
    """Run the campaign; returns the exit status."""
    arguments = _parser().parse_args()
    if os.geteuid() != 0:
        sys.exit("run it as root: it kills daemons and mounts small disks")
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's job in the background ignores it, and its heirs
    rng, started = random.Random(arguments.seed), time.monotonic()
    print(f"seed {arguments.seed}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    fell, missed = Counter[str](), Counter[str]()
    wrong: list[str] = []
    for number in range(1, arguments.hits + 1):
        if time.monotonic() - started > arguments.minutes * 60:
            break
        hit = draw(rng, arguments.without)
        did, found = _once(hit, environment, arguments.keep)
        (fell if did else missed)[hit.kind] += 1
        when = f"{hit.after:.0f} s after {'its first tool' if hit.at_work else 'its start'}"
        wrong += [f"hit {number} ({hit.kind} during {hit.work}, {when}): {each}" for each in found]
        took = f"{time.monotonic() - started:.0f}"
        line = f"{took:>5} {number:>4} {'hit ' if did else 'miss'} {hit.work:<13} {hit.kind:<24} {when}"
        print(f"{line}: {'; '.join(found)}", flush=True)
        if number % arguments.check_every == 0:
            wrong += (found := checked(environment))
            print(*found, sep="\n", flush=True)
    wrong += checked(environment)
    print(f"\n{fell.total()} hits, {missed.total()} that met nothing, {time.monotonic() - started:.0f} s")
    for kind, count in sorted(fell.items()):
        print(f"{count:>5} {kind}")
    print(f"{len(wrong)} things that did not hold", *wrong, sep="\n")
    return 1 if wrong else 0


def _once(hit: Hit, environment: Mapping[str, str], keep: Path | None) -> tuple[bool, list[str]]:
    """A blow in folders of its own, which are removed; what a hit left that was not right is kept on demand."""
    with tempfile.TemporaryDirectory(prefix="ulc-", dir="/tmp") as short, tempfile.TemporaryDirectory() as long:
        for folder in (short, long):
            Path(folder).chmod(0o755)
        did, found = run_once(hit, Path(long), Path(short), environment)
        if found and keep:
            shutil.copytree(long, keep / Path(long).name, symlinks=True, ignore=shutil.ignore_patterns("cache"))
    return did, found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hits", type=int, default=100, help="how many blows (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the random numbers")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no more after so many")
    parser.add_argument("--check-every", type=int, default=10, metavar="HITS", help="look at all (%(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder for what hits left after which something did not hold")
    out = "a kind of work, or a target: dockerd spares what others of the host need"
    parser.add_argument("--without", action="append", default=[], help=out)
    return parser


if __name__ == "__main__":
    sys.exit(main())
