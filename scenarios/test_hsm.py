"""An HSM on the network opens a volume: a PKCS#11 token of systemd-cryptenroll that is not in the machine.

The HSM is SoftHSM2 behind ``p11-kit remote``, a service of the laboratory; the guest's p11-kit reaches it by a module
``remote: |socat - TCP:…``. A person types its PIN.
"""

import pytest

from harness.api import PKCS11_PIN, Hsm, Sealed, Unlock
from harness.api.attack import Attacker, Grant

pytestmark = [pytest.mark.image("debian-13-tokens"), pytest.mark.policy("hsm")]


def test_an_hsm_opens_by_its_pin_and_not_by_another(sealed: Sealed, hsm: Hsm) -> None:
    """A wrong PIN: the HSM refuses, and systemd asks again. The right one: it decrypts the key of the volume.

    Its log says so. Source: pkcs11.conf(5), ``remote``; systemd-cryptenroll(1), ``--pkcs11-token-uri=``.
    """
    before = len(hsm.calls)
    outcome = sealed.boot(tpm_pins=["0000", PKCS11_PIN])
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.unlocked_by == {"hsm"}
    assert [str(call) for call in hsm.calls[before:] if call.refused] == ["C_Login => CKR_PIN_INCORRECT"]
    assert any(call.decrypted for call in hsm.calls[before:])
    assert outcome.canary == sealed.canary


def test_without_its_hsm_it_asks_for_the_passphrase(sealed: Sealed, hsm: Hsm) -> None:
    """The HSM is stopped: systemd waits for a token until ``token-timeout=`` is over, and asks. Source: crypttab(5)."""
    hsm.stop()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.unlocked_by == {"passphrase"}
    assert outcome.canary == sealed.canary


def test_another_hsm_at_its_address_costs_the_prompt_for_the_passphrase(sealed: Sealed, hsm: Hsm) -> None:
    """Another key under the same name decrypts, too: to something else, which opens nothing.

    A finding: systemd then gives up, and asks for no passphrase. Source: systemd 257, pkcs11-util.c, cryptsetup.c;
    OpenSSL, implicit rejection of PKCS #1 v1.5.
    """
    hsm.replace_key()
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.LOCKED
    assert any(call.decrypted for call in hsm.calls), "it was never asked"


@pytest.mark.attack(Grant.MACHINE)
def test_a_stolen_machine_does_not_reach_its_hsm(attacker: Attacker, hsm: Hsm) -> None:
    """The thief has the machine and knows the PIN, and the HSM answers at home alone: it stays shut.

    Granted: the machine. The cure is this: a second factor that is not in the machine. Source: pkcs11.conf(5),
    ``remote``; crypttab(5), ``token-timeout=``.
    """
    before = len(hsm.calls)
    outcome = attacker.boot(disk=attacker.disk(), tpm_pins=[PKCS11_PIN])
    assert outcome.unlock is Unlock.LOCKED
    assert outcome.canary is None
    assert len(hsm.calls) == before, "the HSM answered off-site"
