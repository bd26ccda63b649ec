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
from harness.lab.sealed import Sealed
from harness.matrix.condition import Condition
from harness.matrix.conditions import all_conditions
from harness.matrix.machines import table_machine
from harness.matrix.run import boot_under
from harness.policy.oracle import predict
from harness.policy.policy import Policy
from harness.unlock import Unlock


def policy(machine: str) -> Policy:
    """What a machine of the table is installed with.

    Args:
        machine: ``by-butane``, ``by-hand``, ``in-dracut``, …: `harness.matrix.machines`.

    Raises:
        UsageError: There is no such machine.
    """
    return table_machine(machine).policy


def image(machine: str) -> str:
    """The guest image of such a machine."""
    return table_machine(machine).image


def boot(sealed: Sealed, condition: str) -> Outcome:
    """Do to a machine what a condition says, and judge its boot.

    Raises:
        UsageError: There is no such condition.
        RigError: There is no verdict.
    """
    return boot_under(_condition(condition), sealed)


def predicted(sealed: Sealed, condition: str) -> Mapping[str, Unlock]:
    """What the oracle says of each volume of a machine under a condition, by the volume's name.

    Args:
        sealed: As it is before the condition's maintenance.
        condition: Its name.

    Raises:
        UsageError: There is no such condition.
    """
    found = _condition(condition)
    world, stack = found.world_of(sealed.context.asked), sealed.context.image.stack
    return {volume.name: predict(volume, world, stack).unlock for volume in found.becomes(sealed.policy.volumes)}


def _condition(name: str) -> Condition:
    known = {condition.name: condition for condition in all_conditions()}
    if name not in known:
        raise UsageError(f"there is no condition {name!r}", f"there is: {', '.join(known)}")
    return known[name]
