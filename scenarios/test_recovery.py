"""The way back in: the passphrase, typed badly and then well, and by hand in another machine."""

import pytest

from harness.api import Sealed, Tang, Unlock


@pytest.mark.core
@pytest.mark.policy("tpm2-and-tang")
def test_wrong_passphrase_then_the_right_one(sealed: Sealed, tang: Tang) -> None:
    """A wrong passphrase is refused and asked for again; the right one then opens.

    Seen with systemd 257: one wrong passphrase brings two lines "Passphrase incorrect?" and one new prompt.
    Source: systemd-cryptsetup@.service(8), ``tries=``; systemd#38495.
    """
    tang.stop()
    outcome = sealed.boot(typing=("not the passphrase", sealed.passphrase))
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.prompts >= 2
    assert outcome.canary == sealed.canary


@pytest.mark.homelab
@pytest.mark.policy("tpm2-and-tang")
def test_manual_mount_in_a_rescue_machine(sealed: Sealed) -> None:
    """The disk in another machine: the passphrase opens it by hand, a wrong one does not.

    Source: seed 000, "je peux toujours monter la partition chiffrée en saisissant manuellement la clé secrète".
    """
    with sealed.rescue() as rescue:
        assert not rescue.unlock("var", "not the passphrase")
        assert rescue.unlock("var", sealed.passphrase)
        assert rescue.canary("var") == sealed.canary
