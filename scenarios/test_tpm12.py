"""A TPM 1.2, which neither clevis nor systemd has: root's key sealed by tpm-tools, and unsealed by a keyscript."""

import pytest

from harness.api import Fault, Sealed, Unlock, faults

pytestmark = [pytest.mark.image("debian-13-tpm12"), pytest.mark.policy("root-tpm12")]


def test_a_1_2_opens_root_and_is_what_it_says(sealed: Sealed) -> None:
    """The initrd starts tcsd, the TPM unseals, nobody is asked; tpm_version and tpm_selftest say what it is.

    The key is sealed to PCRs 4, 8 and 9: what the firmware started, what GRUB did, and what GRUB read. The same TPM
    offered to clevis and to systemd-cryptenroll is refused in words, and nothing is enrolled. Source: seed 001;
    crypttab(5), ``keyscript=``; tpm_version(1), tpm_selftest(1); clevis#462; systemd#22091.
    """
    with sealed.powered() as on:
        version = on.shell.run("tpm_version")
        tested = on.shell.run("tpm_selftest -l info")
        device = on.device("root")
        by_clevis = on.shell.run(
            f"echo {sealed.passphrase} | clevis luks bind -y -k - -d {device} tpm2 '{{}}' 2>&1 || true"
        )
        by_systemd = on.shell.run(
            f"PASSWORD={sealed.passphrase} systemd-cryptenroll --tpm2-device=auto {device} 2>&1 || true"
        )
    assert on.outcome.unlock is Unlock.AUTO
    assert on.outcome.unlocked_by == {"tpm12"}
    assert on.outcome.canary == sealed.canary
    assert "TPM 1.2 Version Info" in version
    assert "tpm_selftest succeeded" in tested
    assert "A TPM2 device with the in-kernel resource manager is needed!" in by_clevis
    assert "TPM2" in by_systemd
    assert len(sealed.header("root").keyslots) == 2


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.tpm_removed, id="off"),
        pytest.param(faults.tpm_replaced, id="replaced"),
        pytest.param(
            faults.boot_file_changed("/grub/grub.cfg", lambda text: text.replace(b" rw ", b" rw probe=1 ")),
            id="cmdline",
        ),
        pytest.param(faults.boot_file_changed("/vmlinuz-*", lambda kernel: kernel + bytes(8)), id="kernel"),
    ],
)
def test_it_asks_when_the_tpm_or_what_was_started_is_another(sealed: Sealed, fault: Fault) -> None:
    """The TPM switched off or replaced, another command line, another kernel: a person must type.

    GRUB measures its commands and the command line into PCR 8, and the kernel that it reads into PCR 9. Source: seed
    001; GNU GRUB manual, "Measuring boot components"; TCG TPM Main, Part 3, 10.2 (TPM_Unseal).
    """
    outcome = sealed.boot(fault)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm12"}
    assert outcome.canary == sealed.canary


def test_it_asks_once_the_1_2_was_cleared(sealed: Sealed) -> None:
    """tpm_clear takes the owner away, and with it the storage root key; the TPM is then disabled, too.

    Source: tpm_clear(8); TCG TPM Main, Part 3, 6.1 (TPM_OwnerClear).
    """
    sealed.maintain("tpm_clear -z")
    outcome = sealed.boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == {"tpm12"}


def test_tcsd_does_not_start_unless_the_device_is_its_own(sealed: Sealed) -> None:
    """/dev/tpm0 belongs to root alone: tcsd does not start as its own user; the seed's trouble-shooting mends it.

    What it says is that it found no device to open, though there is one: not that it may not open it. Started as root
    it opens the device all the same (seen).

    Source: seed 001, "tcsd.service does not start": ``chown tss:tss /dev/tpm*``; tcsd(8).
    """
    with sealed.powered() as on:
        on.shell.run("systemctl stop tcsd.service && chown root:root /dev/tpm0 && chmod 600 /dev/tpm0")
        refused = on.shell.run("timeout 10 runuser -u tss -- tcsd -f 2>&1; echo status $?")
        on.shell.run("chown tss:tss /dev/tpm* && chown -R tss:tss /var/lib/tpm && systemctl start tcsd.service")
        mended = on.shell.run("tpm_version")
    assert "Could not find a device to open!" in refused
    assert "status 0" not in refused
    assert "TPM 1.2 Version Info" in mended
