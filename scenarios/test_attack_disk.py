"""A disk is cloned by night and opened in another machine, with more or less of what stood around it."""

import pytest

from harness.api import Sealed, Tang, Unlock
from harness.api.attack import Attacker, Grant, capabilities, extract

GUARDS = ("tang", "tpm2", "tpm2-or-tang", "tpm2-and-tang")

CLONES = [
    pytest.param(
        build, marks=pytest.mark.attack(Grant.DISK, Grant.NETWORK, *copied), id="-".join((build, "disk", *copied))
    )
    for build in ("trixie", "bookworm")
    for copied in ((), (Grant.NVRAM,), (Grant.TPM_STATE,), (Grant.NVRAM, Grant.TPM_STATE))
]


@pytest.mark.policy("side-by-side")
@pytest.mark.parametrize("build", CLONES)
def test_disk_clone(sealed: Sealed, attacker: Attacker, build: str) -> None:
    """Disk, UEFI variables, TPM state and firmware, in all combinations, against four guards, Tang in reach or not.

    The attacker boots a live system beside the clone and has clevis ask whatever it reaches, first in the
    victim's network and then out of it: 64 cells in eight boots, since one disk holds a volume for each guard. Without
    the disk there is nothing to open. The victim's machine has the firmware ``trixie``.

    Granted: a copy of the disk, and the copies that the test's name says. Seen: Tang opens to whoever reaches it, TPM
    state to whoever has it; the variables and the firmware matter to none of these guards, which bind to no PCR.
    The cure: TPM and Tang with threshold 2, where a clone lacks the one and a thief of the machine the other.
    Source: seed 000.
    """
    outside = attacker.without(Grant.NETWORK)
    with attacker.boot_live_system(disk=attacker.disk(), firmware=attacker.firmware(build)) as system:
        near = attacker.try_bindings(system, *GUARDS)
        far = outside.try_bindings(system, *GUARDS)
    assert near == predicted(sealed, attacker)
    assert far == predicted(sealed, outside)
    if Grant.TPM_STATE in attacker.grants:
        assert near == set(GUARDS)
        assert far == {"tpm2", "tpm2-or-tang"}
    else:
        assert near == {"tang", "tpm2-or-tang"}
        assert far == set()


def predicted(sealed: Sealed, attacker: Attacker) -> set[str]:
    """The guards that the rules of `harness.policy.extract` say will fall to what was granted."""
    volumes = (volume for volume in sealed.policy.volumes if volume.name in GUARDS)
    return {volume.name for volume in volumes if extract(volume, capabilities(attacker.grants)).extracted}


@pytest.mark.homelab
@pytest.mark.core
@pytest.mark.policy("tpm2-and-tang")
@pytest.mark.attack(Grant.DISK, Grant.NETWORK)
def test_disk_clone_stays_shut_without_the_tpm(sealed: Sealed, attacker: Attacker, tang: Tang) -> None:
    """With TPM2 and Tang the clone, booted as it is, asks for a passphrase that the attacker does not have.

    Granted: a copy of the disk, and the victim's network. Source: seed 000, "TPM + Tang: il échoue".
    """
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.LOCKED
    assert loot.prompts >= 1
    assert loot.failed_pins == {"tpm2"}
    assert loot.canary is None
    assert tang.recoveries, "Tang was out of the attacker's reach, so this showed nothing"


@pytest.mark.homelab
@pytest.mark.core
@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.DISK, Grant.NETWORK)
def test_disk_clone_opens_elsewhere_when_tang_alone_guards_it(sealed: Sealed, attacker: Attacker, tang: Tang) -> None:
    """With Tang alone, whoever reaches the server boots the clone and reads the secret.

    Granted: a copy of the disk, and the victim's network. The cure: a TPM beside Tang, with threshold 2.
    Source: seed 000, "Tang seul : il réussit".
    """
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.AUTO
    assert loot.canary == sealed.canary
    assert tang.recoveries
