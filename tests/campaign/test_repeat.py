"""Runs of one scenario counted, and intervals against published values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.repeat import base, interval, lines, run_id, tallies


def document(test: str, result: str = "passed", *unlocks: str) -> dict[str, object]:
    return {"test": test, "result": result, "boots": [{"unlock": unlock} for unlock in unlocks]}


def test_the_number_of_a_run_is_taken_off() -> None:
    assert base(f"a.py::test_a[{run_id(3)}]") == "a.py::test_a"
    assert base(f"a.py::test_a[tang-{run_id(12)}]@machine") == "a.py::test_a[tang]@machine"
    assert base("a.py::test_a[rerun-3-x]") == "a.py::test_a[rerun-3-x]"


def test_outcomes_are_counted_and_errors_of_the_rig_apart() -> None:
    (tally,) = tallies(
        [
            document("a::b[run-1]", "passed", "auto-unlock"),
            document("a::b[run-2]", "passed", "auto-unlock"),
            document("a::b[run-3]", "failed", "locked"),
            document("a::b[run-4]", "error", "auto-unlock"),
            document("a::once", "passed", "auto-unlock"),
        ]
    )
    assert (tally.test, tally.passed, tally.judged, tally.rig_errors) == ("a::b", 2, 3, 1)
    assert tally.outcomes == {"auto-unlock": 2, "locked": 1}
    assert lines(tally) == [
        "a::b",
        "  passed 2 of 3 (21 % to 94 %), and 1 without a verdict",
        "  2 × auto-unlock",
        "  1 × locked",
    ]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    assert interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_nothing_tried_says_nothing() -> None:
    assert interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_the_rate_lies_in_its_interval(case: tuple[int, int]) -> None:
    successes, trials = case
    low, high = interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1
