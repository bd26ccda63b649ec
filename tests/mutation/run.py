"""Change the code in small ways, one at a time, and see that a test notices: ``python tests/mutation/run.py [WORD …]``.

`make mutants` runs it, and `make slow`. ``modules.yaml`` says which modules, each with the fast tests that hold it;
WORDs choose those whose path contains one. A mutant that no test and not mypy notices has to be in ``survivors.yaml``,
with the reason why; the status is 1 if one is not, or if one is listed that does not survive.

mutmut makes the mutants (`mutate_file_contents`), `mutation.trial` tries them. What mutmut leaves alone: code outside
functions, as tables are, and the arguments of ``len`` and ``isinstance``. What is made stays in ``artifacts/mutation``.
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
    Fate,
    Mutant,
    Tally,
    outdated,
    read_accepted,
    table,
    tally_of,
    unaccepted,
    undecorated,
    with_mutant,
)
from mutmut.mutation.file_mutation import mutate_file_contents

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / "artifacts" / "mutation"
LINKED = ("tests", "scenarios", "images", "docs", "conftest.py", "pyproject.toml")
OPTIONS = (
    *("-q", "-s", "-p", "mutation.trial", "-p", "no:cacheprovider", "-p", "no:unraisableexception"),
    *("--assert=plain", "--tb=native", "--hypothesis-seed=0", "-m", "not real and not slow"),
    *("-W", "error::pytest.PytestUnhandledThreadExceptionWarning"),
)
HOURS = 2
"""After which a group of modules is given up."""


def main() -> int:
    """Try the mutants; returns the status to exit with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only modules whose path contains one of them")
    words = parser.parse_args().words
    os.chdir(ROOT)  # mutmut looks for its settings in pyproject.toml there, though none matters here
    tallies: list[Tally] = []
    for number, group in enumerate(yaml.safe_load((HERE / "modules.yaml").read_text())):
        modules = [module for module in group["modules"] if not words or any(word in module for word in words)]
        if modules:
            print(f"== {' '.join(modules)}", flush=True)
            tallies += try_mutants(WORK / str(number), modules, group["tests"])
    tallies = without_what_types_refuse(tallies)
    accepted = read_accepted(yaml.safe_load((HERE / "survivors.yaml").read_text()) or {})
    new, old = unaccepted(tallies, accepted), outdated(tallies, accepted)
    unclear = [tally.module for tally in tallies if tally.fates.get(Fate.UNCLEAR)]
    for mutant in new:
        print(f"SURVIVED, and survivors.yaml gives no reason: {mutant}")
    for one in old:
        print(f"LISTED in survivors.yaml, and it does not survive: {one.module}: {one.function}\n  - {one.line}")
    for module in unclear:
        print(f"NO VERDICT: {module}: there are mutants under which the tests crashed")
    print(table(tallies, accepted))
    return 1 if new or old or unclear or not tallies else 0


def try_mutants(work: Path, modules: Sequence[str], tests: Sequence[str]) -> list[Tally]:
    """Make all mutants of some modules, and try them against some tests, in a folder of their own."""
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    shutil.copytree(ROOT / "harness", work / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    for name in LINKED:
        (work / name).symlink_to(ROOT / name)
    made = {module: mutate_file_contents(module, undecorated((ROOT / module).read_text())) for module in modules}
    for module, mutated in made.items():
        (work / module).write_text(mutated.code)
    names = {module: [f"{_dotted(module)}.{name}" for name in mutated.mutant_names] for module, mutated in made.items()}
    (work / "mutants.json").write_text(json.dumps([name for each in names.values() for name in each]))
    outcomes = work / "outcomes.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, *tests],
        cwd=work,
        env={
            **os.environ,
            "PYTHONPATH": f"{work}:{work / 'tests'}",
            "MUTANTS": str(work / "mutants.json"),
            "OUTCOMES": str(outcomes),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=HOURS * 3600,
    )
    if not outcomes.exists():
        sys.exit(f"no mutant was tried; pytest said:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    found = json.loads(outcomes.read_text())
    return [
        tally_of(
            module,
            mutated.code,
            {name: (span.start, span.end) for name, span in mutated.line_span_by_function_name.items()},
            {name: Fate(found[f"{_dotted(module)}.{name}"]) for name in mutated.mutant_names},
        )
        for module, mutated in made.items()
    ]


def _dotted(module: str) -> str:
    return module.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def without_what_types_refuse(tallies: Iterable[Tally]) -> list[Tally]:
    """Leave out survivors that mypy refuses: `make types` notices them.

    Each is checked as a copy of its module, all at once; an unchanged copy is the control.
    """
    tallies = list(tallies)
    if not any(tally.survivors for tally in tallies):
        return tallies
    folder = WORK / "types"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    named: dict[str, Mutant] = {}
    for index, tally in enumerate(tally for tally in tallies if tally.survivors):
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
            f"--config-file={ROOT / 'pyproject.toml'}",
            f"--cache-dir={WORK / 'mypy'}",
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
