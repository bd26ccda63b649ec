"""The order of scenarios, and who runs which, against small campaigns that can be computed by hand."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.schedule import (
    OWN_MACHINES,
    Costs,
    Job,
    Queue,
    by_machine,
    forecast,
    in_order,
    parse_shard,
    pick,
    shards,
)


def jobs(**machines: int) -> list[Job]:
    """So many scenarios of each machine."""
    return [Job(f"{machine}-{number}", machine) for machine, count in machines.items() for number in range(count)]


def costs(scenario: float = 10.0, **installations: float) -> Costs:
    return Costs(lambda _: scenario, lambda machine: installations.get(machine, 0.0))


def test_a_worker_stays_with_its_machine() -> None:
    waiting = jobs(a=1, b=2)
    assert pick(waiting, "b", begun={"a", "b"}, ready={"a"}) == waiting[1]


def test_a_worker_whose_machine_is_done_begins_a_new_one() -> None:
    waiting = jobs(a=3, c=1)
    assert pick(waiting, "b", begun={"a", "b"}, ready={"a", "b"}) == waiting[3]


def test_a_worker_helps_where_most_is_left_and_not_where_it_would_wait() -> None:
    waiting = jobs(a=1, b=3, c=9)
    assert pick(waiting, "d", begun={"a", "b", "c"}, ready={"a", "b"}) == waiting[1]
    assert pick(waiting, "d", begun={"a", "b", "c"}, ready=set()) == waiting[4], "better to wait than to stop"


def test_there_is_an_end() -> None:
    assert pick([], "a", begun={"a"}, ready={"a"}) is None


def test_two_workers_begin_two_machines() -> None:
    queue = Queue(jobs(a=2, b=2))
    first, second = queue.take(None), queue.take(None)
    assert (first, second) == (Job("a-0", "a"), Job("b-0", "b"))
    assert queue.take("a") == Job("a-1", "a")


@pytest.mark.parametrize(
    ("workers", "seconds"),
    [
        # One after the other: 100 + 4·10, then 50 + 2·10.
        (1, 210.0),
        # Side by side: b is done at 70, waits for a and shares what is left of it: 100 + 2·10.
        (2, 120.0),
        # A third has nothing to install, and waits for a as well: 100 + 2·10.
        (3, 120.0),
    ],
)
def test_a_forecast_can_be_reckoned_by_hand(workers: int, seconds: float) -> None:
    assert forecast(jobs(a=4, b=2), costs(a=100.0, b=50.0), workers) == seconds


def test_what_is_installed_is_not_waited_for() -> None:
    assert forecast(jobs(a=4), costs(), 2) == 20.0


def test_nothing_takes_no_time() -> None:
    assert forecast([], costs(), 2) == 0.0


def test_the_smallest_machine_comes_first_and_of_equals_the_one_with_most_to_do() -> None:
    order = in_order(jobs(rack=2, tang=1, both=3), {"rack": 9.0, "tang": 1.0, "both": 1.0})
    assert list(by_machine(order)) == ["both", "tang", "rack"]


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
    st.lists(st.floats(0, 300), min_size=8, max_size=8),
    st.integers(1, 4),
)
def test_every_scenario_is_in_one_shard_with_its_machine(counts: list[int], seconds: list[float], parts: int) -> None:
    everything = jobs(**{f"m{number}": count for number, count in enumerate(counts)})
    divided = shards(everything, costs(**{f"m{number}": each for number, each in enumerate(seconds)}), parts)
    assert len(divided) == parts
    assert sorted(job.test for part in divided for job in part) == sorted(job.test for job in everything)
    homes = [{job.machine for job in part} for part in divided]
    assert sum(map(len, homes)) == len(counts), "a machine is in two shards"


def test_scenarios_that_install_their_machines_themselves_are_in_any_shard_and_wait_for_none() -> None:
    own = [Job(f"own-{number}", OWN_MACHINES) for number in range(3)]
    divided = shards([*jobs(a=1), *own], costs(a=5.0), 4)
    assert sorted(map(len, divided)) == [1, 1, 1, 1]
    assert forecast([*jobs(a=1), *own], costs(a=50.0), 2) == 60.0


def test_shards_take_about_equally_long() -> None:
    everything = jobs(a=6, b=3, c=3, d=1)
    divided = shards(everything, costs(), 2)
    assert sorted(len(part) for part in divided) == [6, 7]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 4))
def test_more_workers_never_make_it_longer_than_one(counts: list[int], workers: int) -> None:
    everything = jobs(**{f"m{number}": count for number, count in enumerate(counts)})
    slow = costs(**{f"m{number}": 30.0 * number for number in range(len(counts))})
    assert forecast(everything, slow, workers) <= forecast(everything, slow, 1)


def test_a_shard_is_read() -> None:
    assert parse_shard("2/6") == (2, 6)
    for text in ("", "2", "0/6", "7/6", "a/b", "1/0", "-1/3", "1/2/3"):
        with pytest.raises(argparse.ArgumentTypeError, match="there is no shard"):
            parse_shard(text)
