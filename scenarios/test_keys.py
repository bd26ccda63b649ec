"""Keys that the TPM keeps beside the disk's: a PKCS#11 token in it that opens a volume, and one that logs in by SSH."""

import pytest

from harness.api import Sealed, Unlock, faults

pytestmark = [pytest.mark.image("debian-13-keys"), pytest.mark.policy("pkcs11-in-tpm")]

LIBRARY = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so"
LOGIN = (
    "printf '#!/bin/sh\\necho 24680\\n' > /run/askpass; chmod +x /run/askpass; mkdir -p /run/sshd /root/.ssh;"
    f"ssh-keygen -D {LIBRARY} > /root/.ssh/authorized_keys;"
    "ssh-keygen -q -N '' -t ed25519 -f /run/host-key;"
    "/usr/sbin/sshd -f /dev/null -h /run/host-key -p 2222 -o ListenAddress=127.0.0.1 -o PidFile=none;"
    "SSH_ASKPASS=/run/askpass SSH_ASKPASS_REQUIRE=force "
    f"ssh -F none -I {LIBRARY} -p 2222 -o StrictHostKeyChecking=no -o PreferredAuthentications=publickey"
    " 127.0.0.1 echo logged in"
)


def test_the_pin_of_a_token_in_the_tpm_opens_the_volume_and_logs_in_by_ssh(sealed: Sealed) -> None:
    """The key of tpm2-pkcs11 decrypts the volume's key; the same key is good for SSH, at the guest's own sshd.

    `tests/real_tools/test_keys.py` shows the rest of its life: clones, wrong PINs, power cuts. Source: seed 001, "SSH";
    systemd-cryptenroll(1), ``--pkcs11-token-uri=``; tpm2-pkcs11, docs/SSH.md.
    """
    with sealed.powered() as on:
        said = on.shell.run(LOGIN, 120.0)
    assert on.outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert on.outcome.unlocked_by == {"pkcs11"}
    assert "logged in" in said


def test_a_token_in_another_tpm_asks_for_its_pin_and_for_nothing_else(sealed: Sealed) -> None:
    """The store is there, the TPM is another: no PIN is right, and the passphrase, which would be, is not asked for.

    A person stands before an emergency shell. The passphrase was expected; the boot had systemd-cryptsetup end after
    "Failed to log into security token", as it does after each failure but a wrong PIN and a missing token (systemd 257,
    cryptsetup.c, run: only EAGAIN leads on). Source: seed 001, on a TPM that was replaced.
    """
    outcome = sealed.boot(faults.tpm_replaced)
    assert outcome.unlock is Unlock.LOCKED
    assert outcome.failed_pins == {"pkcs11"}
