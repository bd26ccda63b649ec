"""A slice of the truth table: many policies in one machine, each boot judges all. `make matrix` boots the whole."""

import pytest

from harness.api import Sealed, truth_table

IN_INITRD = [
    pytest.param(
        machine, marks=[pytest.mark.image(truth_table.image(machine)), pytest.mark.policy(truth_table.policy(machine))]
    )
    for machine in ("in-dracut", "in-initramfs")
]


@pytest.mark.policy(truth_table.policy("by-butane"))
@pytest.mark.parametrize(
    "condition",
    [
        "present",
        pytest.param("without tpm2+two", id="without-tpm2+two"),
        "tpm-absent",
        pytest.param("without tang", id="without-tang"),
    ],
)
def test_every_policy_does_what_its_threshold_says(sealed: Sealed, condition: str) -> None:
    """Each volume opens iff at least as many of its pins answer as its threshold wants, nested thresholds too.

    What is expected comes from the rules of `harness.policy.oracle`, which read the policy and never a boot; what is
    seen comes from each volume's own evidence. Source: clevis-encrypt-sss(1).
    """
    does_what_the_oracle_says(sealed, condition)


@pytest.mark.parametrize("machine", IN_INITRD)
@pytest.mark.parametrize("condition", [pytest.param("without tang", id="without-tang"), "tpm-absent"])
def test_the_initrd_does_the_same(sealed: Sealed, condition: str, machine: str) -> None:
    """The same policies where the initrd opens them, beside an encrypted root: dracut with systemd, initramfs-tools.

    The one asks for all volumes at once. The other, Debian's default, for one after the other, and clevis with it.
    Source: systemd-cryptsetup-generator(8); clevis 20, local-top/clevis; cryptsetup-initramfs 2.7.5,
    local-top/cryptroot.
    """
    assert sealed.policy.name == machine
    does_what_the_oracle_says(sealed, condition)


def does_what_the_oracle_says(sealed: Sealed, condition: str) -> None:
    """Boot under a condition, and hold each volume to what is predicted of it."""
    outcome = truth_table.boot(sealed, condition)
    assert {name: each.unlock for name, each in outcome.volumes.items()} == truth_table.predicted(sealed, condition)
    for name, each in outcome.volumes.items():
        assert each.canary == sealed.canaries[name]
