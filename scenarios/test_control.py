"""Control: the machine opens by itself when it should. Without it, "stayed shut" would prove nothing."""

import pytest

from harness.api import Sealed, Tang, Unlock


@pytest.mark.homelab
@pytest.mark.core
@pytest.mark.policy("tpm2-and-tang")
def test_control_unlocks_with_nothing_typed(sealed: Sealed, tang: Tang) -> None:
    """TPM2 and Tang with threshold 2: both answer, the volume opens, and what it holds can be read.

    Every other scenario of this policy stands on this one. Source: seed 000; clevis-encrypt-sss(1).
    """
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.AUTO
    assert outcome.typed_bytes == 0
    assert outcome.unlocked_by == {"tpm2", "tang"}
    assert tang.recoveries, "Tang's log shows no recovery"
    assert outcome.canary == sealed.canary


@pytest.mark.homelab
@pytest.mark.policy("seed-000")
def test_control_of_the_whole_seed(sealed: Sealed) -> None:
    """The Butane file of the article installs unchanged, with its Argon2id keyslots, and opens by itself.

    Source: seed 000, "Setup Fedora CoreOS avec LUKS et Tang".
    """
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.AUTO
    assert outcome.canary == sealed.canary
