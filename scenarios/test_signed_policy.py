"""An encrypted root under a measured UKI: a signature over PCR 11, its raw value, pcrlock, a recovery key, PCR 15."""

import pytest

from harness.api import Sealed, Unlock, faults

pytestmark = pytest.mark.image("debian-13-root")


UPDATE_KERNEL = "/usr/lib/unlock-lab/update-uki kernel"
UPDATE_INITRD = "/usr/lib/unlock-lab/update-uki initrd"
OWNER_S_KEY = "/etc/systemd/tpm2-pcr-private-key.pem"
OWNER_MAKES_ANOTHER_KEY = (
    f"openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {OWNER_S_KEY}",
    f"openssl pkey -in {OWNER_S_KEY} -pubout -out /etc/systemd/tpm2-pcr-public-key.pem",
)
PREDICT = (
    "mount -t vfat /dev/disk/by-partlabel/EFI-SYSTEM /efi && export SYSTEMD_RELAX_ESP_CHECKS=1"
    " && /usr/lib/systemd/systemd-pcrlock lock-uki --pcrlock=/var/lib/pcrlock.d/650-uki.pcrlock.d/second.pcrlock"
    " /efi/EFI/BOOT/BOOTX64.EFI && /usr/lib/systemd/systemd-pcrlock make-policy --pcr=7 --pcr=11 && umount /efi"
)
ROOT = "/dev/disk/by-partlabel/root"
MAINTENANCE_SECONDS = 300.0


@pytest.mark.policy("root-signed-pcr11")
@pytest.mark.parametrize("update", [UPDATE_KERNEL, UPDATE_INITRD])
def test_signed_policy_opens_after_an_update_by_the_same_key(sealed: Sealed, update: str) -> None:
    """Bound to whatever PCR 11 the owner's key has signed: a new, signed UKI opens, nothing is enrolled anew.

    Source: systemd-measure(1); ukify(1), ``--pcr-private-key=``.
    """
    with sealed.powered() as on:
        on.shell.run(update, MAINTENANCE_SECONDS)
    after = sealed.boot()
    assert on.outcome.unlock is after.unlock is Unlock.AUTO
    assert on.outcome.unlocked_by == after.unlocked_by == {"tpm2"}
    assert after.pcrs[4] != on.outcome.pcrs[4]


@pytest.mark.policy("root-signed-pcr11")
def test_signed_policy_asks_when_another_key_has_signed(sealed: Sealed) -> None:
    """The same update signed by another key: the signature is there, and it is not by the key that was enrolled.

    Seen: systemd finds out itself ("Couldn't find signature for this PCR bank, PCR index and public key"); the TPM
    is not asked. Source: systemd-measure(1).
    """
    sealed.maintain(*OWNER_MAKES_ANOTHER_KEY, UPDATE_KERNEL)
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm2"}
    assert outcome.canary == sealed.canary


@pytest.mark.policy("root-pcr11")
def test_raw_pcr_11_asks_after_a_kernel_update(sealed: Sealed) -> None:
    """Bound to the very value that the initrd of one UKI finds: the next UKI asks, whoever signed it.

    Source: systemd-cryptenroll(1), ``--tpm2-pcrs=``.
    """
    with sealed.powered() as on:
        on.shell.run(UPDATE_KERNEL, MAINTENANCE_SECONDS)
    after = sealed.boot()
    assert on.outcome.unlock is Unlock.AUTO
    assert after.unlock is Unlock.PASSPHRASE_FALLBACK
    assert after.failed_pins == {"tpm2"}


@pytest.mark.policy("root-pcr11")
def test_raw_pcr_11_of_the_running_system_never_matches_in_the_initrd(sealed: Sealed) -> None:
    """Enrolled as one would think of first, ``--tpm2-pcrs=11``: the system has since measured that it left the initrd.

    Source: systemd-pcrphase.service(8).
    """
    sealed.maintain(
        f"PASSWORD={sealed.passphrase} systemd-cryptenroll --wipe-slot=tpm2 --tpm2-device=auto --tpm2-pcrs=11"
        f" --tpm2-public-key= {ROOT}"
    )
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm2"}


@pytest.mark.policy("root-pcrlock")
def test_pcrlock_opens_after_an_update_that_it_predicted(sealed: Sealed) -> None:
    """The next UKI is made known to pcrlock before it boots, and opens; one that was not predicted asks.

    Seen with systemd 257.13: PCRs 7 and 11 are predicted. Of PCR 4 `lock-uki` predicts only the UKI, where the log
    has also the kernel that systemd-stub starts (systemd#36076), so PCR 4 cannot be among them. The initrd has no
    pcrlock.json and takes the credential on the ESP.
    Source: systemd-pcrlock(8).
    """
    with sealed.powered() as first:
        first.shell.run(f"{UPDATE_KERNEL} && {PREDICT}", MAINTENANCE_SECONDS)
    with sealed.powered() as predicted:
        predicted.shell.run(UPDATE_INITRD, MAINTENANCE_SECONDS)
    unknown = sealed.boot()
    assert first.outcome.unlock is predicted.outcome.unlock is Unlock.AUTO
    assert predicted.outcome.pcrs[4] != first.outcome.pcrs[4]
    assert unknown.unlock is Unlock.PASSPHRASE_FALLBACK
    assert unknown.failed_pins == {"tpm2"}


@pytest.mark.policy("root-signed-pcr11")
def test_recovery_key_opens(sealed: Sealed) -> None:
    """A recovery key, typed where the TPM is gone. The prompt asks for either, or for it alone if it is all there is.

    Seen (row root-recovery-key): where there is nothing else to ask for, the console shows the key as it is typed.
    Source: systemd-cryptenroll(1), ``--recovery-key``; cryptsetup.c, get_password().
    """
    with sealed.powered() as on:
        enroll = f"PASSWORD={sealed.passphrase} systemd-cryptenroll --recovery-key {ROOT} 2>/dev/null"
        key = on.shell.run(f"{enroll} && sync", MAINTENANCE_SECONDS).strip()
    with sealed.powered(faults.tpm_removed, typing=(key,)) as on:
        either = on.outcome
        on.shell.run(f"systemd-cryptenroll --wipe-slot=password {ROOT} && sync", MAINTENANCE_SECONDS)
    alone = sealed.boot(faults.tpm_removed, typing=(key,))
    assert either.unlock is alone.unlock is Unlock.PASSPHRASE_FALLBACK
    assert either.canary == alone.canary == sealed.canary
    assert "enter passphrase or recovery key for disk" in either.proofs[0]
    assert "enter recovery key for disk" in alone.proofs[0]


@pytest.mark.policy("root-pcr15")
def test_pcr_15_opens_once_and_no_more(sealed: Sealed) -> None:
    """Bound to an empty PCR 15, into which the initrd measures the volume key: the running system cannot unseal again.

    Source: crypttab(5), ``tpm2-measure-pcr=``; oddlama, "Bypassing disk encryption on systems with automatic TPM2
    unlock".
    """
    unseal = f"cryptsetup open --test-passphrase --token-only {ROOT} >/dev/null 2>&1; echo $?"
    enroll = f"PASSWORD={sealed.passphrase} systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs= --tpm2-public-key="
    with sealed.powered() as on:
        bound = on.shell.run(unseal, MAINTENANCE_SECONDS)
        on.shell.run(f"{enroll} {ROOT}", MAINTENANCE_SECONDS)
        unbound = on.shell.run(unseal, MAINTENANCE_SECONDS)
    assert on.outcome.unlock is Unlock.AUTO
    assert int(bound)
    assert not int(unbound), "a token that is bound to nothing does not open either: the command is at fault"
