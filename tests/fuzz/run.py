"""Fuzz one target by coverage: ``python tests/fuzz/run.py TARGET SECONDS``; `make fuzz` runs all, one after the other.

What it finds new is kept in tests/fuzz/seeds/TARGET, and `make test` plays it from then on. An input that breaks the
target, or takes too long, is written there as ``crash-…``, ``timeout-…`` or ``oom-…``, and the status is not 0.
"""

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["harness"]):
    from fuzz_targets import SECONDS, TARGETS

SEEDS = Path(__file__).parent / "seeds"


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
        f"-timeout={SECONDS:.0f}",
        "-max_len=65536",
        f"-artifact_prefix={seeds}/",
        "-print_final_stats=1",
        f"{seeds}",
    ]
    atheris.Setup([sys.argv[0], *options], TARGETS[arguments.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
