"""What the disk does when its Tang server is down, silent, far away, or has other keys."""

import pytest

from harness.api import OFFLINE_SECONDS, Enrolment, Sealed, Tang, TangPin, Tpm2Pin, Unlock, faults

TANG_THEN_TPM2 = Enrolment("tang-then-tpm2", (TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@"), Tpm2Pin()))


@pytest.mark.homelab
@pytest.mark.core
@pytest.mark.policy("tpm2-and-tang")
def test_tang_down_asks_for_the_passphrase(sealed: Sealed, tang: Tang) -> None:
    """Threshold 2, connections to Tang refused: clevis gives up at once, a person must type.

    Source: seed 000; clevis-decrypt-tang.
    """
    tang.stop()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tang"}


@pytest.mark.policy("tpm2-or-tang")
def test_tang_down_is_no_matter_when_the_tpm_suffices(sealed: Sealed, tang: Tang) -> None:
    """Threshold 1, connections to Tang refused: the TPM alone opens it. Source: clevis-encrypt-sss(1)."""
    tang.stop()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tpm2"}
    assert outcome.failed_pins == {"tang"}


@pytest.mark.core
@pytest.mark.policy("tpm2-and-tang")
def test_tang_blackhole_leaves_the_prompt_usable(sealed: Sealed, tang: Tang) -> None:
    """Packets to Tang vanish: clevis waits for minutes, since its curl has no time limit; the prompt must not.

    Silent and refused are different faults: nothing fails, so nothing is logged, and the harness types after its
    stated hold time. Source: field observation; clevis#274, clevis#472.
    """
    tang.go_silent()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.canary == sealed.canary
    assert not tang.recoveries


@pytest.mark.policy(TANG_THEN_TPM2)
def test_tang_blackhole_gives_way_to_the_next_binding(sealed: Sealed, tang: Tang) -> None:
    """Two bindings on one volume, Tang's first, and packets to Tang vanish: after its time-out the TPM opens.

    Seen, where a binding that hangs was expected to starve the later ones: that holds for a server which accepts and
    never answers. Source: clevis 20, clevis_luks_unlock_device; tcp(7), ``tcp_syn_retries``.
    """
    tang.go_silent()
    outcome = sealed.boot(hold=OFFLINE_SECONDS)
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tpm2"}
    assert outcome.failed_pins == {"tang"}
    assert outcome.canary == sealed.canary


@pytest.mark.homelab
@pytest.mark.policy("tpm2-and-tang")
def test_stolen_server_offsite_asks_for_the_passphrase(sealed: Sealed, tang: Tang) -> None:
    """The whole machine is stolen, TPM and all; Tang answers only the network at home.

    At home it opens by itself, with the restriction in force; elsewhere it does not. Source: seed 000.
    """
    tang.answers_only("home")
    assert sealed.boot().unlock is Unlock.AUTO
    elsewhere = sealed.boot(faults.moved_offsite, typing=())
    assert elsewhere.unlock is Unlock.LOCKED
    assert elsewhere.prompts >= 1
    assert elsewhere.canary is None


@pytest.mark.policy("tpm2-and-tang")
def test_tang_key_rotated_then_deleted(sealed: Sealed, tang: Tang) -> None:
    """A rotated key still serves, hidden from the advertisement; deleted, it is gone for good.

    Whoever deletes before every client was bound anew finds machines waiting at their prompt. Source: tang(8),
    "Rotating keys"; clevis-luks-report(1).
    """
    tang.rotate_keys()
    rotated = sealed.boot()
    assert rotated.unlock is Unlock.AUTO
    assert tang.recoveries
    tang.delete_old_keys()
    deleted = sealed.boot()
    assert deleted.unlock is Unlock.PASSPHRASE_FALLBACK
    assert deleted.failed_pins == {"tang"}
