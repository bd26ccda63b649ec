"""What lies beside the key: its config, the LUKS headers of yesterday, and forged headers."""

from dataclasses import replace
from functools import partial
from urllib.parse import unquote

import pytest

from harness.api import Outcome, Sealed, Unlock
from harness.api.attack import QUICK_PBKDF, Attacker, Disk, Grant, luks_forgery, read_partition

DATA = 16 * 2**20
"""Where the data of a LUKS2 volume begin, as cryptsetup makes it."""


def given_back(sealed: Sealed, disk: Disk) -> Sealed:
    """The victim at home, with the disk as the attacker left it."""
    return replace(sealed, machine=replace(sealed.machine, disks=(disk,)))


def bound_keyslot(attacker: Attacker, volume: str) -> int:
    """The keyslot that the volume's token leads to."""
    return attacker.header(volume).tokens[0].keyslots[0]


def journal(outcome: Outcome) -> str:
    """What the guest's journal says of a boot that is over."""
    assert outcome.evidence
    return (outcome.evidence / "journal.log").read_text(errors="replace")


@pytest.mark.policy("side-by-side")
@pytest.mark.attack(Grant.DISK, Grant.MACHINE)
def test_ignition_inline_key(sealed: Sealed, attacker: Attacker) -> None:
    """The key of ``key_file: inline``: without clevis it lies in clear on the disk, with clevis it still opens.

    Ignition leaves a volume's key under /etc/luks of the unencrypted root unless clevis binds it; where clevis does,
    the keyslot of the inline key stays beside the binding, and the config that holds the key stays attached to the
    machine (fw_cfg, as any root in the guest can read it under /sys/firmware/qemu_fw_cfg).

    Granted: first a copy of the disk, then the machine with its config. The cure: no inline key but a random one
    (leave ``key_file`` out), and to take the config off the machine. Source: Ignition's luks.go; CVE-2022-1706.
    """
    config = {entry["name"]: entry["keyFile"]["source"] for entry in attacker.ignition_config()["storage"]["luks"]}
    burglar = attacker.without(Grant.MACHINE)
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        system.run("mkdir -p /run/root && mount -o ro /dev/vda4 /run/root && ls -l /run/root/etc/luks")
        by_disk = {}
        for volume in ("passphrase", "tpm2-and-tang"):
            _, left = system.attempt(f"cat /run/root/etc/luks/{volume}")
            canary = system.canary(volume) if system.unlock(volume, left) else None
            by_disk[volume] = burglar.submit(canary, volume=volume, evidence=system.evidence).extracted
            system.close(volume)
        key = unquote(config["tpm2-and-tang"].removeprefix("data:,"))
        canary = system.canary("tpm2-and-tang") if system.unlock("tpm2-and-tang", key) else None
        by_config = attacker.submit(canary, volume="tpm2-and-tang", evidence=system.evidence).extracted
    assert by_disk == {"passphrase": True, "tpm2-and-tang": False}
    assert by_config


