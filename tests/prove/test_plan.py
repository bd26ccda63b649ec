"""Which boots `prove` plans: from what the rules say alone, no machine."""

from dataclasses import replace

import pytest

from harness.campaign.schedule import Costs
from harness.explain.answer import Answer, Recorded
from harness.explain.command import explained_policy
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.prove import command
from harness.prove.attacks import staged
from harness.prove.plan import CONTROL, Doubt, Step, plan
from harness.real_tools.trial import ONLY_A_BOOT


def of(name: str) -> tuple[Answer, dict[str, int]]:
    policy = read_policy(POLICIES / f"{name}.bu")
    return explained_policy(policy, "debian-13"), dict(command._power_ons(policy))


def recorded(answer: Answer, condition: str, what: Recorded) -> Answer:
    """The same with other boots recorded under one condition."""
    volumes = (
        replace(
            volume,
            conditions=tuple(
                replace(line, recorded=what) if line.condition == condition else line for line in volume.conditions
            ),
        )
        for volume in answer.volumes
    )
    return replace(answer, volumes=tuple(volumes))


def named(steps: tuple[Step, ...]) -> dict[str, Step]:
    return {step.condition: step for step in steps}


@pytest.mark.parametrize("name", ["seed-000", "tpm2", "tpm2-and-one-of-two-tangs", "side-by-side"])
def test_each_condition_is_told_by_just_one_boot(name: str) -> None:
    answer, boots = of(name)
    steps = plan(answer, boots)
    told = [each for step in steps for each in (step.condition, *step.stands_for)]
    assert sorted(told) == sorted(line.condition for line in answer.volumes[0].conditions)
    for step in steps:
        for volume in answer.volumes:
            does = {line.condition: (line.unlock, line.failed_pins) for line in volume.conditions}
            assert {does[each] for each in step.stands_for} <= {does[step.condition]}


def test_the_seeds_file_takes_a_quarter_of_a_boot_a_condition() -> None:
    answer, boots = of("seed-000")
    steps = plan(answer, boots, (), ONLY_A_BOOT)
    assert sum(step.boots for step in steps) / len(answer.volumes[0].conditions) <= 0.25


def test_the_control_comes_first_and_is_no_boot_of_its_own() -> None:
    first = plan(*of("tpm2-and-tang"))[0]
    assert (first.condition, first.boots) == (CONTROL, 0)
    assert "tang-rotated" in first.stands_for
    assert plan(*of("passphrase"))[0].boots == 1, "nothing must open by itself for its installation"


def test_a_class_is_told_by_its_cheapest_condition() -> None:
    steps = named(plan(*of("tpm2-and-tang")))
    assert "tpm-cleared" not in steps
    assert any("tpm-cleared" in step.stands_for and step.boots == 1 for step in steps.values())


def test_where_the_tools_differ_it_is_booted_by_itself_and_first() -> None:
    answer, boots = of("tpm2-and-tang")
    second = plan(answer, boots, {"tpm-owner-auth"})[1]
    assert second == Step("tpm-owner-auth", (), Doubt.TOOLS_DIFFER, 2)


def test_where_recorded_boots_differ_it_is_booted_by_itself_and_before_the_others() -> None:
    answer, boots = of("tpm2-and-tang")
    second = plan(recorded(answer, "no-link", Recorded(1, 1)), boots)[1]
    assert (second.condition, second.stands_for, second.doubt) == ("no-link", (), Doubt.BOOTS_DIFFER)


def test_what_only_a_boot_can_tell_stands_for_its_class_where_no_boot_is_recorded() -> None:
    answer, boots = of("tpm2-and-tang")
    steps = named(plan(recorded(answer, "tpm-1.2", Recorded()), boots, (), ONLY_A_BOOT))
    assert steps["tpm-1.2"].doubt is Doubt.ONLY_A_BOOT
    assert "tpm-absent" in steps["tpm-1.2"].stands_for
    assert "tpm-1.2" not in named(plan(answer, boots, (), ONLY_A_BOOT))


def test_a_condition_that_cannot_be_booted_is_in_no_plan() -> None:
    answer, boots = of("tpm2")
    del boots["tpm-1.2"]
    assert not [step for step in plan(answer, boots) if "tpm-1.2" in (step.condition, *step.stands_for)]


@pytest.mark.parametrize(
    ("name", "attacks"),
    [
        ("tang", ["disk-clone"]),
        ("tpm2", ["disk-clone", "stolen-foreign-os", "tpm-state-clone"]),
        ("passphrase", []),
    ],
)
def test_attacks_are_those_that_apply(name: str, attacks: list[str]) -> None:
    assert [each.name for each in staged(read_policy(POLICIES / f"{name}.bu"))] == attacks


def test_boots_and_minutes_are_said_before_anything_starts() -> None:
    answer, boots = of("seed-000")
    steps = plan(answer, boots)
    attacks = tuple(staged(read_policy(POLICIES / "seed-000.bu")))
    said = command.announced(answer, steps, attacks, Costs(lambda _: 60.0, lambda _: 180.0))
    assert max(map(len, said.splitlines())) <= 80
    said = " ".join(said.split())
    assert said.startswith("seed-000: 8 boots tell 32 conditions (0.25 a condition), and 3 for attackers; some 14 min")
    assert "3 of them to install it" in said
    again = command.announced(answer, steps, attacks, Costs(lambda _: 60.0, lambda _: 0.0))
    assert "installed already" in " ".join(again.split())
