"""Drawn policies in drawn worlds, and drawn attackers: the rules by themselves, and the real tools beside them.

The tools are asked in about 200 cells by `make real`, the same ones each time, and by `make slow` in 5,000 others, or
in UNLOCK_LAB_CELLS of them. What they said of the cell that differs is in the error.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from real_tools.drawn import SERVERS, Drawn, drawn

from harness.host.scratch import scratch
from harness.matrix.conditions import all_conditions
from harness.policy.extract import extract
from harness.policy.oracle import predict
from harness.policy.world import Stack, TpmState, World
from harness.progress import Progress
from harness.real_tools.parts import Parts, real_parts
from harness.real_tools.trial import Sealed, maintained, seal, try_in
from harness.real_tools.worlds import opens, world_of
from harness.unlock import Unlock

WORLDS, ATTACKERS = 14, 6
CELLS = WORLDS + ATTACKERS
MAINTENANCE = {
    TpmState.CLEARED: "tpm-cleared",
    TpmState.OWNER_AUTH_SET: "tpm-owner-auth",
    TpmState.LOCKED_OUT: "tpm-locked-out",
}


@given(drawn(WORLDS, ATTACKERS))
def test_a_boot_opens_by_itself_just_where_a_binding_yields_a_key(case: Drawn) -> None:
    for world in case.worlds:
        said = predict(case.volume, world, Stack.DR).unlock
        if case.volume.tpm_pin is None:
            assert said is (Unlock.AUTO if opens(case.volume, world) else Unlock.PASSPHRASE_FALLBACK)
        elif said is Unlock.AUTO:
            assert opens(case.volume, world)


@given(drawn(WORLDS, ATTACKERS))
def test_an_attacker_who_holds_parts_is_a_world(case: Drawn) -> None:
    for attacker in case.attackers:
        world = world_of(attacker, case.volume.tang_servers)
        assert extract(case.volume, attacker).extracted is opens(case.volume, world)


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    with real_parts(SERVERS, Progress()) as made:
        yield made


class Cells:
    """Asks the tools, counts what they said and how long it took."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.asked: list[bool] = []

    def ask(self, case: Drawn) -> None:
        with scratch(None) as folder:
            sealed = seal(self._parts, case.volume, folder)
            states = {TpmState.PRESENT: sealed}
            worlds = [(world, opens(case.volume, world), "") for world in case.worlds]
            for attacker in case.attackers:
                world = world_of(attacker, case.volume.tang_servers)
                worlds.append((world, extract(case.volume, attacker).extracted, f"{attacker}\n"))
            for number, (world, predicted, who) in enumerate(worlds):
                if world.tpm not in states:
                    states[world.tpm] = self._brought(sealed, world.tpm, folder / world.tpm.name)
                with scratch(None) as own:
                    trial = try_in(self._parts, states[world.tpm], world, own)
                assert trial.opened is predicted, f"cell {number}: {who}{world}\n{case.volume.pins}\n{trial.said}"
                self.asked.append(trial.opened)

    def _brought(self, sealed: Sealed, state: TpmState, folder: Path) -> Sealed:
        if state not in MAINTENANCE:
            return sealed
        condition = next(each for each in all_conditions() if each.name == MAINTENANCE[state])
        return maintained(self._parts, sealed, condition, folder)


def cases(policies: int, *, same: bool) -> list[Drawn]:
    """So many policies, each with its worlds and attackers; drawn before any is asked about, so that none is twice."""
    found: list[Drawn] = []

    @settings(max_examples=policies, derandomize=same, database=None, phases=[Phase.generate])
    @given(drawn(WORLDS, ATTACKERS))
    def draw(case: Drawn) -> None:
        found.append(case)

    draw()
    return found


def agree(parts: Parts, policies: int, *, same: bool) -> Cells:
    """Draw so many policies, and ask the tools in each cell."""
    cells = Cells(parts)
    started = time.monotonic()
    for case in cases(policies, same=same):
        cells.ask(case)
    took = time.monotonic() - started
    opened = sum(cells.asked)
    print(f"{len(cells.asked)} cells, {opened} opened, {took / len(cells.asked):.2f} s a cell, {took:.0f} s in all")
    assert 0.1 < opened / len(cells.asked) < 0.9, "nearly all cells say the same, so they show little"
    return cells


@pytest.mark.real
def test_rules_and_tools_agree_in_two_hundred_cells(parts: Parts) -> None:
    assert len(agree(parts, 16, same=True).asked) >= 200


@pytest.mark.slow
def test_rules_and_tools_agree_in_thousands_of_cells(parts: Parts) -> None:
    wanted = int(os.environ.get("UNLOCK_LAB_CELLS", "5000"))
    asked = 0
    while asked < wanted:
        asked += len(agree(parts, max(1, min(50, (wanted - asked) // CELLS)), same=False).asked)


def test_what_brings_a_tpm_into_a_state_is_a_condition_of_the_table() -> None:
    conditions = {condition.name: condition for condition in all_conditions()}
    for state, name in MAINTENANCE.items():
        assert conditions[name].world == World(tpm=state)
        assert conditions[name].maintenance


def test_no_volume_is_drawn_without_a_pin() -> None:
    volumes = [case.volume for case in cases(50, same=True)]
    assert all(volume.pins for volume in volumes)
    assert any(volume.tpm_pin for volume in volumes)
    assert any(volume.tang_servers for volume in volumes)