@pytest.mark.policy("tpm-guarded")
@pytest.mark.attack(Grant.DISK)
def test_header_rollback(sealed: Sealed, attacker: Attacker) -> None:
    """A leaked passphrase is revoked; the thief puts back the header from before, and it opens again.

    To remove a keyslot changes the header alone, and the volume key stays: whoever kept a header, or the whole disk in
    a backup, undoes it. The cure, on the second volume: ``cryptsetup reencrypt``, which makes a new volume key.

    Seen with cryptsetup 2.7.5: after the revocation the passphrase is refused (status 2), under the header from before
    it opens both; the first volume can be read, the second is noise that no file system is found in.

    Granted: a copy of the disk from before the revocation and one from after it, and the leaked passphrase.
    Source: cryptsetup's FAQ, 6.x, and cryptsetup-luksHeaderRestore(8).
    """
    leaked, new = {volume.name: str(volume.passphrase) for volume in sealed.policy.volumes}, "renewed"
    before = {volume: attacker.header_backup(volume) for volume in ("tpm2-pcr7", "tpm2")}
    with sealed.rescue("owner") as owner:
        owner.run("cryptsetup --version; cat > /run/new", stdin=new.encode())
        for volume in before:
            device = owner.device(volume)
            add = f"cryptsetup luksAddKey -q {QUICK_PBKDF} --key-file - {device} /run/new"
            owner.run(add, stdin=leaked[volume].encode())
            owner.run(f"cryptsetup luksKillSlot -q --key-file /run/new {device} 0")
        device = owner.device("tpm2")
        renew = f"cryptsetup reencrypt -q --resilience none {QUICK_PBKDF} --key-file /run/new --key-slot 2 {device}"
        owner.run(renew, timeout=300)
        assert owner.unlock("tpm2", new)
        assert owner.canary("tpm2") == sealed.canaries["tpm2"], "what was encrypted anew can be read by nobody"
        owner.close("tpm2")
        owner.run("sync")
    fell = {}
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        system.run("cryptsetup --version")
        for volume, header in before.items():
            assert not system.unlock(volume, leaked[volume]), "it was not revoked"
            system.shell.write_file("/run/header", header)
            system.run(f"dd if=/run/header of={system.device(volume)} bs=64k conv=notrunc,fsync")
            canary = system.canary(volume) if system.unlock(volume, leaked[volume]) else None
            guard = {"tpm2-pcr7": "revoked", "tpm2": "reencrypted"}[volume]
            fell[guard] = attacker.submit(canary, volume=volume, guard=guard, evidence=system.evidence).extracted
    assert fell == {"revoked": True, "reencrypted": False}


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.DISK, Grant.MACHINE)
def test_null_cipher_header_is_refused_by_a_kernel_without_the_cipher(sealed: Sealed, attacker: Attacker) -> None:
    """The look-alike of `test_null_cipher_header` before a kernel that has no null cipher: it stays shut at once.

    cryptsetup has the kernel decrypt a keyslot. Debian 13's kernel has ``ecb(cipher_null)`` in the module crypto_null,
    which this guest does not have (Debian 12's has it built in).

    Granted: the machine for a night, with its disk. Resisted by cryptsetup 2.7.5, which itself has no objection.
    Seen: Tang answers, "Cannot use cipher_null-ecb cipher for keyslot encryption", and at once no further try.
    Cure: cryptsetup 2.8.1, which takes such a keyslot for empty passphrases alone; till then ``install crypto_null
    /bin/false``. Source: CVE-2025-59054; cryptsetup, lib/luks2/luks2_keyslot_luks2.c; modprobe.d(5).
    """
    disk = attacker.forged("var", partial(luks_forgery.null_cipher, keyslot=bound_keyslot(attacker, "var")))
    outcome = given_back(sealed, disk).boot(typing=())
    assert outcome.unlock is Unlock.LOCKED
    assert "Cannot use cipher_null-ecb cipher for keyslot encryption" in journal(outcome)
    assert sealed.tangs["tang"].recoveries
    assert not attacker.submit(outcome.canary, evidence=outcome.evidence).extracted


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.DISK, Grant.MACHINE)
def test_token_stale(sealed: Sealed, attacker: Attacker) -> None:
    """The token still yields its passphrase, and the keyslot that it opened is gone: clevis burns the attempts.

    clevis-luks-askpass answers each prompt with that passphrase, without trying it, until systemd-cryptsetup gives up:
    its owner cannot type theirs. They open the volume by hand, in another system. Seen: two answers are three attempts,
    because systemd tries the first one again from its cache.

    Granted: the machine for a night, with its disk. Nothing is extracted; it stays shut. Cure: ``clevis luks unbind``
    in a rescue system. Source: clevis-luks-askpass; systemd#38495.
    """
    victim = given_back(
        sealed,
        attacker.forged("var", partial(luks_forgery.without_material, keyslot=bound_keyslot(attacker, "var"))),
    )
    outcome = victim.boot()
    assert outcome.unlock is Unlock.LOCKED
    assert sealed.tangs["tang"].recoveries
    assert not attacker.submit(outcome.canary, evidence=outcome.evidence).extracted
    with victim.rescue() as rescue:
        assert rescue.unlock("var", sealed.passphrase)
        assert rescue.canary("var") == sealed.canary


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.DISK, Grant.MACHINE)
def test_unbound_token(sealed: Sealed, attacker: Attacker) -> None:
    """A token without a keyslot: clevis passes it over under systemd, and the owner's passphrase opens the volume.

    Granted: the machine for a night, with its disk. Nothing is extracted.
    Source: clevis#524; clevis-luks-common-functions.
    """
    disk = attacker.forged("var", partial(luks_forgery.without_binding, keyslot=bound_keyslot(attacker, "var")))
    outcome = given_back(sealed, disk).boot()
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert not sealed.tangs["tang"].recoveries
    attacker.submit(None, evidence=outcome.evidence)


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.DISK, Grant.MACHINE)
def test_reencrypt_downgrade(sealed: Sealed, attacker: Attacker) -> None:
    """The header says that a decryption was interrupted: whoever opens the volume is to go on with it.

    Before 2.4.3 cryptsetup did, and left the data in clear for who has the disk next. Since then such metadata has a
    digest made with the volume key, which the attacker cannot make.

    Granted: the machine for a night, with its disk. Resisted by cryptsetup 2.7.5 (no guest here has one older than
    2.4.3, so the leak is not shown): it stays shut, and what lies on the disk is as it was. Seen: "Entering
    reencryption crash recovery", "Reencryption digest is missing". Source: CVE-2021-4122.
    """
    disk = attacker.forged("var", partial(luks_forgery.decryption_in_progress, hot_bytes=2**20))
    before = read_partition(disk.path, "var", DATA + 2**20)
    outcome = given_back(sealed, disk).boot()
    assert outcome.unlock is Unlock.LOCKED
    said = journal(outcome)
    assert "Entering reencryption crash recovery" in said
    assert "Reencryption digest is missing" in said
    assert read_partition(disk.path, "var", DATA + 2**20)[DATA:] == before[DATA:]
    assert not attacker.submit(outcome.canary, evidence=outcome.evidence).extracted
