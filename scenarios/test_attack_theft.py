"""The machine is carried off, or copied whole: whoever has its TPM boots what they like there."""

import shlex

import pytest

from harness.api import TPM_PIN, Rescue, Sealed, Tang, Unlock
from harness.api.attack import Attacker, Grant, new_signing_key, nvram, sign_boot_images

BY_THE_TPM = {"tpm2", "tpm2-pcr7", "tpm2-or-tang", "no-threshold"}


@pytest.mark.attack(Grant.MACHINE)
@pytest.mark.parametrize(
    "falls",
    [
        pytest.param(BY_THE_TPM, marks=pytest.mark.policy("side-by-side"), id="clevis"),
        pytest.param({"var"}, marks=pytest.mark.policy("cryptenroll-pcr7"), id="cryptenroll-pcr7"),
    ],
)
def test_stolen_foreign_os(attacker: Attacker, falls: set[str]) -> None:
    """The thief boots a live system on the stolen machine, and has its TPM unseal the key.

    Granted: the machine, out of reach of Tang. A seal without PCRs, as ``tpm2: true`` makes it, asks for nothing but
    the TPM. PCR 7 says which keys Secure Boot trusts: with Secure Boot off it is the same for every system. PCR 4
    holds the hash of what the firmware started, which here is another image.
    Seen with clevis 20 and systemd 257.13: just the volumes of TPM alone and those where it suffices open, PCR 7 among
    them; PCR 4 is refused (0x99d), and Tang refuses.
    The cure: a second factor that is not in the machine (Tang, a PIN), or a seal to what is booted, all of it.
    Source: seed 000; clevis#335; TCG PC Client Platform Firmware Profile, 3.3.4.5.
    """
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        assert attacker.try_bindings(system) == falls


@pytest.mark.policy("cryptenroll-pin")
@pytest.mark.attack(Grant.MACHINE)
def test_stolen_foreign_os_without_the_pin(sealed: Sealed, attacker: Attacker) -> None:
    """The cure beside Tang: a TPM that wants a PIN gives nothing to a thief who guesses another.

    Granted: the machine, out of reach of Tang. As a control the right PIN opens it in the thief's own system. That the
    TPM counts the guesses is in `test_tpm_state_rollback`.
    Source: systemd-cryptenroll(1), ``--tpm2-with-pin=``.
    """
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        guess = system.canary("var") if system.unlock_by_binding("var", pin="0000") else None
        loot = attacker.submit(guess, evidence=system.evidence)
        assert system.unlock_by_binding("var", pin=TPM_PIN), "the right PIN does not open it either"
    assert not loot.extracted


@pytest.mark.policy("cryptenroll-pcr7")
@pytest.mark.attack(Grant.MACHINE)
def test_stolen_foreign_os_under_secure_boot(sealed: Sealed, attacker: Attacker) -> None:
    """Secure Boot is on, and PCR 7 tells by whose key an image was let in: it keeps the key from all but that signer's.

    The owner enrolls one key, signs the image, and seals anew. The thief switches Secure Boot off, as the live system
    is signed by nobody: PCR 7 is another. Then they bring a system that is signed by the very same key, as any
    distribution's medium is where the firmware trusts a vendor's: PCR 7 is the victim's. Seen with systemd 257.13.

    Granted: the machine, out of reach of Tang. The cure: a key of one's own in db, and no vendor's; a second factor.
    Source: TCG PC Client Platform Firmware Profile, 3.3.4.8 (EV_EFI_VARIABLE_AUTHORITY); clevis#335.
    """
    signer = new_signing_key("signer")
    sign_boot_images(sealed.machine.disks[0].path, signer)
    sealed.machine.nvram.write_bytes(nvram.enable_secure_boot(sealed.machine.nvram.read_bytes(), signer.certificate))
    sealed.maintain(
        f"PASSWORD={shlex.quote(sealed.passphrase)} systemd-cryptenroll --wipe-slot=tpm2 --tpm2-device=auto"
        " --tpm2-public-key= --tpm2-pcrs=7 /dev/disk/by-partlabel/var"
    )
    variables = attacker.nvram()
    variables.write_bytes(nvram.disable_secure_boot(variables.read_bytes()))
    fell = {}
    with attacker.boot_live_system(disk=attacker.disk(), nvram=variables) as system:
        fell["nobody's"] = extracted(attacker, system, "pcr7-own-key")
    with attacker.boot_live_system(disk=attacker.disk(), signer=signer) as system:
        fell["the same"] = extracted(attacker, system, "pcr7-vendor-key")
    assert fell == {"nobody's": False, "the same": True}


