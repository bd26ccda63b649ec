"""TPM2 tokens of systemd-cryptenroll, enrolled in the installed guest as its owner would."""

import pytest

from harness.api import Fault, Sealed, Unlock, faults


@pytest.mark.policy("cryptenroll-pcr7")
def test_a_tpm2_token_opens_by_itself_until_pcr_7_changes(sealed: Sealed) -> None:
    """Raw PCR 7: it opens while Secure Boot's keys stay as they were, and asks once one more is enrolled.

    Source: seed 001; systemd-cryptenroll(1), ``--tpm2-pcrs=``.
    """
    before = sealed.boot()
    after = sealed.boot(faults.db_key_enrolled)
    assert before.unlock is Unlock.AUTO
    assert before.unlocked_by == {"tpm2"}
    assert after.unlock is Unlock.PASSPHRASE_FALLBACK
    assert after.failed_pins == {"tpm2"}


@pytest.mark.policy("cryptenroll-pcr7")
@pytest.mark.parametrize("fault", [faults.tpm_removed, faults.tpm_replaced])
def test_a_tpm2_token_asks_without_its_tpm(sealed: Sealed, fault: Fault) -> None:
    """No TPM, or another one: a person must type. Source: systemd-cryptsetup; systemd#34506."""
    outcome = sealed.boot(fault)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm2"}
    assert outcome.canary == sealed.canary


@pytest.mark.policy("cryptenroll-pin")
def test_a_token_with_a_pin_asks_for_it(sealed: Sealed) -> None:
    """A PIN beside the TPM: the machine never opens by itself; the PIN opens it, the TPM checks it.

    Source: systemd-cryptenroll(1), ``--tpm2-with-pin=``.
    """
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.unlocked_by == {"tpm2"}
    assert outcome.typed_bytes > 0
