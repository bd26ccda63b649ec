"""Power cuts without a machine: a real TPM that loses its power after each use, and the guest's tools at the next."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.host.scratch import scratch
from harness.matrix.condition import Condition
from harness.matrix.conditions import all_conditions
from harness.policy.maintenance import MaintenanceResult
from harness.policy.oracle import predict
from harness.policy.pins import CryptenrollPin, Pin, Tpm2Pin
from harness.policy.pins.tpm import POWER_CUTS
from harness.policy.policy import Volume
from harness.policy.world import Stack, World
from harness.progress import Progress
from harness.real_tools.parts import Parts, real_parts
from harness.real_tools.trial import seal, try_under
from harness.unlock import Unlock

CUT = next(condition for condition in all_conditions() if condition.name == "power-cuts")
REPAIRED = replace(
    CUT,
    name="repaired",
    power_cuts=0,
    maintenance=lambda volumes: MaintenanceResult(tuple(volumes), ("tpm2_dictionarylockout --clear-lockout",)),
)


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    with real_parts((), Progress()) as made:
        yield made


def volume(pin: Pin) -> Volume:
    return Volume("var", "/dev/vda1", pin, "passphrase", "/var", tpm_pin=pin.typed)


def cut(times: int) -> Condition:
    return replace(CUT, power_cuts=times)


PINS = [
    pytest.param(Tpm2Pin(), True, id="clevis"),
    pytest.param(CryptenrollPin((7,), asks_pin=True), True, id="systemd-with-pin"),
    pytest.param(CryptenrollPin((7,)), False, id="systemd"),
]


@pytest.mark.parametrize(("pin", "locks"), PINS)
def test_the_rules_say_who_is_locked_out(pin: Pin, locks: bool) -> None:
    before, after = (predict(volume(pin), World(power_cuts=n), Stack.DR) for n in (POWER_CUTS - 1, POWER_CUTS))
    assert not before.failed_pins
    assert (after.failed_pins == {"tpm2"}) is locks
    assert (after.unlock is Unlock.AUTO) is not locks


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(("pin", "locks"), PINS)
def test_three_power_cuts_lock_out_what_is_not_noda(parts: Parts, pin: Pin, locks: bool) -> None:
    with scratch(None) as folder:
        sealed = seal(parts, volume(pin), folder)
        opened, said = {}, {}
        for times in (0, POWER_CUTS - 1, POWER_CUTS):
            with scratch(None) as copy:
                trial = try_under(parts, sealed, cut(times), copy)
                opened[times], said[times] = trial.opened, trial.said
                if times == POWER_CUTS:
                    with scratch(None) as again:
                        repaired = try_under(parts, replace(sealed, tpm=copy / "tpm"), REPAIRED, again)
    assert opened == {0: True, POWER_CUTS - 1: True, POWER_CUTS: not locks}
    assert ("0x921" in said[POWER_CUTS] or "0x00000921" in said[POWER_CUTS]) is locks  # TPM_RC_LOCKOUT
    assert repaired.opened
