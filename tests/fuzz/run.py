"""Fuzz one target by coverage: ``python tests/fuzz/run.py TARGET SECONDS``; `make fuzz` runs all, one after the other.

What it finds new is kept in tests/fuzz/seeds/TARGET, and `make test` plays it from then on. An input that breaks the
target, or takes more than `SECONDS` of the processor, is written there as ``crash-…``, ``timeout-…`` or ``oom-…``, and
the status is not 0. An input that is slower than all before it is told.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["harness"]):
    from fuzz_targets import SECONDS, TARGETS

SEEDS = Path(__file__).parent / "seeds"
HANG_SECONDS = 120
"""By the wall clock, which other work on the host can stretch: after so many an input is taken for one without end."""


class Timed:
    """A target that takes too long when it takes more than `SECONDS` of the processor."""

    def __init__(self, target: Callable[[bytes], None]) -> None:
        self._target = target
        self._slowest = 0.1

    def __call__(self, data: bytes) -> None:
        started = time.process_time()
        self._target(data)
        took = time.process_time() - started
        if took > self._slowest:
            self._slowest = took
            print(f"slowest so far: {took:.2f} s for {len(data)} bytes", flush=True)
        assert took <= SECONDS, f"{len(data)} bytes took {took:.1f} s"


def main() -> None:
    """Run the fuzzer; it ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("seconds", type=int)
    arguments = parser.parse_args()
    seeds = SEEDS / arguments.target
    seeds.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-timeout={HANG_SECONDS}",
        f"-report_slow_units={HANG_SECONDS}",
        "-max_len=65536",
        f"-artifact_prefix={seeds}/",
        "-print_final_stats=1",
        f"{seeds}",
    ]
    atheris.Setup([sys.argv[0], *options], Timed(TARGETS[arguments.target]))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
