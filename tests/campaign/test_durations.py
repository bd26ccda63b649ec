"""What is remembered of durations, and what is expected where nothing is."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign import durations
from harness.campaign.durations import Durations, Installed, expected, parse, render, slowness

OTHER = Durations(2.0, {"a": 10.0, "b": 30.0}, {"m": Installed(100.0, ""), "n": Installed(300.0, "")})


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path))
    return tmp_path


def test_durations_are_written_and_read_back() -> None:
    assert parse(render(OTHER)) == OTHER


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"probe": 1}', '{"probe": 1, "scenarios": [], "installations": {}}'])
def test_a_file_that_is_none_is_no_durations(text: str) -> None:
    assert parse(text) == Durations()


def test_a_damaged_file_is_no_durations_and_is_replaced(own_cache: Path) -> None:
    durations.remember(OTHER)
    (own_cache / "host" / "durations.json").write_bytes(b"\xff\xfe")
    assert durations.of_this_host() == Durations()
    durations.remember(OTHER)
    assert durations.of_this_host() == OTHER


def test_what_is_newer_replaces_what_is_older_and_no_more(own_cache: Path) -> None:
    durations.remember(OTHER)
    durations.remember(Durations(scenarios={"a": 11.0}))
    assert durations.of_this_host() == replace(OTHER, scenarios={"a": 11.0, "b": 30.0})
    assert {path.name for path in (own_cache / "host").glob("[!.]*")} == {"durations.json"}


def test_without_any_record_the_other_hosts_are_taken_as_they_are() -> None:
    costs = expected(Durations(), OTHER)
    assert costs.scenario("a") == 10.0
    assert costs.installation("n") == 300.0


def test_the_probe_says_how_much_slower_this_host_is() -> None:
    costs = expected(Durations(probe=5.0), OTHER)
    assert costs.scenario("b") == 75.0
    assert costs.installation("m") == 250.0


def test_what_both_have_measured_says_more_than_the_probe() -> None:
    own = Durations(5.0, {"a": 30.0})
    assert slowness(own, OTHER) == 3.0
    assert expected(own, OTHER).scenario("b") == 90.0


def test_what_nobody_has_measured_is_taken_as_usual() -> None:
    costs = expected(Durations(), OTHER)
    assert costs.scenario("unknown") == 20.0
    assert costs.installation("unknown") == 200.0
    assert expected(Durations(), Durations()).scenario("unknown") > 0


def test_what_this_host_took_counts_as_it_is() -> None:
    own = Durations(5.0, {"a": 30.0}, {"m": Installed(77.0, "gone")})
    costs = expected(own, OTHER)
    assert costs.scenario("a") == 30.0
    assert costs.installation("m") == 77.0


def test_an_installed_machine_costs_nothing(own_cache: Path) -> None:
    (own_cache / "sealed" / "there").mkdir(parents=True)
    assert expected(Durations(installations={"m": Installed(77.0, "there")}), OTHER).installation("m") == 0.0


def test_a_test_without_a_machine_needs_no_installation() -> None:
    assert expected(Durations(), OTHER).installation("") == 0.0


def test_what_comes_with_the_harness_can_be_read() -> None:
    text = (Path(durations.__file__).parent / "durations.json").read_text()
    assert render(durations.of_another_host()) == text, "write it with `list --record`"
    assert not any(each.key for each in durations.of_another_host().installations.values())
