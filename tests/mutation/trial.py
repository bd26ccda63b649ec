"""Try mutants in one session of pytest: each in a fork of the process that has collected the tests.

A plugin: ``MUTANTS=names.json OUTCOMES=outcomes.json pytest -s -p mutation.trial …``. All tests run once first, as they
are: that must pass, and tells which of them call which function. Then each mutant is switched on in a process of its
own (mutmut's trampolines ask for its name at each call), which runs those tests, the fastest first, until one fails.
"""

import gc
import json
import os
import resource
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from mutation.mutants import Fate, function_of
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

CPU_SECONDS, TIMES = 5.0, 20.0
"""Of the processor, that a mutant's tests may take at the least, and beyond: so many times what they take as it is."""
WALL_SECONDS = 1800
MEMORY = 4 << 30
"""Bytes of address space."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Instead of running the tests once."""
    set_mutant_under_test("stats")
    took: dict[pytest.Item, float] = {}
    callers: dict[str, list[pytest.Item]] = {}
    for item, following in zip(session.items, [*session.items[1:], None], strict=True):
        state()._stats.clear()
        started = time.process_time()
        if said := _failure(item, following):
            pytest.exit(f"{item.nodeid} fails on the code as it is: {said}", returncode=1)
        took[item] = time.process_time() - started
        for function in state()._stats:
            callers.setdefault(function, []).append(item)
    gc.freeze()  # or each fork copies all of them at its first collection
    if _try("fail", session.items, sum(took.values())) is not Fate.KILLED:
        pytest.exit("no test fails although every function does", returncode=1)
    outcomes = {}
    for name in json.loads(Path(os.environ["MUTANTS"]).read_text()):
        items = sorted(callers.get(function_of(name), []), key=took.__getitem__)
        outcomes[name] = _try(name, items, sum(took[item] for item in items)) if items else Fate.SURVIVED
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(outcomes))
    return True


def _failure(item: pytest.Item, following: pytest.Item | None) -> str:
    """What a test says when it fails; "" if it passes."""
    reports = runtestprotocol(item, log=False, nextitem=following)
    return next((report.longreprtext or "it fails" for report in reports if report.failed), "")


def _try(name: str, items: Sequence[pytest.Item], usual: float) -> Fate:
    """What becomes of one mutant, in a process of its own."""
    pid = os.fork()
    if not pid:
        status = 2
        try:
            seconds = int(CPU_SECONDS + TIMES * usual)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            signal.alarm(WALL_SECONDS)
            gc.disable()
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            set_mutant_under_test(name)
            following = [*items[1:], None]
            status = 0 if all(not _failure(item, after) for item, after in zip(items, following, strict=True)) else 1
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    if os.WIFSIGNALED(ended):
        return Fate.TIMED_OUT if os.WTERMSIG(ended) == signal.SIGXCPU else Fate.UNCLEAR
    return {0: Fate.SURVIVED, 1: Fate.KILLED}.get(os.WEXITSTATUS(ended), Fate.UNCLEAR)
