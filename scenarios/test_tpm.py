"""What the disk does when the TPM is gone, disabled, or another one."""

import pytest

from harness.api import Sealed, Tang, Unlock, faults


@pytest.mark.homelab
@pytest.mark.core
@pytest.mark.policy("tpm2-and-tang")
def test_tpm_disabled_asks_for_the_passphrase(sealed: Sealed) -> None:
    """Threshold 2 with the TPM switched off in the firmware: one share is missing, a person must type.

    Source: seed 000 tried just this; clevis-decrypt-tpm2.
    """
    outcome = sealed.boot(faults.tpm_removed)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm2"}
    assert outcome.canary == sealed.canary


@pytest.mark.policy("tpm2-or-tang")
def test_tpm_disabled_is_no_matter_when_tang_suffices(sealed: Sealed, tang: Tang) -> None:
    """Threshold 1 with the TPM switched off: Tang alone opens it. Source: clevis-encrypt-sss(1)."""
    outcome = sealed.boot(faults.tpm_removed)
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tang"}
    assert tang.recoveries


@pytest.mark.policy("tpm2-and-tang")
def test_tpm_replaced_asks_for_the_passphrase(sealed: Sealed) -> None:
    """Another TPM cannot load what this one sealed: the storage seed differs (TPM 2.0 part 1, 14).

    So it is after a change of the mainboard, and for a thief who has the disk and another TPM. Seen: TPM2_Load
    answers 0x1df, integrity check failed.
    Source: systemd#34506 shows the same for systemd-cryptenroll.
    """
    outcome = sealed.boot(faults.tpm_replaced)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm2"}


@pytest.mark.policy("tpm2-and-tang")
def test_tpm_io_error_asks_for_the_passphrase(sealed: Sealed) -> None:
    """The TPM is there, answers, and fails when it is asked to unseal: that does not hold up the boot.

    The failure is the scenario's own, and the guest is judged by what it does about it; a TPM that fails of itself is
    an error of the rig. Source: TCG TPM 2.0 Library, Part 1, 12.2.7 (failure mode); clevis-decrypt-tpm2.
    """
    outcome = sealed.boot(faults.tpm_fails)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm2"}
    assert outcome.canary == sealed.canary


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param("clevis", marks=pytest.mark.policy("tpm2-and-tang")),
        pytest.param("systemd", marks=pytest.mark.policy("cryptenroll-pcr7")),
    ],
)
def test_a_tpm_1_2_in_the_place_of_a_2_0_asks_for_the_passphrase(sealed: Sealed, tool: str) -> None:
    """Neither clevis nor systemd has a TPM 1.2: what a 2.0 sealed stays shut, and a person must type.

    Source: seed 001, which keeps the two apart; clevis#462; systemd#22091.
    """
    outcome = sealed.boot(faults.tpm_downgraded_to_1_2)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm2"}
    assert outcome.canary == sealed.canary
