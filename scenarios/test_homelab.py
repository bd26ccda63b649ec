"""The path of a home server's owner, step by step: first the TPM alone, then a Tang server beside it.

docs/tutorial-homelab.md walks it; the steps that are scenarios elsewhere bear the mark ``homelab`` there.
Source: seed 000, the notes of such an owner.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.api import Pin, Sealed, Sss, Tang, Unlock, faults, maintenance
from harness.api.attack import Attacker, Grant

pytestmark = pytest.mark.homelab


@pytest.mark.policy("tpm2")
def test_first_file_opens_by_the_tpm_and_asks_with_the_tpm_off(sealed: Sealed) -> None:
    """The first note's file: it opens by itself, and with the TPM off in the firmware the passphrase still opens it."""
    assert sealed.boot().unlocked_by == {"tpm2"}
    without = sealed.boot(faults.tpm_removed)
    assert without.unlock is Unlock.PASSPHRASE_FALLBACK
    assert without.canary == sealed.canary


@pytest.mark.policy("tpm2")
def test_disk_in_another_machine_asks_and_takes_the_passphrase(sealed: Sealed) -> None:
    """The same disk in a machine with a TPM of its own: that one cannot unseal, and a person can type."""
    elsewhere = sealed.boot(faults.tpm_replaced)
    assert elsewhere.unlock is Unlock.PASSPHRASE_FALLBACK
    assert elsewhere.failed_pins == {"tpm2"}


@pytest.mark.policy("tpm2")
@pytest.mark.attack(Grant.MACHINE)
def test_thief_with_another_system_gets_what_the_tpm_alone_guards(sealed: Sealed, attacker: Attacker) -> None:
    """The first file's hole, as its author found it: a thief boots another system there, and the TPM unseals for it.

    Granted: the machine. The cure: the second file.
    """
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        assert attacker.try_bindings(system) == {"var"}


@pytest.mark.policy("tpm2-and-tang")
@pytest.mark.attack(Grant.MACHINE, Grant.NETWORK)
def test_thief_with_another_system_gets_nothing_off_site(sealed: Sealed, attacker: Attacker) -> None:
    """The second file, with Tang and threshold 2: out of Tang's reach the same thief has one share of two.

    As a control the same system opens it at home, where Tang answers. Granted: the machine, and first the network.
    """
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        assert attacker.try_bindings(system, control=True) == {"var"}
        assert attacker.without(Grant.NETWORK).try_bindings(system) == set()


@pytest.mark.policy("tpm2-and-tang")
def test_from_two_pins_to_one_and_back_on_a_running_machine(sealed: Sealed, tang: Tang) -> None:
    """``clevis luks edit``: with t=1 the TPM alone opens it; with t=2 again, it asks when Tang is gone."""
    one = sealed.maintained(maintenance.edited(threshold(1)))
    tang.stop()
    assert one.boot().unlocked_by == {"tpm2"}
    tang.start()
    two = one.maintained(maintenance.edited(threshold(2)))
    tang.stop()
    outcome = two.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tang"}


def threshold(needed: int) -> Callable[[Pin], Pin]:
    """The same pins, so many of which must answer."""

    def change(pins: Pin) -> Pin:
        assert isinstance(pins, Sss)
        return replace(pins, threshold=needed)

    return change
