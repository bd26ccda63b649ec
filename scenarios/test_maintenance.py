"""What an owner does to a machine in use: in the right order nobody is asked, in the wrong one a person must type."""

import pytest

from harness.api import Enrolment, Sealed, Tang, Tpm2Pin, Unlock, faults, maintenance


@pytest.mark.policy("tpm2-and-tang")
def test_tang_rotation_in_the_right_order(sealed: Sealed, tang: Tang) -> None:
    """Keys rotated, every client bound anew, and only then the old keys deleted: nobody is asked.

    Source: tang(8), "Rotating keys"; clevis-luks-regen(1).
    """
    tang.rotate_keys()
    sealed = sealed.maintained(maintenance.rebound)
    tang.delete_old_keys()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tpm2", "tang"}


@pytest.mark.policy("tpm2-and-tang")
def test_tang_rotation_in_the_wrong_order(sealed: Sealed, tang: Tang) -> None:
    """The old keys deleted before the client was bound anew: it asks, and the passphrase brings the binding back.

    Source: tang(8), "Rotating keys"; clevis-luks-regen(1).
    """
    tang.rotate_keys()
    tang.delete_old_keys()
    late = sealed.boot()
    assert late.unlock is Unlock.PASSPHRASE_FALLBACK
    assert late.failed_pins == {"tang"}
    assert sealed.maintained(maintenance.rebound).boot().unlock is Unlock.AUTO


@pytest.mark.policy("tpm2-and-tang")
def test_unbound_it_asks_though_all_is_well(sealed: Sealed) -> None:
    """``clevis luks unbind`` takes the token and its keyslot away: no pin is asked, a person must type.

    Source: clevis-luks-unbind(1).
    """
    outcome = sealed.maintained(maintenance.unbound).boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert not outcome.failed_pins
    assert not sealed.header("var").tokens


@pytest.mark.policy("cryptenroll-pcr0-7")
def test_firmware_update_with_recovery_and_enrolment_anew(sealed: Sealed) -> None:
    """New firmware changes PCR 0: a person types once, enrolls anew, and is not asked again.

    Enrolled anew before the update, it would be sealed to the firmware that goes away: `make matrix` shows that in the
    column firmware-renewed-early. Source: seed 001; systemd-cryptenroll(1), ``--wipe-slot=``.
    """
    update = faults.firmware_swapped("bookworm")
    assert sealed.boot(update).unlock is Unlock.PASSPHRASE_FALLBACK
    assert sealed.maintained(maintenance.rebound, update).boot(update).unlock is Unlock.AUTO


PINNED = Enrolment("root-tpm2-pcr8-9", (Tpm2Pin((8, 9), "sha256"),))
"""What GRUB did, and what it read: PCRs 8 and 9 hold its commands, the kernel, its arguments and the initrd."""


def rebuilt_initrd(module: str) -> tuple[str, ...]:
    """The commands of root that make an initrd with one kernel module more. /boot is too small for two of them."""
    return (
        "mount /boot",
        f"echo {module} >> /etc/initramfs-tools/modules",
        'mkinitramfs -o /run/initrd "$(uname -r)"',
        'cat /run/initrd > "/boot/initrd.img-$(uname -r)"',
    )


@pytest.mark.image("debian-13-initramfs")
@pytest.mark.policy(PINNED)
def test_an_update_asks_unless_the_pcrs_were_unpinned_before(sealed: Sealed) -> None:
    """PCRs 8 and 9 pinned, the initrd rebuilt: a person must type. Unpinned before and pinned after: nobody.

    Source: seed 003; clevis-luks-edit(1); GNU GRUB manual, "Measuring boot components".
    """
    sealed.maintain(*rebuilt_initrd("loop"))
    assert sealed.boot().unlock is Unlock.PASSPHRASE_FALLBACK

    sealed = sealed.maintained(maintenance.edited(lambda _: Tpm2Pin()))
    sealed.maintain(*rebuilt_initrd("dm_verity"))
    assert sealed.boot().unlock is Unlock.AUTO
    pinned = sealed.maintained(maintenance.edited(lambda _: Tpm2Pin((8, 9), "sha256")))
    assert pinned.boot().unlock is Unlock.AUTO
