"""A slice of the truth table: nine policies in one machine, each boot judges all. `make matrix` boots the whole."""

import pytest

from harness.api import Sealed
from harness.matrix.condition import Condition
from harness.matrix.conditions import all_conditions
from harness.matrix.rack import rack
from harness.matrix.rows import RACKS
from harness.matrix.run import boot_under
from harness.policy.oracle import predict
from harness.policy.world import Stack

CONDITIONS = {condition.name: condition for condition in all_conditions()}
SLICE = ("present", "without tpm2+two")
IN_CI = ("tpm-absent", "without tang")


@pytest.mark.policy(rack("by-butane", RACKS["by-butane"]))
@pytest.mark.parametrize(
    "condition",
    [
        *(pytest.param(CONDITIONS[name], id=name.replace(" ", "-")) for name in SLICE),
        *(pytest.param(CONDITIONS[name], id=name.replace(" ", "-"), marks=pytest.mark.ci) for name in IN_CI),
    ],
)
def test_every_policy_does_what_its_threshold_says(sealed: Sealed, condition: Condition) -> None:
    """Each volume opens iff at least as many of its pins answer as its threshold wants, nested thresholds too.

    What is expected comes from the rules of `harness.policy.oracle`, which read the policy and never a boot; what is
    seen comes from each volume's own evidence. Source: clevis-encrypt-sss(1).
    """
    outcome = boot_under(condition, sealed)
    world = condition.world_of(sealed.tangs)
    predicted = {volume.name: predict(volume, world, Stack.DR).unlock for volume in sealed.policy.volumes}
    assert {name: each.unlock for name, each in outcome.volumes.items()} == predicted
    for name, each in outcome.volumes.items():
        assert each.canary == sealed.canaries[name]
