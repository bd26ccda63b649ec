"""Tokens that a person carries: a FIDO2 security key at the machine.

It is enrolled by systemd-cryptenroll and asked by systemd before any passphrase. The security key is the harness's, at
a virtio-serial port; the guest shows it as a HID device, and never holds its secret.
"""

import pytest

from harness.api import Sealed, Unlock

pytestmark = pytest.mark.image("debian-13-tokens")


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
