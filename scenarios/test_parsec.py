"""Parsec (seed 002): /var opens by a key file that the Parsec service decrypts, by a key in the TPM or in files."""

import pytest

from harness.api import Sealed, Unlock, faults
from harness.api.attack import Attacker, Grant

IN_THE_TPM = "parsec-tpm"
IN_FILES = "parsec-mbed-crypto"

pytestmark = pytest.mark.image("debian-13-parsec")


@pytest.mark.policy(IN_THE_TPM)
def test_parsec_opens_var_by_a_key_in_the_tpm_and_other_users_have_none(sealed: Sealed) -> None:
    """The control: the TPM decrypts, nothing is typed. Socket and authenticator are as the document names them.

    Keys are per user: to whoever is not root there is no such key (`auth_type = "UnixPeerCredentials"`). Source: seed
    002, "Accessing TPM/HSM using Parsec".
    """
    with sealed.powered(orderly=True) as on:
        assert on.outcome.unlock is Unlock.AUTO
        assert on.outcome.unlocked_by == {"parsec"}
        assert on.outcome.canary == sealed.canary
        assert any(exchange.command == "RSA_Decrypt" and exchange.ok for exchange in on.rig.tpm_exchanges() or ())
        on.shell.run("test -S /run/parsec/parsec.sock")
        decrypt = 'parsec-tool decrypt --key-name disk-var "$(cat /etc/parsec-keys/var)"'
        assert on.shell.run(decrypt, 120).strip()
        said = on.shell.run(f"setpriv --reuid=nobody --clear-groups {decrypt} 2>&1 || true", 120)
        assert "NotFound" in said
    assert sealed.boot().unlocked_by == {"parsec"}


@pytest.mark.policy(IN_THE_TPM)
def test_without_its_tpm_parsec_does_not_start(sealed: Sealed) -> None:
    """Switched off in the firmware: a person types. `tests/real_tools/test_parsec.py` has the TPM come back.

    Parsec 1.4.1 makes no provider without its device, and ends. Source: seed 002; parsec-service 1.4.1.
    """
    without = sealed.boot(faults.tpm_removed)
    assert without.unlock is Unlock.PASSPHRASE_FALLBACK
    assert without.failed_pins == {"parsec"}


@pytest.mark.policy(IN_THE_TPM)
def test_a_cleared_tpm_has_no_key_of_parsec(sealed: Sealed) -> None:
    """The owner cleared the TPM: the key is gone for good, and Parsec does not start before its database is removed.

    It compares the name of its root key with the one in the database. Source: parsec-service 1.4.1 ("Error when
    verifying the Root Key's Name"); seen.
    """
    sealed.maintain("tpm2_clear -c lockout")
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"parsec"}


@pytest.mark.policy(IN_THE_TPM)
@pytest.mark.attack(Grant.DISK)
def test_a_stolen_disk_asks_another_tpm_in_vain(attacker: Attacker) -> None:
    """The disk in another machine, with the encrypted key, Parsec and its database on it: the TPM is not. Resisted.

    Granted: a copy of the disk. Cure: none needed. Source: seed 002, "a key stored in a TPM or a HSM".
    """
    outcome = attacker.boot(disk=attacker.disk())
    assert outcome.unlock is Unlock.LOCKED
    assert outcome.failed_pins == {"parsec"}


@pytest.mark.policy(IN_FILES)
@pytest.mark.attack(Grant.DISK)
def test_a_stolen_disk_brings_the_key_of_mbed_crypto_with_it(sealed: Sealed, attacker: Attacker) -> None:
    """The document's set-up for tests, on a machine that is no test: the disk opens wherever it is started. Extracted.

    Granted: a copy of the disk. Cure: the TPM provider. Source: seed 002, "Parsec Service for Testing".
    """
    outcome = attacker.boot(disk=attacker.disk())
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"parsec"}
    assert outcome.canary == sealed.canary


@pytest.mark.policy(IN_THE_TPM)
def test_debians_unit_lacks_the_group_of_the_tpm_and_a_folder_for_keys(sealed: Sealed) -> None:
    """As Debian installs it the service has neither provider: two findings about parsec-service 1.4.1-3.

    The unit runs as the user parsec, who is not in the group tss, to which udev gives /dev/tpmrm0: the TPM provider
    cannot be created. It has no WorkingDirectory=, and the document's config for Mbed Crypto has the database in the
    folder where the service is started, which is / then. With the image's two lines it works, which is the control.
    Source: seed 002, "Parsec Service for Testing"; parsec-service 1.4.1-3; systemd.exec(5), ``WorkingDirectory=``.
    """
    with sealed.powered() as on:
        assert on.outcome.unlocked_by == {"parsec"}
        of_the_tpm = on.shell.run(AS_DEBIAN_HAS_IT.format(provider="tpm"), 300)
        of_files = on.shell.run(AS_DEBIAN_HAS_IT.format(provider="mbed-crypto"), 300)
    assert "Provider with ID TPM provider cannot be created" in of_the_tpm
    assert "unable to open database file: ./sqlite" in of_files
    assert "Parsec is ready" not in of_the_tpm + of_files


AS_DEBIAN_HAS_IT = """
systemctl stop parsec
rm -rf /etc/systemd/system/parsec.service.d
systemctl daemon-reload
ln -sf {provider}.toml /etc/parsec/config.toml
rm -f /etc/parsec/*.sqlite3
mkdir -p /run/parsec && chown parsec /run/parsec
since=$(date +%s)
systemctl start parsec
for try in $(seq 20); do parsec-tool ping > /dev/null 2>&1 && break; sleep 1; done
systemctl stop parsec
journalctl -u parsec --since "@$since" --no-pager
"""
"""Debian's unit alone, by one of the configurations: what it says."""
