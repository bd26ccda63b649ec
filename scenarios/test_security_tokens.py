"""Security tokens: a FIDO2 security key at the machine, and a PKCS#11 token in files of the guest.

Both are enrolled by systemd-cryptenroll and asked by systemd before any passphrase. The security key is the harness's,
at a virtio-serial port; the guest shows it as a HID device, and never holds its secret. The PKCS#11 token is SoftHSM2,
on the guest's root, which nothing encrypts. One that stands elsewhere on the network is in `test_hsm`.
"""

import pytest

from harness.api import FIDO2_PIN, PKCS11_PIN, Sealed, Unlock, faults, truth_table
from harness.api.attack import Attacker, Grant, softhsm

pytestmark = pytest.mark.image("debian-13-tokens")

WRONG = "0000"


@pytest.mark.policy("fido2")
def test_a_security_key_opens_by_itself(sealed: Sealed) -> None:
    """The key is plugged in and wants no PIN: the volume opens, and the key says that it gave its secret.

    Source: systemd-cryptenroll(1), ``--fido2-device=``; CTAP 2.1, 12.5.
    """
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"fido2"}
    assert any("hmac-secret" in proof for proof in outcome.proofs)
    assert outcome.canary == sealed.canary


@pytest.mark.policy("fido2")
def test_without_its_security_key_it_asks_once_token_timeout_is_over(sealed: Sealed) -> None:
    """No key: systemd waits 30 s for one, and then asks for the passphrase. Source: crypttab(5), ``token-timeout=``."""
    outcome = sealed.boot(faults.security_key_removed)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"fido2"}
    assert any("Timed out waiting for security device" in failure.reason for failure in outcome.failures)
    assert outcome.canary == sealed.canary


@pytest.mark.policy("fido2")
def test_another_security_key_does_not_open_it(sealed: Sealed) -> None:
    """A key of the same make that was never enrolled here knows no such credential, and says so.

    For systemd it is as if there were none. Source: CTAP 2.1, 6.2; systemd 257, libfido2-util.c.
    """
    outcome = sealed.boot(faults.security_key_replaced)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"fido2"}
    assert any("no credentials" in failure.reason for failure in outcome.failures)


@pytest.mark.policy("fido2")
@pytest.mark.attack(Grant.MACHINE)
def test_stolen_machine_without_its_security_key(attacker: Attacker) -> None:
    """A thief has the disk and the whole machine, and the owner kept the key: it stays shut.

    Granted: the machine. The control is the next one. Source: systemd-cryptenroll(1), ``--fido2-device=``.
    """
    outcome = attacker.boot(disk=attacker.disk())
    assert outcome.unlock is Unlock.LOCKED
    assert outcome.canary is None


@pytest.mark.policy("fido2")
@pytest.mark.attack(Grant.MACHINE, Grant.TOKENS)
def test_stolen_machine_with_its_security_key(sealed: Sealed, attacker: Attacker) -> None:
    """The control: the key was left in the machine, and opens it.

    Granted: the machine, the key. The cure: a PIN. Source: CTAP 2.1, 12.5 (hmac-secret).
    """
    outcome = attacker.boot(disk=attacker.disk())
    assert outcome.unlock is Unlock.AUTO
    assert outcome.canary == sealed.canary


@pytest.mark.policy("fido2-pin")
def test_a_security_key_opens_by_its_pin_and_not_by_another(sealed: Sealed) -> None:
    """A wrong PIN: systemd asks again. The right one: it opens, with no passphrase typed.

    Source: systemd-cryptenroll(1), ``--fido2-with-client-pin=``; CTAP 2.1, 6.5.6.
    """
    outcome = sealed.boot(tpm_pins=[WRONG, FIDO2_PIN])
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.unlocked_by == {"fido2"}
    assert outcome.prompts == 2
    assert outcome.canary == sealed.canary


@pytest.mark.policy("fido2-pin")
def test_three_wrong_pins_block_the_security_key_and_cost_the_prompt_for_the_passphrase(sealed: Sealed) -> None:
    """The key is blocked until it is plugged in anew. A finding: systemd then gives up, and asks for no passphrase.

    Source: CTAP 2.1, 6.5.6; systemd 257, cryptsetup.c: of all failures of a FIDO2 token, only one that is missing
    leads on to the passphrase.
    """
    outcome = truth_table.boot(sealed, "pin-blocked")
    assert outcome.unlock is truth_table.predicted(sealed, "pin-blocked")["var"] is Unlock.LOCKED
    assert any("PIN authentication blocked" in failure.reason for failure in outcome.failures)
    assert sealed.boot().unlocked_by == {"fido2"}, "plugged in anew, it does not open by its PIN"


