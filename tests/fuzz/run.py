"""Fuzz one target by coverage: ``python tests/fuzz/run.py TARGET SECONDS``; `make fuzz` runs all, one after the other.

What reaches something that no other seed does is kept in tests/fuzz/seeds/TARGET, and `make test` plays it from then
on. An input that breaks the target, or takes more than `fuzz_targets.SECONDS` of the processor, is written there as
``crash-…``, ``timeout-…`` or ``oom-…``, and the status is not 0.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from forged_boots import LINES

SEEDS = Path(__file__).parent / "seeds"
HANG_SECONDS = 120
"""By the wall clock, which other work on the host can stretch: after so many an input is taken for one without end."""

LENGTH = 8192
LENGTHS = {
    **{"console": 4096, "forged_boot": 400, "luks_header": 32768, "collected": 16384},
    **{"quote": 1024, "tpm_key": 1024},
}
"""Bytes of an input at the most. What is longer takes long and reaches nothing new; that no reader hangs on it is for
tests of their own, such as tests/guest/test_hostile_lines.py."""

_LONGEST_WORD = 64
"""Of a dictionary of libFuzzer."""


def dictionary() -> Iterator[str]:
    """What a guest says, in pieces that libFuzzer takes: one quoted word a line."""
    for line in LINES:
        for part in line.format(volume="var", pid=1).partition("]: "):
            word = "".join(f"\\x{byte:02x}" for byte in part.encode()[:_LONGEST_WORD])
            yield f'"{word}"\n' if word else ""


def fuzz(target: str, seconds: int) -> int:
    """Fuzz, then keep what is worth keeping; returns the status of the fuzzer."""
    fuzzer, seeds = [sys.executable, str(Path(__file__).with_name("fuzzer.py")), target], SEEDS / target
    with tempfile.TemporaryDirectory(prefix="unlock-lab-fuzz-") as name:
        found, words = Path(name, "found"), Path(name, "words")
        found.mkdir()
        words.write_text("".join(dictionary()))
        options = [
            f"-max_total_time={seconds}",
            f"-timeout={HANG_SECONDS}",
            f"-report_slow_units={HANG_SECONDS}",
            f"-max_len={LENGTHS.get(target, LENGTH)}",
            f"-artifact_prefix={seeds}/",
            "-print_final_stats=1",
            *([f"-dict={words}"] if target == "console" else []),
        ]
        status = subprocess.run([*fuzzer, *options, found, seeds], check=False).returncode
        return subprocess.run([*fuzzer, "-merge=1", seeds, found], check=False).returncode or status


def main() -> None:
    """Run the fuzzer; the status is its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(path.name for path in SEEDS.iterdir()))
    parser.add_argument("seconds", type=int)
    arguments = parser.parse_args()
    sys.exit(fuzz(arguments.target, arguments.seconds))


if __name__ == "__main__":
    main()
