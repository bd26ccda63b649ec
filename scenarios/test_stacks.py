"""An encrypted root, opened in the initrd: by dracut and systemd, and by the initramfs-tools of two releases."""

import pytest

from harness.api import OFFLINE_SECONDS, Sealed, Tang, Unlock, faults

STACKS = [
    pytest.param(name, marks=pytest.mark.image(name))
    for name in ("debian-13-root", "debian-13-initramfs", "debian-12-initramfs")
]


@pytest.mark.policy("root-tpm2-and-tang")
@pytest.mark.parametrize("stack", STACKS)
def test_root_opens_by_itself_while_both_pins_answer(sealed: Sealed, tang: Tang, stack: str) -> None:
    """TPM2 and Tang on the root file system, bound in the running guest: both answer in the initrd.

    Source: clevis-luks-unlockers(7), "Dracut" and "Initramfs-tools".
    """
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tpm2", "tang"}
    assert outcome.canary == sealed.canary
    assert tang.recoveries


@pytest.mark.policy("root-tpm2-and-tang")
@pytest.mark.parametrize("stack", STACKS)
def test_root_asks_without_tang(sealed: Sealed, tang: Tang, stack: str) -> None:
    """Connections to Tang refused: the initrd asks for the passphrase of root.

    Source: clevis-luks-unlockers(7); clevis-decrypt-tang.
    """
    tang.stop()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.canary == sealed.canary


@pytest.mark.policy("root-tpm2-and-tang")
@pytest.mark.parametrize("stack", STACKS)
def test_root_asks_without_its_tpm(sealed: Sealed, stack: str) -> None:
    """The TPM switched off: the initrd asks for the passphrase of root.

    Source: clevis-luks-unlockers(7); clevis-decrypt-tpm2.
    """
    outcome = sealed.boot(faults.tpm_removed)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.canary == sealed.canary


@pytest.mark.policy("root-tpm2-and-tang")
@pytest.mark.parametrize("stack", STACKS)
def test_root_opens_by_itself_under_secure_boot(sealed: Sealed, stack: str) -> None:
    """Secure Boot on, under keys of the owner, who signed what the firmware starts: nothing here is bound to PCR 7.

    Source: UEFI specification 2.10, 32; systemd-stub(7) on addons; shim's README, "MOK".
    """
    outcome = sealed.boot(faults.secure_boot_owned)
    assert outcome.unlock is Unlock.AUTO
    assert outcome.canary == sealed.canary


@pytest.mark.policy("root-tpm2-or-tang")
@pytest.mark.parametrize("stack", STACKS[:2])
def test_root_opens_offline_by_its_tpm(sealed: Sealed, stack: str) -> None:
    """Either pin is enough, and the network cable is out: the TPM opens root, on initramfs-tools minutes later.

    There clevis first has the network configured, which ipconfig gives up after 2+3+4+6+9+16+25+36+64+100 s; who stands
    before the prompt will have typed by then. Source: clevis#534; local-top/clevis; configure_networking of
    initramfs-tools 0.148.
    """
    outcome = sealed.boot(faults.network_unplugged, hold=OFFLINE_SECONDS)
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tpm2"}
    assert outcome.seconds.prompt is not None
    assert outcome.seconds.unlock is not None
    assert (outcome.seconds.unlock - outcome.seconds.prompt > 200) is (stack == "debian-13-initramfs")
