"""Change the code in small ways, one at a time, and see that a test notices: ``python tests/mutation/run.py [WORD …]``.

`make mutants` runs it, and `make slow`. ``modules.yaml`` says which modules, each with the fast tests that hold it;
WORDs choose those whose path contains one; with ``--again`` only the survivors of the last run are tried, and what has
changed since. A mutant that no test and not mypy notices has to be in ``survivors.yaml``, with the reason why; the
status is 1 if one is not, or if one is listed that does not survive.

What mutmut leaves alone: code outside functions, as tables are, and the arguments of ``len`` and ``isinstance``.
What it wrote stays in ``artifacts/mutation``.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from mutation.mutants import (
    SURVIVED,
    Mutant,
    Tally,
    outdated,
    read_accepted,
    read_tally,
    table,
    unaccepted,
    undecorated,
    with_mutant,
)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / "artifacts" / "mutation"
LINKED = ("tests", "scenarios", "images", "docs", "conftest.py", "README.md", "CONTRIBUTING.md", "Makefile")
HOURS = 2
"""After which a group of modules is given up."""


def main() -> int:
    """Try the mutants; returns the status to exit with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only modules whose path contains one of them")
    parser.add_argument("--again", action="store_true", help="go on from the last run: survivors, and what changed")
    arguments = parser.parse_args()
    words = arguments.words
    tallies: list[Tally] = []
    for number, group in enumerate(yaml.safe_load((HERE / "modules.yaml").read_text())):
        modules = [module for module in group["modules"] if not words or any(word in module for word in words)]
        if modules:
            print(f"== {' '.join(modules)}", flush=True)
            tried = try_mutants(WORK / str(number), modules, group["tests"], again=arguments.again)
            tallies += without_what_types_refuse(tried)
    accepted = read_accepted(yaml.safe_load((HERE / "survivors.yaml").read_text()) or {})
    new, old = unaccepted(tallies, accepted), outdated(tallies, accepted)
    unclear = [tally for tally in tallies if tally.unclear]
    for mutant in new:
        print(f"SURVIVED, and survivors.yaml gives no reason: {mutant}")
    for one in old:
        print(f"LISTED in survivors.yaml, and it does not survive: {one.module}: {one.function}\n  - {one.line}")
    for tally in unclear:
        print(f"NO VERDICT: {tally.module}: mutmut's workers ended with {tally.unclear}")
    print(table(tallies, accepted))
    return 1 if new or old or unclear or not tallies else 0


def try_mutants(work: Path, modules: Sequence[str], tests: Sequence[str], *, again: bool) -> list[Tally]:
    """Let mutmut try the mutants of some modules, against some tests, in a folder of their own."""
    if work.exists() and not again:
        shutil.rmtree(work)
    before = survivors(work, modules)
    (work / "harness").mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "harness").rglob("*"):
        there = work / path.relative_to(ROOT)
        if path.is_dir():
            there.mkdir(exist_ok=True)
            continue
        is_mutated = str(path.relative_to(ROOT)) in modules
        contents = undecorated(path.read_text()).encode() if is_mutated else path.read_bytes()
        if not there.exists() or there.read_bytes() != contents:
            there.write_bytes(contents)
    for name in LINKED:
        if not (work / name).is_symlink():
            (work / name).symlink_to(ROOT / name)
    (work / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings(modules, tests))
    mutmut(work)
    if still := sorted(before & survivors(work, modules)):
        mutmut(work, *still)
    files = [(module, work / "mutants" / module) for module in modules]
    return [
        read_tally(module, Path(f"{path}.meta").read_text(), Path(f"{path}.spans").read_text(), path.read_text())
        for module, path in files
    ]


def survivors(work: Path, modules: Sequence[str]) -> set[str]:
    """mutmut's names of the mutants that survived the last run."""
    metas = [Path(f"{work / 'mutants' / module}.meta") for module in modules]
    exits = [json.loads(meta.read_text())["exit_code_by_key"] for meta in metas if meta.exists()]
    return {name for codes in exits for name, code in codes.items() if code in SURVIVED}


def mutmut(work: Path, *mutants: str) -> None:
    """Run it in a folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "1", *mutants]
    with (work / "mutmut.log").open("w") as log:
        done = subprocess.run(
            command, cwd=work, env=environment, stdout=log, stderr=log, timeout=HOURS * 3600, check=False
        )
    if done.returncode:
        sys.exit(f"mutmut ended with {done.returncode}; it said:\n{(work / 'mutmut.log').read_text()[-4000:]}")


def settings(modules: Sequence[str], tests: Sequence[str]) -> str:
    """What mutmut reads of pyproject.toml (a JSON list of strings is a TOML one)."""
    values: dict[str, object] = {
        "source_paths": ["harness"],
        "only_mutate": list(modules),
        "also_copy": list(LINKED),
        "pytest_add_cli_args": [
            "-p",
            "no:cacheprovider",
            "-p",
            "no:unraisableexception",
            "--hypothesis-seed=0",
            "-m",
            "not real and not slow",
        ],
        "pytest_add_cli_args_test_selection": list(tests),
        # Seconds of wall clock, times 15, for what takes no time by itself: a busy host is no endless loop.
        "timeout_constant": 4.0,
        "use_setproctitle": False,
        "use_git_change_detection": False,
    }
    return "\n[tool.mutmut]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def without_what_types_refuse(tallies: Iterable[Tally]) -> list[Tally]:
    """Leave out survivors that mypy refuses: `make types` notices them.

    Each is checked as a copy of its module, all at once; an unchanged copy is the control.
    """
    tallies = list(tallies)
    folder = WORK / "types"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    named: dict[str, Mutant] = {}
    for index, tally in enumerate(tallies):
        source = (ROOT / tally.module).read_text()
        (folder / f"control_{index}.py").write_text(source)
        for number, mutant in enumerate(tally.survivors):
            named[f"mutant_{index}_{number}.py"] = mutant
            (folder / f"mutant_{index}_{number}.py").write_text(with_mutant(source, mutant))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            str(ROOT / "pyproject.toml"),
            *sorted(path.name for path in folder.iterdir()),
        ],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    refused = set(re.findall(r"^(\w+\.py):\d+: error:", done.stdout, re.MULTILINE))
    if done.returncode not in (0, 1) or any(name.startswith("control_") for name in refused):
        sys.exit(f"mypy has something to say about unchanged code:\n{done.stdout[-4000:]}{done.stderr}")
    noticed = {id(named[name]) for name in refused if name in named}
    kept = [tuple(mutant for mutant in tally.survivors if id(mutant) not in noticed) for tally in tallies]
    return [
        replace(tally, survivors=left, by_types=len(tally.survivors) - len(left))
        for tally, left in zip(tallies, kept, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
