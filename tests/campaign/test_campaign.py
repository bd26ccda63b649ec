"""A campaign in a pytest of its own, with no machine: order, workers, what is told, shards and repeated runs."""

import re
from pathlib import Path

import pytest

import harness.api.attack
from harness import cache
from harness.campaign import durations
from harness.campaign.durations import Durations, Installed
from harness.campaign.listing import collected
from harness.campaign.schedule import OWN_MACHINES

# Pytester forgets what a test imports, and numpy can be loaded once a process: so all that scenarios import is here.
assert harness.api.attack

pytest_plugins = ["pytester"]

CONFTEST = """
import os
import pytest
from harness.campaign.status import INSTALLATION
from harness.guest.outcome import Outcome, Unlock
from harness.lab.power import recorded

class Stub:
    name = "stub"

    def __init__(self, recorder):
        self.recorder = recorder

    def boot(self):
        with recorded(self.recorder, "boot", self) as record:
            record.outcome = Outcome(Unlock.AUTO, "yes")

@pytest.fixture
def sealed(request, recorder):
    with open(os.environ["ORDER"], "a") as file:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        file.write(worker + " " + request.node.name.partition("@")[0] + "\\n")
    return Stub(recorder)

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "setup" and item.get_closest_marker("policy"):
        setattr(report, INSTALLATION, {"seconds": 5.0, "key": "kept"})
    return report
"""

MACHINES = """
@pytest.fixture
def lab():
    pass

@pytest.fixture
def machines(recorder, lab):
    return Stub(recorder)
"""

SCENARIOS = """
import pytest

def names(policy, count, *more):
    return [pytest.param(n, id=f"{policy}-{n}", marks=[pytest.mark.policy(policy), *more]) for n in range(count)]

RACK, TANG = names("side-by-side", 2), names("tang", 2, pytest.mark.core)

@pytest.mark.parametrize("n", [*RACK, *TANG, *names("tpm2", 4, pytest.mark.small)])
def test_it(sealed, n):
    sealed.boot()
"""


