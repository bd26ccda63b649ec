"""Try mutants in one session of pytest: each in a fork of the process that has collected the tests.

A plugin: ``MUTANTS=names.json OUTCOMES=outcomes.json pytest -s -p mutation.trial …``. All tests run once first, as they
are: that must pass, and tells which of them call which function. Then each mutant is switched on in a process of its
own (mutmut's trampolines ask for its name at each call), which runs those tests, the fastest first, until one fails.
A mutant of a function that is called while modules are imported, as what builds a table is, comes too late in a fork:
where no test fails there, a new session of pytest runs all tests with it.
"""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from _pytest.runner import runtestprotocol
from mutation.mutants import Fate, function_of
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

CPU_SECONDS, TIMES = 5.0, 20.0
"""Of the processor, that a mutant's tests may take at the least, and beyond: so many times what they take as it is."""
WALL_SECONDS = 30.0
"""The same of the wall's clock: a test may wait for what never comes."""
IMPORT_SECONDS = 600.0
"""What a session of its own may take."""
MEMORY = 4 << 30
"""Bytes of address space."""

FROM_THE_START = os.environ.get("FROM_THE_START", "")
"""The mutant that this whole session is about."""
set_mutant_under_test(FROM_THE_START or "stats")


class _Took(NamedTuple):
    """Seconds that a test took, on the wall's clock and of the processor."""

    wall: float
    processor: float


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Instead of running the tests once."""
    if FROM_THE_START:
        return None
    at_import = frozenset(state()._stats)
    took: dict[pytest.Item, _Took] = {}
    callers: dict[str, list[pytest.Item]] = {}
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        state()._stats.clear()
        before = time.process_time(), time.monotonic()
        if said := _failure(item, following):
            pytest.exit(f"{item.nodeid} fails on the code as it is: {said}", returncode=1)
        took[item] = _Took(time.monotonic() - before[1], time.process_time() - before[0])
        for function in state()._stats:
            callers.setdefault(function, []).append(item)
    gc.freeze()  # or each fork copies all of them at its first collection
    arguments = session.config.invocation_params.args
    noticed = _tried({"fail": took})["fail"], _try_from_the_start("fail", arguments) if at_import else Fate.SURVIVED
    if Fate.KILLED not in noticed:
        pytest.exit("no test fails although every function does", returncode=1)
    names: list[str] = json.loads(Path(os.environ["MUTANTS"]).read_text())
    calling = {name: sorted(callers.get(function_of(name), []), key=took.__getitem__) for name in names}
    outcomes = _tried({name: {item: took[item] for item in items} for name, items in calling.items() if items})
    for name in names:
        if outcomes.setdefault(name, Fate.SURVIVED) is Fate.SURVIVED and function_of(name) in at_import:
            outcomes[name] = _try_from_the_start(name, arguments)
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(outcomes))
    return True


def _passes(item: pytest.Item, following: pytest.Item | None, usual: float) -> bool:
    """Whether a test passes; the process is ended where it takes far longer than the seconds that are usual."""
    signal.alarm(int(WALL_SECONDS + TIMES * usual))
    return not _failure(item, following)


def _failure(item: pytest.Item, following: pytest.Item | None) -> str:
    """What a test says when it fails; "" if it passes."""
    reports = runtestprotocol(item, log=False, nextitem=following)
    return next((report.longreprtext or "it fails" for report in reports if report.failed), "")


def _tried(mutants: Mapping[str, Mapping[pytest.Item, _Took]]) -> dict[str, Fate]:
    """What becomes of mutants under these tests of each, as many at once as there are processors."""
    outcomes: dict[str, Fate] = {}
    running: dict[int, str] = {}
    waiting = list(mutants.items())
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            name, took = waiting.pop(0)
            running[_begun(name, took)] = name
        pid, ended = os.wait()
        if pid in running:  # and no process that a test left behind
            outcomes[running.pop(pid)] = _fate(ended)
    return outcomes


def _begun(name: str, took: Mapping[pytest.Item, _Took]) -> int:
    """The number of a process that tries one mutant."""
    pid = os.fork()
    if not pid:
        status = 2
        try:
            seconds = int(CPU_SECONDS + TIMES * sum(each.processor for each in took.values()))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            gc.disable()
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            set_mutant_under_test(name)
            following = [*list(took)[1:], None]
            passed = (_passes(item, after, took[item].wall) for item, after in zip(took, following, strict=True))
            status = 0 if all(passed) else 1
        finally:
            os._exit(status)
    return pid


def _fate(ended: int) -> Fate:
    if os.WIFSIGNALED(ended):
        return Fate.TIMED_OUT if os.WTERMSIG(ended) in (signal.SIGXCPU, signal.SIGALRM) else Fate.UNCLEAR
    return {0: Fate.SURVIVED, 1: Fate.KILLED}.get(os.WEXITSTATUS(ended), Fate.UNCLEAR)


def _try_from_the_start(name: str, arguments: Sequence[str | os.PathLike[str]]) -> Fate:
    """What becomes of one mutant that is there before anything is imported."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments, "-x"],
            env={**os.environ, "FROM_THE_START": name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=IMPORT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Fate.TIMED_OUT
    return Fate.KILLED if done.returncode else Fate.SURVIVED
