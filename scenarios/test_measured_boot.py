"""A seal that is bound to PCRs: what a change of the firmware or of its keys does to it."""

import pytest

from harness.api import Sealed, Unlock, faults


@pytest.mark.core
@pytest.mark.policy("tpm2-pcr7")
def test_pcr_changed_asks_for_the_passphrase(sealed: Sealed) -> None:
    """One more key in the firmware's db: PCR 7 is another, and the TPM does not unseal.

    Seen: TPM2_Unseal answers 0x99d, a policy check failed. Source: TCG PC Client Platform Firmware Profile, 3.3.4.8;
    clevis-encrypt-tpm2(1), ``pcr_ids``.
    """
    before = sealed.boot()
    after = sealed.boot(faults.db_key_enrolled)
    assert before.unlock is Unlock.AUTO
    assert after.unlock is Unlock.PASSPHRASE_FALLBACK
    assert after.failed_pins == {"tpm2"}
    assert after.pcrs[7] != before.pcrs[7]


@pytest.mark.policy("tpm2-pcr7")
def test_pcr_changed_is_no_matter_when_it_is_not_bound(sealed: Sealed) -> None:
    """Another build of the firmware changes PCR 0; a seal to PCR 7 does not look there, and opens.

    Source: TCG PC Client Platform Firmware Profile, 3.3.4.
    """
    before = sealed.boot()
    after = sealed.boot(faults.firmware_swapped("bookworm"))
    assert before.unlock is after.unlock is Unlock.AUTO
    assert after.pcrs[0] != before.pcrs[0]
    assert after.pcrs[7] == before.pcrs[7]


@pytest.mark.policy("tpm2-pcr0")
def test_firmware_swap_asks_for_the_passphrase_when_pcr_0_is_bound(sealed: Sealed) -> None:
    """The same update of the firmware under a seal to PCR 0: the owner must type, and seal anew.

    Source: TCG PC Client Platform Firmware Profile, 3.3.4.1.
    """
    outcome = sealed.boot(faults.firmware_swapped("bookworm"))
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm2"}


@pytest.mark.policy("tpm2-and-tang")
def test_unsigned_uki_is_refused_under_secure_boot(sealed: Sealed) -> None:
    """Secure Boot on, under keys that did not sign this image: the firmware does not start it.

    Source: UEFI specification 2.10, 32.
    """
    assert sealed.boot(faults.secure_boot_enabled).unlock is Unlock.REFUSED
