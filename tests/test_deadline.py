"""Deadlines, by a clock that the test sets."""

from harness.deadline import Deadline


def test_a_deadline_is_over_when_its_clock_says_so() -> None:
    now = [100.0]
    deadline = Deadline.after(5.0, lambda: now[0])
    assert (deadline.remaining, deadline.over) == (5.0, False)
    now[0] = 104.0
    assert (deadline.remaining, deadline.over) == (1.0, False)
    now[0] = 105.0
    assert (deadline.remaining, deadline.over) == (0.0, True)
    now[0] = 200.0
    assert deadline.remaining == 0.0


def test_a_deadline_on_the_wall_s_clock_ends_by_itself() -> None:
    assert Deadline.after(0.0).over
    assert not Deadline.after(60.0).over
