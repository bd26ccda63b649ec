"""The memory of a machine that is on: a volume key lies in it as long as its volume can be read."""

import pytest

from harness.api import Attacker, Grant, Sealed, Unlock, aes256_keys, exchange, with_memory, xts_keys

SMALL = with_memory(1024)
"""Enough for this guest, and half as much to dump."""


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.RAM, Grant.DISK)
def test_ram_dump_gives_the_volume_key_while_it_is_open(sealed: Sealed, attacker: Attacker) -> None:
    """Memory is dumped while /var is open; two key schedules in it are the volume's, and open a copy of the disk.

    The attacker knows nothing of the key: he takes whatever has the shape of an AES-256 key schedule, and the LUKS
    header tells which two of these are the volume's.

    Granted: the memory of the running machine (a hypervisor, FireWire or Thunderbolt, cold boot), a copy of the disk.
    Extracted. Cure: none while it is open, whatever the pins; suspend the volume when nobody is there (below).
    Source: Halderman et al., "Lest We Remember", USENIX Security 2008; cryptsetup-suspend(7).
    """
    with sealed.powered(SMALL) as machine:
        assert machine.outcome.unlock is Unlock.AUTO
        with attacker.memory(machine) as memory:
            found = aes256_keys(memory)
    header = attacker.header("var")
    key = next((key for key in xts_keys(found) if header.vouches_for(key)), None)
    assert key, f"{len(found)} key schedules, none of them the volume's"
    with attacker.own_os(disk=attacker.disk()) as own:
        own.shell.write_file("/run/key", key)
        own.run(f"cryptsetup open --volume-key-file /run/key {own.device('var')} var", 120)
        loot = attacker.prints(canary=own.canary("var"), volume_key=key, evidence=own.evidence)
    assert loot.canary == sealed.canary
    assert loot.extracted


@pytest.mark.policy("tang")
@pytest.mark.attack(Grant.RAM, Grant.DISK)
def test_ram_dump_gives_no_volume_key_once_it_is_suspended(sealed: Sealed, attacker: Attacker) -> None:
    """``cryptsetup luksSuspend`` wipes the volume key from memory: where it was a moment ago it is no more, in no form.

    Granted: as above. Resisted, and this is the cure. Source: cryptsetup-luksSuspend(8).
    """
    with sealed.powered(SMALL) as machine:
        assert machine.outcome.unlock is Unlock.AUTO
        header = sealed.header("var")
        with attacker.memory(machine) as memory:
            key = next((key for key in xts_keys(aes256_keys(memory)) if header.vouches_for(key)), None)
            assert key, "the key was not in memory before, so that it is not there later shows nothing"
        machine.shell.run("cryptsetup luksSuspend var")
        with attacker.memory(machine) as memory:
            left = [half for half in (key[:32], key[32:]) if memory.find(half) >= 0]
            found = aes256_keys(memory)
            binding = header.tokens[0].jwe
            passphrase = exchange.unseal(binding, exchange.recover(sealed.tangs["tang"].keys, binding))
            assert passphrase
            passphrase_at = memory.find(passphrase)
    again = next((key for key in xts_keys(found) if header.vouches_for(key)), None)
    assert not attacker.prints(volume_key=again).extracted
    assert not left
    assert passphrase_at < 0
