"""A root that Ignition encrypts: the first boot moves the system into it, the next ones open it in the initrd."""

import pytest

from harness.api import Sealed, Tang, Unlock, faults

pytestmark = pytest.mark.image("debian-13-storage")

SIZE = "findmnt --noheadings --bytes --output SIZE /"
GIB = 2**30


@pytest.mark.policy("moved-root")
def test_a_root_of_boot_device_opens_by_itself_and_without_tang_not_at_all(sealed: Sealed, tang: Tang) -> None:
    """TPM and Tang open root in the initrd; with Tang gone it asks, and there is no keyslot for an answer.

    Ignition removes the key that it made the volume with. Root fills the disk of 24 GiB. Source: Butane's documentation
    of fcos, ``boot_device.luks``; Ignition, internal/exec/stages/disks/luks.go; Fedora CoreOS, ignition-ostree-growfs.
    """
    with sealed.powered() as on:
        assert on.outcome.unlock is Unlock.AUTO
        assert on.outcome.unlocked_by == {"tpm2", "tang"}
        assert on.outcome.canary == sealed.canary
        assert int(on.shell.run(SIZE)) > 22 * GIB
    tang.stop()
    shut = sealed.boot()
    assert shut.unlock is Unlock.LOCKED
    assert shut.failed_pins == {"tang"}
    assert shut.prompts


@pytest.mark.policy("moved-root-with-passphrase")
def test_a_root_that_was_moved_asks_for_its_passphrase_without_the_tpm(sealed: Sealed) -> None:
    """The same written out, with a passphrase, which opens root when the TPM is gone.

    Root is as large as the file says. With the TPM it opened by itself at the end of the installation. Source: the
    same.
    """
    with sealed.powered(faults.tpm_removed) as on:
        assert on.outcome.unlock is Unlock.PASSPHRASE_FALLBACK
        assert on.outcome.failed_pins == {"tpm2"}
        assert on.outcome.canary == sealed.canary
        assert 3 * GIB < int(on.shell.run(SIZE)) < 4 * GIB


@pytest.mark.policy("moved-root-custom-pin")
def test_a_root_behind_a_custom_pin_opens_by_itself(sealed: Sealed) -> None:
    """A pin in clevis's own JSON, a threshold of TPM and Tang, opens a root that has no passphrase.

    Root grew by that pin's key, since no other was left. Source: Butane's documentation of fcos, ``clevis.custom``;
    clevis-encrypt-sss(1); Fedora CoreOS, ignition-ostree-growfs.
    """
    with sealed.powered() as on:
        assert on.outcome.unlock is Unlock.AUTO
        assert on.outcome.unlocked_by == {"tpm2", "tang"}
        assert on.outcome.canary == sealed.canary
        assert int(on.shell.run(SIZE)) > 22 * GIB


@pytest.mark.policy("moved-root-custom-pin")
def test_a_root_behind_a_custom_pin_stays_shut_under_another_pcr(sealed: Sealed) -> None:
    """With one more key in the firmware's db PCR 7 is another, and no keyslot takes a passphrase.

    Source: the same; TCG PC Client Platform Firmware Profile, 3.3.4.8.
    """
    shut = sealed.boot(faults.db_key_enrolled)
    assert shut.unlock is Unlock.LOCKED
    assert shut.failed_pins == {"tpm2"}
    assert shut.prompts
