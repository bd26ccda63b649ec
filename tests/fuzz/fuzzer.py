"""The fuzzer of one target, with options of libFuzzer: a process that `run` starts, and that starts itself to merge.

An input that is slower than all before it is told, and how many a second of the processor there were: libFuzzer counts
by the wall clock, so by what else the host does.
"""

import sys
import time
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["harness"]):
    from fuzz_targets import SECONDS, TARGETS


class Timed:
    """A target that takes too long when it takes more than `SECONDS` of the processor."""

    def __init__(self, target: Callable[[bytes], None]) -> None:
        self._target = target
        self._slowest = 0.1
        self._runs = 0
        self._began = time.process_time()

    def __call__(self, data: bytes) -> None:
        started = time.process_time()
        self._runs += 1
        if self._runs % 64 == 0 and self._runs.bit_count() == 1:
            rate = self._runs / (started - self._began)
            print(f"{self._runs} executions, {rate:.0f} in each second of the processor", flush=True)
        self._target(data)
        took = time.process_time() - started
        if took > self._slowest:
            self._slowest = took
            print(f"slowest so far: {took:.2f} s for {len(data)} bytes", flush=True)
        assert took <= SECONDS, f"{len(data)} bytes took {took:.1f} s"


def main() -> None:
    """Fuzz; it ends the process."""
    target, *options = sys.argv[1:]
    # libFuzzer starts its first argument anew to merge.
    atheris.Setup([f"{sys.executable} {__file__} {target}", *options], Timed(TARGETS[target]))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
