"""A disk is cloned by night and started in another machine, with the network of the victim in reach."""

import pytest

from harness.api import Attacker, Grant, Sealed, Tang, Unlock


@pytest.mark.ci
@pytest.mark.policy("tpm2-and-tang")
@pytest.mark.attack(Grant.DISK, Grant.NETWORK)
def test_disk_clone_stays_shut_without_the_tpm(sealed: Sealed, attacker: Attacker, tang: Tang) -> None:
    """With TPM2 and Tang the clone asks for a passphrase that the attacker does not have.

    Source: seed 000, "TPM + Tang: il échoue".
    """
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.LOCKED
    assert loot.prompts >= 1
    assert loot.failed_pins == {"tpm2"}
    assert loot.canary is None
    assert tang.recoveries, "Tang was out of the attacker's reach, so this showed nothing"


@pytest.mark.ci
@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.DISK, Grant.NETWORK)
def test_disk_clone_opens_elsewhere_when_tang_alone_guards_it(sealed: Sealed, attacker: Attacker, tang: Tang) -> None:
    """With Tang alone, whoever reaches the server opens the clone and reads the secret.

    Source: seed 000, "Tang seul : il réussit".
    """
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.AUTO
    assert loot.canary == sealed.canary
    assert tang.recoveries
