"""The binding is right, the pin would answer, and something beside it decides: slips that owners reported."""

import pytest

from harness.api import Enrolment, Sealed, Tang, Unlock

UNBOUND_ROOT = Enrolment("root-unbound")


@pytest.mark.policy("tang")
def test_nobody_asks_the_pin(sealed: Sealed, tang: Tang) -> None:
    """Nobody enabled clevis-luks-askpass.path: a person is asked, though no pin failed and Tang was not called.

    Source: fedora-coreos-tracker#687, clevis#344.
    """
    sealed.maintain("systemctl disable clevis-luks-askpass.path", "! systemctl is-enabled clevis-luks-askpass.path")
    before = len(tang.recoveries)
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert not outcome.failed_pins
    assert len(tang.recoveries) == before
    assert outcome.canary == sealed.canary


@pytest.mark.policy("data-behind-tang")
def test_remote_target_opens_a_data_volume_by_itself(sealed: Sealed, tang: Tang) -> None:
    """Nothing mounts a volume with _netdev: the target of remote volumes, which is enabled, still opens it.

    Source: clevis#457, systemd#27101.
    """
    sealed.maintain("grep -w _netdev /etc/crypttab", "systemctl disable var-lib-data.mount")
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tang"}


@pytest.mark.policy("data-behind-tang")
def test_without_the_remote_target_it_stays_shut(sealed: Sealed, tang: Tang) -> None:
    """Neither its mount nor remote-cryptsetup.target is enabled: the boot goes through, and nobody is asked.

    Source: clevis#457, systemd#27101.
    """
    sealed.maintain("systemctl disable var-lib-data.mount", "systemctl disable remote-cryptsetup.target")
    before = len(tang.recoveries)
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.LOCKED
    assert outcome.prompts == 0
    assert len(tang.recoveries) == before


@pytest.mark.image("debian-13-initramfs")
@pytest.mark.policy(UNBOUND_ROOT)
def test_initramfs_tools_ignores_a_token_of_systemd(sealed: Sealed) -> None:
    """tpm2-device= in crypttab, a token in the header, its TPM in the machine, and a person is asked all the same.

    The scripts of cryptsetup-initramfs do not know that option. Source: Debian #1137437.
    """
    sealed.maintain(
        "device=$(readlink -f /dev/disk/by-partlabel/root)",
        f'PASSWORD={sealed.passphrase!r} systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs=7 "$device"',
        "sed -i 's/luks,initramfs/&,tpm2-device=auto/' /etc/crypttab",
        "grep tpm2-device /etc/crypttab",
        "mount /boot",
        'mkinitramfs -o /run/initrd "$(uname -r)"',
        'cat /run/initrd > "/boot/initrd.img-$(uname -r)"',
    )
    assert [token for token in sealed.header("root").tokens if token.type == "systemd-tpm2"]
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.canary == sealed.canary
