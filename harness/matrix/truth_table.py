"""The truth table for scenarios: the policy of a machine of the table, one boot of it, and what the oracle predicts.

The whole table is booted by `harness.matrix.command`; a scenario takes one machine and one condition of it::

    @pytest.mark.policy(truth_table.policy("by-butane"))
    def test_the_tpm_is_gone(sealed):
        outcome = truth_table.boot(sealed, "tpm-absent")
        seen = {name: each.unlock for name, each in outcome.volumes.items()}
        assert seen == truth_table.predicted(sealed, "tpm-absent")
"""

from collections.abc import Mapping

from harness.errors import UsageError
from harness.guest.outcome import Outcome
from harness.lab.policies import bare_root
from harness.lab.sealed import Sealed
from harness.matrix.condition import Condition
from harness.matrix.conditions import all_conditions
from harness.matrix.rack import rack, rack_in_initrd
from harness.matrix.rows import IN_INITRD, INITRDS, RACKS, ROOTS
from harness.matrix.run import boot_under
from harness.policy.oracle import predict
from harness.policy.policy import Policy
from harness.policy.world import Stack
from harness.unlock import Unlock


def policy(machine: str) -> Policy:
    """What a machine of the table with many volumes is installed with.

    Args:
        machine: ``by-butane`` or ``by-hand`` on debian-13; ``in-dracut`` or ``in-initramfs`` on the image of `image`.

    Raises:
        UsageError: There is no such machine.
    """
    if machine in RACKS:
        return rack(machine, RACKS[machine])
    if machine in INITRDS:
        return rack_in_initrd(machine, bare_root(INITRDS[machine]), IN_INITRD)
    raise UsageError(f"the truth table has no machine {machine!r}", f"there is: {', '.join((*RACKS, *INITRDS))}")


def image(machine: str) -> str:
    """The guest image of such a machine."""
    return INITRDS.get(machine, "debian-13")


def boot(sealed: Sealed, condition: str) -> Outcome:
    """Do to a machine what a condition says, and judge its boot.

    Raises:
        UsageError: There is no such condition.
        RigError: There is no verdict.
    """
    return boot_under(_condition(condition), sealed)


def predicted(sealed: Sealed, condition: str) -> Mapping[str, Unlock]:
    """What the oracle says of each volume of a machine under a condition, by the volume's name.

    Raises:
        UsageError: There is no such condition.
    """
    world = _condition(condition).world_of(sealed.tangs)
    stack = ROOTS.get(sealed.context.image.name, Stack.DR)
    return {volume.name: predict(volume, world, stack).unlock for volume in sealed.policy.volumes}


def _condition(name: str) -> Condition:
    known = {condition.name: condition for condition in all_conditions()}
    if name not in known:
        raise UsageError(f"there is no condition {name!r}", f"there is: {', '.join(known)}")
    return known[name]
