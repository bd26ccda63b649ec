"""What the fuzzers were started from and what they found, played again; and a little of the same by Hypothesis."""

import time
from pathlib import Path

import fuzz_targets
import pytest
from fuzz_targets import SECONDS, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.guest.outcome import Outcome, Unlock

SEEDS = Path(__file__).parent / "seeds"


@pytest.mark.parametrize("target", TARGETS)
def test_no_seed_breaks_a_target_or_keeps_it_long(target: str) -> None:
    seeds = sorted((SEEDS / target).iterdir())
    assert seeds, "every target has something to start from"
    for seed in seeds:
        started = time.process_time()
        TARGETS[target](seed.read_bytes())
        assert time.process_time() - started < SECONDS, seed


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_at_all_break_a_target(target: str) -> None:
    TARGETS[target](b"")


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_break_a_target(target: str) -> None:
    @settings(max_examples=25)
    @given(data=st.binary(max_size=2000))
    def run(data: bytes) -> None:
        TARGETS[target](data)

    run()


@pytest.mark.parametrize("broken", ["parse_luks_header", "parse_luks_dump"])
def test_the_luks_target_reads_what_lies_behind_a_checksum(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    reads, seen = getattr(fuzz_targets, broken), []
    monkeypatch.setattr(fuzz_targets, broken, lambda data: seen.append(reads(data)))
    TARGETS["luks_header"]((SEEDS / "luks_header" / "metadata").read_bytes())
    assert seen, "the metadata came through"


def test_the_console_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a judge that believes what it sees, a real boot's console alone is a false auto-unlock."""
    monkeypatch.setattr(fuzz_targets, "judge", lambda *_: Outcome(Unlock.AUTO, "it looks open"))
    with pytest.raises(AssertionError, match="false auto-unlock"):
        TARGETS["console"](b"\x80anything")
