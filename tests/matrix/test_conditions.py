"""The columns of the truth table: each does something, and the oracle is told of it."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from harness.guest.events import KernelStarted, PromptKind, PromptShown, Stream
from harness.machine.rig import Rig
from harness.matrix.condition import EVERY, Condition
from harness.matrix.conditions import CONDITIONS, MAINTENANCE, all_conditions, subsets
from harness.matrix.machines import table_machine
from harness.matrix.rack import rack
from harness.policy.oracle import predict
from harness.policy.pins import ServiceId, holds
from harness.policy.pins.systemd_hsm import HSM
from harness.policy.world import Network, Server, Stack, TpmState, World
from harness.services.tang import Tang
from harness.unlock import Unlock

TANG, TWO, THREE = (ServiceId("tang", name) for name in ("tang", "two", "three"))
BUTANE = [row.name for row in table_machine("by-butane").policies]

HARMLESS = {"present", "machine-id"}
"""Nothing that any policy here is bound to changes."""


@dataclass
class Recorder:
    """A server, or a rig, that writes down what is done to it."""

    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return lambda *_: self.calls.append(name)


def named(name: str) -> Condition:
    return next(condition for condition in CONDITIONS if condition.name == name)


def test_every_column_has_a_name_of_its_own() -> None:
    names = [condition.name for condition in all_conditions()]
    assert Counter(names).most_common(1)[0][1] == 1


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
def test_what_is_done_is_what_the_oracle_is_told(condition: Condition) -> None:
    done = bool(condition.faults or condition.servers or condition.maintenance or condition.meanwhile)
    assert condition.power_cuts == condition.world.power_cuts
    done |= condition.power_cuts > 0
    told = condition.world_of((TANG,)) != World()
    assert done or condition.name == "present"
    assert told or condition.name in HARMLESS


def test_a_verb_for_every_server_is_done_to_each() -> None:
    servers: dict[ServiceId, Any] = {TANG: Recorder(), TWO: Recorder(), HSM: Recorder()}
    every = ServiceId("tang", EVERY)
    condition = Condition("both", "", servers=((every, lambda tang: tang.stop(), Server.REFUSED),))
    condition.apply(servers)
    assert [server.calls for server in servers.values()] == [["stop"], ["stop"], []]
    assert condition.world_of(servers).servers == {"tang": Server.REFUSED, "two": Server.REFUSED}


def test_a_verb_for_one_server_leaves_the_others() -> None:
    servers: dict[ServiceId, Any] = {TANG: Recorder(), TWO: Recorder(), replace(TWO, kind="hsm"): Recorder()}
    condition = Condition("one", "", servers=((TWO, lambda tang: tang.stop(), Server.REFUSED),))
    condition.apply(servers)
    assert [server.calls for server in servers.values()] == [[], ["stop"], []]
    assert condition.world_of(servers).servers == {"two": Server.REFUSED}


def test_old_keys_are_deleted_after_they_were_rotated_out() -> None:
    server = Recorder()
    named("tang-deleted").apply({TANG: cast(Tang, server)})
    assert server.calls == ["rotate_keys", "delete_old_keys"]


def test_the_link_comes_once_and_only_with_the_prompt() -> None:
    condition = named("late-link")
    assert condition.world.network is Network.LATE_DHCP
    assert condition.meanwhile
    meanwhile, rig = condition.meanwhile(), Recorder()
    prompt = PromptShown(1.0, Stream.CONSOLE, "", "var", PromptKind.PASSPHRASE)
    meanwhile(cast(Rig, rig), KernelStarted(0.5, Stream.CONSOLE, ""))
    assert rig.calls == []
    meanwhile(cast(Rig, rig), prompt)
    meanwhile(cast(Rig, rig), prompt)
    assert rig.calls == ["set_link"]


def test_maintenance_leaves_volumes_without_pins_alone() -> None:
    volumes = rack("by-hand", table_machine("by-hand").policies).volumes
    for condition in (*CONDITIONS, *MAINTENANCE):
        if condition.maintenance and condition.name not in ("threshold-edited", "rebound"):
            lines = "\n".join(condition.maintenance(volumes).commands)
            assert "{device}" not in lines
            assert "by-partlabel/key-file" not in lines


@pytest.mark.parametrize(
    ("name", "opens"),
    [
        ("regenerated", {*BUTANE}),
        ("regenerated-late", {*BUTANE}),
        (
            "threshold-edited",
            {"tpm2", "tpm2-pcr7", "tpm2-and-tang", "tpm2-and-one-of-two-tangs"},
        ),
        ("rebound", {*BUTANE}),
        ("unbound", set()),
        ("firmware-renewed", {*BUTANE}),
    ],
)
def test_after_maintenance_the_oracle_is_told_what_the_volumes_are_then(name: str, opens: set[str]) -> None:
    condition = next(condition for condition in MAINTENANCE if condition.name == name)
    volumes = condition.becomes(rack("by-butane", table_machine("by-butane").policies).volumes)
    world = condition.world_of((TANG, TWO, THREE))
    said = {volume.name: predict(volume, world, Stack.DR).unlock for volume in volumes}
    assert {name for name, unlock in said.items() if unlock is Unlock.AUTO} == opens
    assert set(said.values()) <= {Unlock.AUTO, Unlock.PASSPHRASE_FALLBACK}


def test_in_the_wrong_order_a_seal_to_the_firmware_is_made_for_nothing() -> None:
    told = {}
    for condition in MAINTENANCE[-2:]:
        volumes = condition.becomes(rack("by-hand", table_machine("by-hand").policies).volumes)
        told[condition.name] = {
            volume.name: predict(volume, condition.world_of((TANG,)), Stack.DR).unlock for volume in volumes
        }
    right, wrong = told["firmware-renewed"], told["firmware-renewed-early"]
    assert {name for name in right if right[name] is not wrong[name]} == {
        "tpm2-pcr0",
        "tpm2-pcr1-7",
        "cryptenroll-pcr0-7",
    }


def test_the_subsets_are_all_there_but_the_whole_and_the_tpm_alone() -> None:
    found = list(subsets(("tang", "two")))
    assert len(found) == 2**3 - 2
    states = {(condition.world.tpm, tuple(sorted(condition.world_of((TANG, TWO)).servers))) for condition in found}
    assert len(states) == len(found)
    for condition in found:
        assert bool(condition.faults) == (condition.world.tpm is TpmState.ABSENT)


@pytest.mark.parametrize("condition", list(subsets(("tang", "two", "three"))), ids=lambda condition: condition.name)
def test_the_oracle_s_truth_tables_are_those_of_the_thresholds(condition: Condition) -> None:
    servers = (TANG, TWO, THREE)
    world = condition.world_of(servers)
    there = {service.name for service in servers if service.name not in world.servers} | (
        {"tpm2"} if world.tpm is TpmState.PRESENT else set()
    )
    for volume in rack("by-butane", table_machine("by-butane").policies).volumes:
        assert volume.pins
        expected = Unlock.AUTO if holds(volume.pins, frozenset(there)) else Unlock.PASSPHRASE_FALLBACK
        assert predict(volume, world, Stack.DR).unlock is expected


def test_what_maintenance_is_done_under_says_which_pcrs_it_changes() -> None:
    """Without that, the tools would bind anew to what was there before, and the column would show nothing."""
    update = next(each for each in all_conditions() if each.name == "firmware-update")
    done_under = [each for each in all_conditions() if each.under]
    assert [each.name for each in done_under] == ["firmware-renewed"]
    assert done_under[0].under_changes == update.world.changed_pcrs
