"""What a TPM keeps: the count of wrong PINs, and a seal that it opens for whoever asks while the PCRs fit."""

import re
from dataclasses import replace

import pytest

from harness.api import TPM_PIN, Fault, Sealed, Unlock
from harness.api.attack import Attacker, Grant, Tpm

ENROLL_ANOTHER = "systemd-cryptenroll --unlock-tpm2-device=auto --recovery-key /dev/disk/by-partlabel/var"
"""Have the TPM unseal once more, to enroll a recovery key, which is printed."""

FAIL_UNTIL_LOCKOUT = (
    "cd /run && tpm2_createprimary -Q -C o -c bait-parent",
    "cd /run && echo bait | tpm2_create -Q -C bait-parent -i - -p right -u bait.pub -r bait.priv",
    "cd /run && tpm2_load -Q -C bait-parent -u bait.pub -r bait.priv -c bait",
    "cd /run && for try in $(seq 40); do tpm2_unseal -c bait -p wrong 2>&1 | grep -i lockout && break; done",
)


def locked_out(attacker: Attacker) -> Tpm:
    """The victim's TPM, asked for an object of the attacker's own with a wrong password until it takes no more."""
    tpm = attacker.tpm()
    with attacker.boot_live_system(disk=attacker.disk(), tpm=tpm) as system:
        for command in FAIL_UNTIL_LOCKOUT:
            system.run(command, 120.0)
    return tpm


def given_back(tpm: Tpm) -> Fault:
    """The victim's machine with its TPM in the state in which the attacker left it."""
    return lambda machine, _context: replace(machine, tpm=tpm)


@pytest.mark.parametrize(
    "unattended",
    [
        pytest.param(True, id="systemd", marks=pytest.mark.policy("cryptenroll-pcr7")),
        pytest.param(False, id="pin", marks=pytest.mark.policy("cryptenroll-pin")),
    ],
)
@pytest.mark.attack(Grant.MACHINE)
def test_tpm_da_lockout(sealed: Sealed, attacker: Attacker, unattended: bool) -> None:
    """The attacker has the machine for ten minutes, fails authorizations until its TPM locks out, and gives it back.

    systemd's seal without a PIN and the SRK above it are noDA, so lockout is no matter to them; a right PIN is refused,
    and the owner needs the passphrase. Seen with systemd 257.13: it asks for the PIN once more before it asks for the
    passphrase (0x921, lockout). Granted: the machine. The cure, for availability alone: a recovery passphrase beside
    the PIN. Source: TCG TPM 2.0 Library, Part 1, 19.8; tpm2-util.c.
    """
    outcome = sealed.boot(given_back(locked_out(attacker)))
    if unattended:
        assert outcome.unlock is Unlock.AUTO
    else:
        assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
        assert outcome.unlocked_by == {"passphrase"}
        assert outcome.failed_pins == {"tpm2"}


@pytest.mark.policy("tpm-guarded")
@pytest.mark.attack(Grant.MACHINE)
def test_tpm_da_lockout_of_clevis(sealed: Sealed, attacker: Attacker) -> None:
    """The same against clevis: what needs the TPM asks for the passphrase.

    clevis seals with noDA, too, so it was expected to open. But the primary key that tpm2_createprimary(1) makes
    above it is not noDA, and in lockout the TPM takes no authorization of it: seen with clevis 20 and tpm2-tools 5.7,
    Esys_Load(0x921). Granted: the machine. The cure: Tang beside the TPM with a threshold of 1, or a passphrase.
    Source: TCG TPM 2.0 Library, Part 1, 19.8; clevis-encrypt-tpm2; tpm2_createprimary(1), ``--attributes``.
    """
    volumes = sealed.boot(given_back(locked_out(attacker))).volumes
    asking = {name for name, volume in volumes.items() if volume.unlock is Unlock.PASSPHRASE_FALLBACK}
    assert asking == {"tpm2", "tpm2-pcr7", "tpm2-pcr4", "tpm2-and-tang"}
    assert all(volumes[name].failed_pins == {"tpm2"} for name in asking)


@pytest.mark.policy("tpm2-or-tang")
@pytest.mark.attack(Grant.MACHINE)
def test_tpm_da_lockout_of_clevis_is_no_matter_when_tang_suffices(sealed: Sealed, attacker: Attacker) -> None:
    """The same where Tang alone can open it: it opens, though the TPM refuses. Granted and source: as above."""
    outcome = sealed.boot(given_back(locked_out(attacker)))
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tang"}
    assert outcome.failed_pins == {"tpm2"}


@pytest.mark.policy("cryptenroll-pin")
@pytest.mark.attack(Grant.DISK, Grant.NVRAM, Grant.TPM_STATE)
def test_tpm_state_rollback(attacker: Attacker) -> None:
    """A virtual TPM is copied, its PIN guessed until it locks out, then a fresh copy used: it holds the old count.

    Granted: disk, UEFI variables and TPM state, as a backup of a virtual machine holds them. A TPM that is a chip does
    not give its state away. The cure: a PIN with the entropy of a passphrase, or Tang beside it.
    Source: TCG TPM 2.0 Library, Part 1, 19.8.
    """
    guesses = ("0000", "1111", "1234", "4321", "5555", "9999")
    with attacker.boot_live_system(disk=attacker.disk(), tpm=attacker.tpm()) as system:
        assert not any(system.unlock_by_binding("var", pin=guess) for guess in guesses)
        assert not system.unlock_by_binding("var", pin=TPM_PIN), (
            "the TPM was not locked out, so there was nothing to roll back"
        )
        attacker.submit(system.canary("var"), evidence=system.evidence, control=True)
    with attacker.boot_live_system(disk=attacker.disk(), tpm=attacker.tpm()) as system:
        assert system.unlock_by_binding("var", pin=TPM_PIN)
        loot = attacker.submit(system.canary("var"), evidence=system.evidence)
    assert loot.extracted


