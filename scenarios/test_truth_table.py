"""A slice of the truth table: many policies in one machine, each boot judges all. `make matrix` boots the whole."""

from collections.abc import Sequence

import pytest

from harness.api import Sealed
from harness.matrix.condition import Condition
from harness.matrix.conditions import all_conditions
from harness.matrix.rack import bare, rack, rack_in_initrd
from harness.matrix.rows import IN_INITRD, INITRDS, RACKS, ROOTS
from harness.matrix.run import boot_under
from harness.policy.oracle import predict
from harness.policy.world import Stack

CONDITIONS = {condition.name: condition for condition in all_conditions()}
SLICE = ("present", "without tpm2+two")
IN_CI = ("tpm-absent", "without tang")

INITRD = [
    pytest.param(
        ROOTS[image],
        id=name,
        marks=[pytest.mark.image(image), pytest.mark.policy(rack_in_initrd(name, bare(image), IN_INITRD))],
    )
    for name, image in INITRDS.items()
]
"""The machines, with what opens their volumes."""


def under(*names: str, marks: Sequence[pytest.MarkDecorator] = ()) -> list[object]:
    """These conditions as parameters."""
    return [pytest.param(CONDITIONS[name], id=name.replace(" ", "-"), marks=marks) for name in names]


@pytest.mark.policy(rack("by-butane", RACKS["by-butane"]))
@pytest.mark.parametrize("condition", [*under(*SLICE), *under(*IN_CI, marks=[pytest.mark.ci])])
def test_every_policy_does_what_its_threshold_says(sealed: Sealed, condition: Condition) -> None:
    """Each volume opens iff at least as many of its pins answer as its threshold wants, nested thresholds too.

    What is expected comes from the rules of `harness.policy.oracle`, which read the policy and never a boot; what is
    seen comes from each volume's own evidence. Source: clevis-encrypt-sss(1).
    """
    does_what_the_oracle_says(sealed, condition, Stack.DR)


@pytest.mark.parametrize("stack", INITRD)
@pytest.mark.parametrize("condition", under("without tang", "tpm-absent"))
def test_the_initrd_does_the_same(sealed: Sealed, condition: Condition, stack: Stack) -> None:
    """The same policies where the initrd opens them, beside an encrypted root: dracut with systemd, initramfs-tools.

    The one asks for all volumes at once. The other, Debian's default, for one after the other, and clevis with it.
    Source: systemd-cryptsetup-generator(8); clevis 20, local-top/clevis; cryptsetup-initramfs 2.7.5,
    local-top/cryptroot.
    """
    does_what_the_oracle_says(sealed, condition, stack)


def does_what_the_oracle_says(sealed: Sealed, condition: Condition, stack: Stack) -> None:
    """Boot under a condition, and hold each volume to what is predicted of it."""
    outcome = boot_under(condition, sealed)
    world = condition.world_of(sealed.tangs)
    predicted = {volume.name: predict(volume, world, stack).unlock for volume in sealed.policy.volumes}
    assert {name: each.unlock for name, each in outcome.volumes.items()} == predicted
    for name, each in outcome.volumes.items():
        assert each.canary == sealed.canaries[name]
