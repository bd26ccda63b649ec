"""The memory of a machine that is on: a volume key lies in it as long as its volume can be read, and more than that."""

from mmap import mmap

import pytest

from harness.api import Sealed, Unlock, faults
from harness.api.attack import Attacker, Grant, LuksHeader, aes256_keys, clevis_passphrases, tang_exchange, xts_keys

SMALL = faults.with_memory(640)
"""Enough for this guest, and a third as much to dump and to search."""


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.RAM, Grant.DISK)
@pytest.mark.parametrize("kernel", ["init_on_free=0", "init_on_free=1"])
def test_ram_dump(sealed: Sealed, attacker: Attacker, kernel: str) -> None:
    """Memory is dumped while /var is open, and two key schedules in it are the volume's; once it is suspended, none is.

    The attacker knows nothing of the key: they take whatever has the shape of an AES-256 key schedule, and the LUKS
    header of the copy tells which two of these are the volume's. ``cryptsetup luksSuspend`` wipes it: where it was a
    moment ago it is no more, in no form.

    The prediction was that this is the cure. Seen with clevis 20, cryptsetup 2.7.5 and Linux 6.12: the volume key is
    found while it is open and gone once it is suspended, but the passphrase that clevis unsealed at the boot is still
    there, in clear, also where the kernel wipes what is freed (``init_on_free=1``), so it lies where it is still
    in use: probably in the kernel's keyring, where systemd keeps an answer for a while (systemd-ask-password(1)). It is
    known by its shape among the words in memory, and opens the copy.

    Granted: the memory of the running machine (a hypervisor, FireWire or Thunderbolt, cold boot), a copy of the disk.
    Extracted while it is open, whatever the pins. The cure: to suspend, where no passphrase is left behind.
    Source: Halderman et al., "Lest We Remember", USENIX Security 2008; cryptsetup-luksSuspend(8); kernel-parameters.
    """
    header = attacker.header("var")
    with sealed.powered(SMALL, faults.smbios_cmdline(kernel)) as machine:
        assert machine.outcome.unlock is Unlock.AUTO
        with attacker.memory(machine) as memory:
            key = volume_key(memory, header)
        assert attacker.submit(volume_key=key, guard="open", evidence=machine.outcome.evidence).extracted
        machine.shell.run("cryptsetup luksSuspend var")
        with attacker.memory(machine) as memory:
            again = volume_key(memory, header)
            left = [half for half in (key[:32], key[32:]) if memory.find(half) >= 0] if key else []
            words = clevis_passphrases(memory)
            passphrase_at = memory.find(clevis_passphrase(sealed, header))
    assert again is None
    assert not left
    assert passphrase_at >= 0
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        opened = any(system.unlock("var", word.decode()) for word in words)
        canary = system.canary("var") if opened else None
        loot = attacker.submit(canary, guard=f"suspended, {kernel}", evidence=system.evidence)
    assert loot.extracted


def volume_key(memory: mmap, header: LuksHeader) -> bytes | None:
    """The key in this memory that the header vouches for."""
    return next((key for key in xts_keys(aes256_keys(memory)) if header.vouches_for(key)), None)


def clevis_passphrase(sealed: Sealed, header: LuksHeader) -> bytes:
    """What clevis unseals at each boot, computed with the secret keys of Tang."""
    binding = header.tokens[0].jwe
    passphrase = tang_exchange.unseal(binding, tang_exchange.recover(sealed.tangs["tang"].keys, binding))
    assert passphrase
    return passphrase
