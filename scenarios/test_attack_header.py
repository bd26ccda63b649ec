"""What lies beside the key: the config that made it, and the LUKS headers of yesterday."""

from urllib.parse import unquote

import pytest

from harness.api import Attacker, Grant, Sealed


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
    with attacker.own_os(disk=attacker.disk()) as system:
        system.run("mkdir -p /run/root && mount -o ro /dev/vda4 /run/root && ls -l /run/root/etc/luks")
        by_disk = {}
        for volume in ("passphrase", "tpm2-and-tang"):
            _, left = system.attempt(f"cat /run/root/etc/luks/{volume}")
            canary = system.canary(volume) if system.unlock(volume, left) else None
            by_disk[volume] = burglar.prints(canary, volume=volume, evidence=system.evidence).extracted
            system.close(volume)
        key = unquote(config["tpm2-and-tang"].removeprefix("data:,"))
        canary = system.canary("tpm2-and-tang") if system.unlock("tpm2-and-tang", key) else None
        by_config = attacker.prints(canary, volume="tpm2-and-tang", evidence=system.evidence).extracted
    assert by_disk == {"passphrase": True, "tpm2-and-tang": False}
    assert by_config


@pytest.mark.policy("side-by-side")
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
    leaked = {volume.name: str(volume.passphrase) for volume in sealed.policy.volumes}
    before = {volume: attacker.header_backup(volume) for volume in ("tang", "tpm2")}
    with sealed.rescue("owner") as owner:
        owner.run("cryptsetup --version; echo -n renewed > /run/new")
        for volume in before:
            device = owner.device(volume)
            quick = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
            owner.run(f"cryptsetup luksAddKey -q {quick} --key-file - {device} /run/new", stdin=leaked[volume].encode())
            owner.run(f"cryptsetup luksKillSlot -q --key-file /run/new {device} 0")
        device = owner.device("tpm2")
        renew = f"cryptsetup reencrypt -q --resilience none {quick} --key-file /run/new --key-slot 2 {device}"
        owner.run(renew, timeout=300)
        assert owner.unlock("tpm2", "renewed")
        assert owner.canary("tpm2") == sealed.canaries["tpm2"], "what was encrypted anew can be read by nobody"
        owner.close("tpm2")
        owner.run("sync")
    fell = {}
    with attacker.own_os(disk=attacker.disk()) as system:
        system.run("cryptsetup --version")
        for volume, header in before.items():
            assert not system.unlock(volume, leaked[volume]), "it was not revoked"
            system.shell.write_file("/run/header", header)
            system.run(f"dd if=/run/header of={system.device(volume)} bs=64k conv=notrunc,fsync")
            canary = system.canary(volume) if system.unlock(volume, leaked[volume]) else None
            guard = {"tang": "revoked", "tpm2": "reencrypted"}[volume]
            fell[guard] = attacker.prints(canary, volume=volume, guard=guard, evidence=system.evidence).extracted
    assert fell == {"revoked": True, "reencrypted": False}