@pytest.fixture
def campaign(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ORDER", str(tmp_path / "order"))
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nmarkers = small\n")
    pytester.makepyfile(SCENARIOS)
    return pytester


def ran(tmp_path: Path) -> list[tuple[str, str]]:
    """Which worker ran what, in order."""
    return [(line.split()[0], line.split()[1]) for line in (tmp_path / "order").read_text().splitlines()]


def test_the_smallest_machine_comes_first(campaign: pytest.Pytester, tmp_path: Path) -> None:
    campaign.runpytest_inprocess().assert_outcomes(passed=8)
    machines = [re.sub(r"test_it\[|-\d\]", "", test) for _, test in ran(tmp_path)]
    assert machines == ["tpm2"] * 4 + ["tang"] * 2 + ["side-by-side"] * 2


def test_two_workers_share_a_campaign(
    campaign: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there are slots; each begins a machine; the process that gives out the work tells and remembers."""
    monkeypatch.setenv("UNLOCK_LAB_MACHINES", "2")
    result = campaign.runpytest_subprocess("-n", "auto", "-m", "core or small")
    result.assert_outcomes(passed=6)
    first = {worker: next(test for who, test in ran(tmp_path) if who == worker) for worker in ("gw0", "gw1")}
    assert set(first.values()) == {"test_it[tpm2-0]", "test_it[tang-0]"}
    assert len({test for _, test in ran(tmp_path)}) == 6
    result.stdout.fnmatch_lines(
        [
            "6 scenarios in 2 machines, 2 at a time; 2 to be installed first",
            "  tpm2 *installation *, then 4 scenarios *",
            "about * in all*",
            "*on: *test_it?tang-0?*",
            "2 more scenarios not selected: all, 8 scenarios in 3 machines, would take about *",
        ]
    )
    kept = durations.of_this_host()
    assert kept.installations == {"tang": Installed(5.0, "kept"), "tpm2": Installed(5.0, "kept")}
    assert len(kept.scenarios) == 6


def test_it_is_told_what_will_run_what_is_on_and_what_all_would_take(campaign: pytest.Pytester) -> None:
    result = campaign.runpytest_inprocess("-m", "core")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "2 scenarios in 1 machine, 1 at a time; 1 to be installed first",
            "  tang  installation *, then 2 scenarios *",
            "about * in all*",
            "?0/2? on: test_it?tang-0? (tang) · next: test_it?tang-1? · about * left",
            "?1/2? on: test_it?tang-1? (tang) · about * left",
            "6 more scenarios not selected (make scenarios ALL=1): all, 8 scenarios in 3 machines, would take about *",
        ]
    )


def test_scenarios_that_install_their_machines_themselves_are_of_the_campaign(campaign: pytest.Pytester) -> None:
    """They come last, are in the plan and in a shard, are repeated, and it is remembered how long they took."""
    campaign.makepyfile(test_own="def test_own(machines, lab, recorder):\n    machines.boot()\n")
    campaign.makeconftest(CONFTEST + MACHINES)
    result = campaign.runpytest_inprocess("--lab-repeat=2", "-k", "tang or own")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        [
            "4 scenarios in 1 machine, 2 scenarios in machines of their own, 1 at a time; 1 to be installed first",
            "  tang  *installation *, then 4 scenarios *",
            "  machines of their own  2 scenarios *",
            "?5/6? on: test_own?run-2? (machines of their own) · about * left",
        ]
    )
    assert {test for test in durations.of_this_host().scenarios if "test_own" in test}
    assert [job.machine for job in collected(["test_own.py"])] == [OWN_MACHINES]


def test_what_was_installed_before_is_not_promised_to_be_so_still(campaign: pytest.Pytester) -> None:
    """Its key may be another by now, which is not known before its image is there."""
    (cache.shelf("sealed") / "kept").mkdir()
    campaign.runpytest_inprocess("-m", "core")
    campaign.runpytest_inprocess("-m", "core").stdout.fnmatch_lines(
        ["2 scenarios in 1 machine, 1 at a time, all installed before"]
    )


def test_nothing_is_told_of_other_tests(campaign: pytest.Pytester) -> None:
    campaign.makepyfile(test_plain="def test_plain():\n    pass\n")
    result = campaign.runpytest_inprocess("test_plain.py")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*machine*")
    result.stdout.no_fnmatch_line("*left*")


def test_what_it_took_is_remembered(campaign: pytest.Pytester) -> None:
    campaign.runpytest_inprocess("-m", "core")
    kept = durations.of_this_host()
    assert kept.installations == {"tang": Installed(5.0, "kept")}
    tests = {test.rpartition("::")[2] for test in kept.scenarios}
    assert tests == {"test_it[tang-0]", "test_it[tang-1]"}
    assert all(0 <= seconds < 10 for seconds in kept.scenarios.values())


def test_what_it_waited_for_a_slot_is_not_what_it_took(campaign: pytest.Pytester) -> None:
    campaign.makepyfile(
        SCENARIOS.replace("sealed.boot()", "from harness.host import slots; slots._waits.append(100.0)")
    )
    campaign.runpytest_inprocess("-m", "core").assert_outcomes(passed=2)
    assert all(-100.1 < seconds < -90 for seconds in durations.of_this_host().scenarios.values())


def test_shards_are_the_whole_and_keep_machines_together(campaign: pytest.Pytester, tmp_path: Path) -> None:
    seen: list[set[str]] = []
    for number in (1, 2):
        (tmp_path / "order").unlink(missing_ok=True)
        campaign.runpytest_inprocess(f"--lab-shard={number}/2")
        seen.append({test for _, test in ran(tmp_path)})
    assert len(seen[0] | seen[1]) == 8
    assert not {test[:-3] for test in seen[0]} & {test[:-3] for test in seen[1]}


def test_what_this_host_took_does_not_move_a_scenario_to_another_shard(campaign: pytest.Pytester) -> None:
    before = campaign.runpytest_inprocess("--lab-shard=1/2", "--collect-only", "-q").outlines
    durations.remember(Durations(installations={"side-by-side": Installed(9000.0, "")}))
    after = campaign.runpytest_inprocess("--lab-shard=1/2", "--collect-only", "-q").outlines
    assert before[:4] == after[:4]


def test_a_shard_that_is_none_is_a_usage_error(campaign: pytest.Pytester) -> None:
    result = campaign.runpytest_inprocess("--lab-shard=3/2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*there is no shard '3/2'*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_scenario_can_be_run_many_times_and_is_counted(campaign: pytest.Pytester) -> None:
    result = campaign.runpytest_inprocess("-m", "core", "--lab-repeat=3")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        ["*how often*", "*test_it?tang-0?", "  passed 3 of 3 (44 % to 100 %)", "  3 × auto-unlock"]
    )


def test_a_worker_that_dies_costs_one_scenario(campaign: pytest.Pytester, tmp_path: Path) -> None:
    dies = SCENARIOS.replace("sealed.boot()", "__import__('os')._exit(1) if n == 3 else sealed.boot()")
    campaign.makepyfile(dies)
    campaign.runpytest_subprocess("-n", "2").assert_outcomes(passed=7, failed=1)