@pytest.mark.image("debian-13-tpm12")
@pytest.mark.policy("root-tpm12")
@pytest.mark.attack(Grant.DISK, Grant.NVRAM, Grant.TPM_STATE)
def test_tpm_1_2_state_cloned(attacker: Attacker) -> None:
    """A machine with a virtual TPM 1.2 is copied whole, its TPM's state too: the copy boots, and its root opens.

    Granted: disk, UEFI variables and TPM state, as a backup of a virtual machine holds them. The firmware measures the
    same into the copy. The cure: a TPM that is a chip, or a second factor that is not in the machine. Source: seed 001;
    swtpm(8); TCG TPM Main, Part 1, 4.
    """
    outcome = attacker.boot(disk=attacker.disk())
    assert outcome.unlock is Unlock.AUTO
    assert outcome.canary == attacker.victim.canary


@pytest.mark.image("debian-13-tpm12")
@pytest.mark.policy("root-tpm12")
@pytest.mark.attack(Grant.DISK, Grant.NVRAM)
def test_disk_cloned_without_its_tpm_1_2(attacker: Attacker) -> None:
    """The same without the TPM's state, in a machine with another 1.2: its storage root key is not there.

    Granted: disk and UEFI variables. Source: as above.
    """
    outcome = attacker.boot(disk=attacker.disk())
    assert outcome.unlock is Unlock.LOCKED
    assert outcome.failed_pins == {"tpm12"}


@pytest.mark.policy("cryptenroll-pcr7")
@pytest.mark.attack(Grant.ROOT, Grant.DISK)
def test_late_unseal(attacker: Attacker) -> None:
    """Who is root for a minute has the TPM unseal once more, and takes home a key that opens every later copy.

    Raw PCRs do not change when the boot is over. Granted: root in the running system, once; a copy of the disk.
    Seen: `systemd-cryptenroll --unlock-tpm2-device=auto` enrolls a recovery key with nothing typed. The cure: a PIN
    or a signed policy for the phase of the initrd. Source: systemd#27430.
    """
    key = recovery_key(attacker.as_root(ENROLL_ANOTHER))
    assert key
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        assert system.unlock("var", key)
        loot = attacker.submit(system.canary("var"), evidence=system.evidence)
    assert loot.extracted


@pytest.mark.policy("cryptenroll-pin")
@pytest.mark.attack(Grant.ROOT, Grant.DISK)
def test_late_unseal_without_the_pin(attacker: Attacker) -> None:
    """The same where the TPM wants a PIN: it was typed at the boot, and is asked for again, which nobody answers.

    Granted: root in the running system, once. (Who stays until the owner types it elsewhere needs no TPM.)
    Source: systemd-cryptenroll(1), ``--unlock-tpm2-device=``, ``--tpm2-with-pin=``.
    """
    said = attacker.as_root(
        f"{ENROLL_ANOTHER} </dev/null &",
        "until grep -hs ^Message= /run/systemd/ask-password/ask.*; do kill -0 $!; sleep 1; done",
        "kill $!",
    )
    assert "PIN" in "".join(re.findall("^Message=.*", said, re.MULTILINE)), "it asked for something else"
    assert recovery_key(said) is None
    attacker.submit(None, evidence="root-journal.log")


@pytest.mark.policy("side-by-side")
@pytest.mark.attack(Grant.ROOT, Grant.DISK)
def test_late_unseal_by_clevis(sealed: Sealed, attacker: Attacker) -> None:
    """The same with clevis, which prints the passphrase to root: TPM and Tang both answer while the machine is at home.

    Granted: root in the running system, once; a copy of the disk. The cure: none in the policy; bind anew, with another
    passphrase, once the intruder is out. Source: clevis#331; clevis-luks-pass(1).
    """
    names = [volume.name for volume in sealed.policy.volumes if volume.pins]
    passes = [f"echo {name} $(clevis luks pass -d /dev/disk/by-partlabel/{name} -s 1)" for name in names]
    said = attacker.as_root(*passes)
    found = dict(re.findall(r"^([\w-]+) (\S+)$", said, re.MULTILINE))
    assert found.keys() >= set(names)
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        read = {name: system.canary(name) for name in names if system.unlock(name, found[name])}
        loot = {name: attacker.submit(read.get(name), volume=name, evidence=system.evidence) for name in names}
    assert all(printed.extracted for printed in loot.values())


def recovery_key(said: str) -> str | None:
    """The recovery key in what systemd-cryptenroll printed: eight groups of modhex (systemd-cryptenroll(1))."""
    keys = [line.strip() for line in said.splitlines() if line.count("-") == 7 and " " not in line.strip()]
    return keys[0] if keys else None
