"""What power cuts cost: each one after a use of what is not noDA takes one of the TPM's three tries."""

import pytest

from harness.api import Sealed, Unlock


@pytest.mark.policy("tpm2-by-both-tools")
def test_three_power_cuts_shut_what_clevis_sealed_and_not_what_systemd_did(sealed: Sealed) -> None:
    """Nobody guesses anything, the power fails three times, and at the fourth boot clevis's volume asks.

    A start without the TPM2_Shutdown of an orderly power-off counts as a failed try of what was used before, if that is
    not noDA: the primary key of clevis, which tpm2_createprimary(1) makes without it. systemd's SRK and its seals are
    noDA, so they open as ever. The owner's repair is one command. `tests/real_tools` shows the same of a PIN and of
    tpm2-pkcs11. Source: TCG TPM 2.0 Library, Part 1, 19.8; clevis#333; systemd#30330; tpm2_dictionarylockout(1).
    """
    for _ in range(3):
        assert sealed.boot(label="power-cut").unlock is Unlock.AUTO
    with sealed.powered(label="locked-out") as on:
        volumes = on.outcome.volumes
        on.shell.run("tpm2_dictionarylockout --clear-lockout")
    assert volumes["var"].unlock is Unlock.PASSPHRASE_FALLBACK
    assert volumes["var"].failed_pins == {"tpm2"}
    assert volumes["srv"].unlock is Unlock.AUTO
    assert sealed.boot(label="repaired").unlock is Unlock.AUTO