def extracted(attacker: Attacker, system: Rescue, guard: str) -> bool:
    """Whether the binding opens in the live system, and the secret is read."""
    canary = system.canary("var") if system.unlock_by_binding("var") else None
    return attacker.submit(canary, guard=guard, evidence=system.evidence).extracted


@pytest.mark.policy("side-by-side")
@pytest.mark.attack(Grant.MACHINE)
def test_stolen_same_boot_image(sealed: Sealed, attacker: Attacker) -> None:
    """PCR 4 does not tell a system from another one that boots by the same image: the thief brings that image.

    The thief's disk starts with the victim's own boot image, which is public, and goes on into the thief's root file
    system. PCR 4 is what it was, and the TPM unseals.

    Granted: the machine, out of reach of Tang. The cure: as above; PCR 4 alone is none.
    Source: TCG PC Client Platform Firmware Profile, 3.3.4.5; clevis#335.
    """
    with attacker.boot_live_system(disk=attacker.disk(), image=sealed.entry.image.name) as system:
        opened = attacker.try_bindings(system, "tpm2-pcr4", "tpm2-and-tang")
    assert opened == {"tpm2-pcr4"}


@pytest.mark.policy("side-by-side")
@pytest.mark.attack(Grant.MACHINE)
def test_ignition_threshold(sealed: Sealed, attacker: Attacker) -> None:
    """TPM and Tang in the Butane file and no threshold: it is 1, so the thief of the machine needs no Tang.

    Seen with Ignition 2.14 and clevis 20, in the boot of `test_stolen_foreign_os`, which asks these two as well.

    Granted: the machine, out of reach of Tang. The cure is one line, ``threshold: 2``.
    Source: Ignition's luks.go; Butane, "threshold (integer): sets the minimum number of pieces … Default is 1".
    """
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        opened = attacker.try_bindings(system, "no-threshold", "tpm2-and-tang")
    assert opened == {"no-threshold"}


@pytest.mark.policy("tpm2-or-tang")
@pytest.mark.attack(Grant.MACHINE)
def test_stolen_server_offsite_opens_when_the_tpm_suffices(sealed: Sealed, attacker: Attacker, tang: Tang) -> None:
    """The thief switches the stolen machine on where Tang refuses it: with threshold 1 it opens as ever.

    Granted: the machine, out of reach of Tang. The cure: threshold 2. Source: seed 000.
    """
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.AUTO
    assert loot.unlocked_by == {"tpm2"}
    assert loot.canary == sealed.canary
    assert not tang.recoveries


@pytest.mark.policy("tpm2-and-tang")
@pytest.mark.attack(Grant.MACHINE)
def test_stolen_server_offsite_stays_shut(sealed: Sealed, attacker: Attacker, tang: Tang) -> None:
    """The same theft with threshold 2: the TPM gives its share, Tang does not, and the machine asks.

    Granted: the machine, out of reach of Tang. Source: seed 000.
    """
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.LOCKED
    assert loot.failed_pins == {"tang"}
    assert loot.canary is None
    assert not tang.recoveries


@pytest.mark.policy("cryptenroll-pcr7")
@pytest.mark.attack(Grant.DISK, Grant.NVRAM, Grant.TPM_STATE)
def test_tpm_state_clone(sealed: Sealed, attacker: Attacker) -> None:
    """A virtual machine is copied with the state of its virtual TPM, and the copy opens.

    Granted: disk, UEFI variables, TPM state. A real TPM does not give its seeds away; a virtual one is a file beside
    the disk, and backups and snapshots hold both. The cure: Tang beside the TPM, which the copy does not reach
    (`test_disk_clone`, far), or a PIN (below). Source: TCG TPM 2.0 Library, Part 1, 14; swtpm(8), ``--tpmstate``.
    """
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.AUTO
    assert loot.canary == sealed.canary


@pytest.mark.policy("cryptenroll-pin")
@pytest.mark.attack(Grant.DISK, Grant.NVRAM, Grant.TPM_STATE)
def test_tpm_state_clone_without_the_pin(attacker: Attacker) -> None:
    """The same copy of a machine whose TPM wants a PIN: it asks for that, and stays shut.

    Granted: as above. But whoever has the state has as many guesses as they like; that the right PIN opens such a copy
    is shown there, too (`test_tpm_state_rollback`). Source: systemd-cryptenroll(1), ``--tpm2-with-pin=``.
    """
    loot = attacker.boot(disk=attacker.disk())
    assert loot.unlock is Unlock.LOCKED
    assert any("token PIN" in proof for proof in loot.proofs), "no PIN was asked for, so the TPM was not either"
    assert loot.canary is None