@pytest.mark.policy("fido2-pin")
@pytest.mark.attack(Grant.MACHINE, Grant.TOKENS)
def test_stolen_machine_and_key_without_the_pin(attacker: Attacker) -> None:
    """The cure: the thief has machine and key, types a PIN, and gets nothing.

    Granted: the machine, the key. Source: systemd-cryptenroll(1), ``--fido2-with-client-pin=``; CTAP 2.1, 6.5.6.
    """
    outcome = attacker.boot(disk=attacker.disk(), tpm_pins=[WRONG])
    assert outcome.unlock is Unlock.LOCKED
    assert outcome.canary is None
    assert any("PIN invalid" in failure.reason for failure in outcome.failures)


@pytest.mark.policy("pkcs11")
def test_a_pkcs11_token_opens_by_its_pin_and_not_by_another(sealed: Sealed) -> None:
    """A wrong PIN: systemd asks again. The right one: the token's RSA key decrypts the volume's, and it opens.

    Source: systemd-cryptenroll(1), ``--pkcs11-token-uri=``; systemd 257, pkcs11-util.c.
    """
    outcome = sealed.boot(tpm_pins=[WRONG, PKCS11_PIN])
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.unlocked_by == {"pkcs11"}
    assert outcome.prompts == 2
    assert outcome.canary == sealed.canary


@pytest.mark.policy("pkcs11")
def test_without_its_pkcs11_token_it_asks_for_the_passphrase(sealed: Sealed) -> None:
    """The token's files are gone: nobody is asked for a PIN. Source: crypttab(5), ``token-timeout=``."""
    outcome = truth_table.boot(sealed, "soft-token-removed")
    assert outcome.unlock is truth_table.predicted(sealed, "soft-token-removed")["var"] is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"pkcs11"}
    assert outcome.canary == sealed.canary


@pytest.mark.policy("pkcs11")
def test_another_pkcs11_token_of_that_name_costs_the_prompt_for_the_passphrase(sealed: Sealed) -> None:
    """Its key decrypts, too: to something else (PKCS #1 v1.5, implicit rejection), so the token's words prove nothing.

    A finding: systemd then gives up, and asks for no passphrase. Source: systemd 257, pkcs11-util.c, cryptsetup.c.
    """
    outcome = truth_table.boot(sealed, "soft-token-replaced")
    assert outcome.unlock is truth_table.predicted(sealed, "soft-token-replaced")["var"] is Unlock.LOCKED


@pytest.mark.policy("pkcs11")
@pytest.mark.attack(Grant.DISK)
def test_a_token_in_files_is_as_good_as_its_pin(sealed: Sealed, attacker: Attacker) -> None:
    """SoftHSM2's files lie on the root, which nothing encrypts: the thief tries all PINs of five digits, and is in.

    Files count no tries, as a card does. The key of the volume is encrypted to the token's in the LUKS header, so disk
    and PIN are all that it takes. Granted: a copy of the disk. The cure: a token that is not on the disk.
    Source: SoftHSM 2.6.1, SecureDataManager.cpp; systemd 257, luks2-pkcs11.c.
    """
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        system.run("mkdir -p /run/root && mount -o ro /dev/vda4 /run/root")
        store = softhsm.Store.of(system.run(f"cd /run/root{softhsm.TOKENS} && {softhsm.LIST_TOKENS}"))
        found = softhsm.crack(store, (f"{number:05}" for number in range(100_000)))
        assert found, "no PIN of five digits is right"
        key = softhsm.private_key(store, found[1])
        token = system.run(f"cryptsetup token export --token-id 0 {system.device('var')}")
        passphrase = softhsm.passphrase(key, token)
        canary = system.canary("var") if system.unlock("var", passphrase) else None
        loot = attacker.submit(canary, evidence=system.evidence)
    assert loot.extracted
    assert loot.canary == sealed.canary
