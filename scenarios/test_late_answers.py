"""A pin that failed may answer yet: a server that starts after its client, PCRs that changed, half a rotation."""

import pytest

from harness.api import CryptenrollPin, Enrolment, Sealed, Tang, Unlock, events, faults

PCR_7 = Enrolment("cryptenroll-pcr7-once", (CryptenrollPin((7,)),))


@pytest.mark.policy("tang")
def test_silent_server_that_answers_after_the_prompt(sealed: Sealed, tang: Tang) -> None:
    """Packets to Tang vanish until the prompt is there; then it answers, and the volume opens past the prompt.

    Source: booster#114, tang#132.
    """
    asked: list[events.Event] = []

    def comes_up(_rig: object, event: events.Event) -> None:
        if isinstance(event, events.PromptShown) and not asked:
            asked.append(event)
            tang.answer()

    tang.go_silent()
    outcome = sealed.boot(meanwhile=comes_up, hold=120)
    assert asked
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tang"}
    assert outcome.prompts


@pytest.mark.policy("tang")
def test_refusing_server_that_starts_after_the_prompt(sealed: Sealed, tang: Tang) -> None:
    """The host is up and its tangd is not: clevis is refused twice, asks again, and opens it once the server is there.

    Source: booster#114; clevis-luks-askpass, which asks again every half second.
    """
    refused: list[events.Event] = []

    def comes_up(_rig: object, event: events.Event) -> None:
        if isinstance(event, events.PinFailed):
            refused.append(event)
            if len(refused) == 3:
                tang.start()

    tang.stop()
    outcome = sealed.boot(meanwhile=comes_up, hold=120)
    assert len(refused) >= 3
    assert outcome.unlock is Unlock.AUTO


@pytest.mark.policy(PCR_7)
def test_pcrs_that_change_once_under_systemd(sealed: Sealed) -> None:
    """TPM2_Unseal says once that a PCR changed: systemd-cryptsetup makes its policy session anew.

    Source: systemd#24906, #31881, #35490.
    """
    outcome = sealed.boot(faults.tpm_pcrs_change(1))
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tpm2"}


@pytest.mark.policy("tpm2-pcr7")
@pytest.mark.parametrize("times", [1, 4])
def test_pcrs_that_change_under_clevis(sealed: Sealed, times: int) -> None:
    """The same with clevis, whose pin fails each time and is asked again: no passphrase is typed meanwhile.

    Source: clevis-luks-askpass, which asks again every half second.
    """
    outcome = sealed.boot(faults.tpm_pcrs_change(times), hold=90)
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tpm2"}


@pytest.mark.policy("tang")
def test_old_signing_key_deleted_opens(sealed: Sealed, tang: Tang) -> None:
    """Of the rotated pair only the exchange key is left: that is all a recovery needs. Source: tang#161, clevis#542."""
    tang.rotate_keys()
    tang.delete_old_signing_key()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tang"}


@pytest.mark.policy("tang")
def test_old_exchange_key_deleted_asks(sealed: Sealed, tang: Tang) -> None:
    """Of the rotated pair only the signing key is left: a person must type. Source: tang#161, clevis#542."""
    tang.rotate_keys()
    tang.delete_old_exchange_key()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tang"}
