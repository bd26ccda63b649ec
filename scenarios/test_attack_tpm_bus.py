"""The attacker intercepts the bus between processor and TPM: sniffing, forging responses, pulling the reset pin."""

import base64
from pathlib import Path

import pytest

from harness.api import TPM_PIN, Rescue, Sealed, Unlock
from harness.api.attack import (
    Attacker,
    BusSniffer,
    Grant,
    MeasurementSpoofer,
    ResetAndReplay,
    TpmExchange,
    new_signing_key,
    nvram,
)

TPM_ALONE = {"tpm2", "tpm2-pcr7", "tpm2-pcr4"}

BY_PCRS = [
    pytest.param(
        {"tpm2-pcr7", "tpm2-pcr4", "tpm2-and-tang"},
        {"tpm2-pcr7", "tpm2-pcr4"},
        marks=pytest.mark.policy("tpm-guarded"),
        id="clevis",
    ),
    pytest.param({"var"}, {"var"}, marks=pytest.mark.policy("cryptenroll-pcr7"), id="cryptenroll-pcr7"),
]

KEYS_FROM_THE_BUS = Path(__file__).parent / "guest" / "keys-from-the-bus"


def has_keys_from(system: Rescue, sniffer: BusSniffer) -> None:
    """Have the attacker's clevis use what was read on the wires as if their TPM had unsealed it."""
    system.run("mkdir -p /run/bus")
    for number, data in enumerate(sniffer.unsealed):
        system.shell.write_file(f"/run/bus/{number}", data)
    system.shell.write_file("/usr/bin/clevis-decrypt-tpm2", KEYS_FROM_THE_BUS.read_bytes())


@pytest.mark.policy("tpm-guarded")
@pytest.mark.attack(Grant.DISK, Grant.TPM_BUS)
def test_tpm_bus_sniff(sealed: Sealed, attacker: Attacker) -> None:
    """The wires of the TPM while the machine boots, and a copy of its disk: what the TPM unseals is on those wires.

    clevis asks for it without a session that encrypts, so its JWK passes in clear, PCRs or not, and decrypts the token
    of the copied header at home. Of TPM and Tang with threshold 2 the wires give one share, which is not enough. Where
    either suffices (not asked here) it depends on who is faster: once Tang has answered, nobody asks the TPM any more.

    Seen with clevis 20, tpm2-tools 5.7 and swtpm 0.7.1: four TPM2_Unseal, each under a session that encrypts nothing.
    The attacker's own TPM refuses the header (0x1df, integrity check failed); with the keys from the wires the volumes
    of the TPM alone open, bound to PCRs or not, and that of both stays shut. Two where either suffices (in
    side-by-side.bu) opened, too.

    Granted: a copy of the disk, the TPM's wires. The cure: a second factor that does not pass there (Tang), or
    systemd-cryptenroll's encrypted session (`test_tpm_bus_sniff_of_an_encrypted_session`).
    Source: CVE-2026-0714; systemd#22630.
    """
    sniffer = BusSniffer()
    assert sealed.boot(attacker.on_the_bus(sniffer)).unlock is Unlock.AUTO
    assert not sniffer.encrypted
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        before = attacker.try_bindings(system, "tpm2", control=True)
        has_keys_from(system, sniffer)
        opened = attacker.try_bindings(system, *sorted(TPM_ALONE), "tpm2-and-tang")
    assert before == set(), "their own TPM opened it, so the wires showed nothing"
    assert opened == TPM_ALONE


@pytest.mark.policy("cryptenroll-pcr7")
@pytest.mark.attack(Grant.DISK, Grant.TPM_BUS)
def test_tpm_bus_sniff_of_an_encrypted_session(sealed: Sealed, attacker: Attacker) -> None:
    """The same wires while systemd unseals: its session encrypts what the TPM returns.

    What was read opens nothing, neither as it is nor in the encodings in which keys are typed. As a control the
    passphrase does.
    Granted: a copy of the disk, the TPM's wires. Source: systemd 251, NEWS; systemd#22630.
    """
    sniffer = BusSniffer()
    assert sealed.boot(attacker.on_the_bus(sniffer)).unlock is Unlock.AUTO
    assert sniffer.unsealed
    assert sniffer.encrypted
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        assert opens(system, sealed.passphrase.encode()), "nothing opens it in this way"
        for data in sniffer.unsealed:
            for key in (data, base64.b64encode(data), data.hex().encode()):
                assert not opens(system, key)
        attacker.submit(None, evidence=system.evidence)


def opens(system: Rescue, key: bytes) -> bool:
    """Whether a keyslot opens by these bytes."""
    command = f"cryptsetup open --test-passphrase --key-file - {system.device('var')}"
    return system.attempt(command, 120.0, stdin=key)[0] == 0


@pytest.mark.attack(Grant.MACHINE, Grant.TPM_BUS)
@pytest.mark.parametrize(("asked", "falls"), BY_PCRS)
def test_pcr_reset_replay(attacker: Attacker, asked: set[str], falls: set[str]) -> None:
    """A live system on the victim's machine pulls the TPM's reset pin and replays a good boot to it.

    PCRs are no more than the sum of what the TPM was told since its last start. One good boot was recorded on the
    wires; the attacker's own system, with another key in db, is refused, and after the replay it is not.

    Seen with clevis 20, systemd 257.13 and swtpm 0.7.1: clevis's seals to PCR 7 and to PCR 4, and systemd's to PCR 7,
    are refused before the replay (0x99d, a policy check failed) and unseal after it; TPM and Tang stay shut.

    Granted: the machine, the TPM's wires; out of reach of Tang. The cure: what does not come out of the PCRs: Tang, or
    a PIN (`test_pcr_reset_replay_without_the_pin`). Source: hacky.solutions, "TPM GPIO fail" (2024).
    """
    replay = ResetAndReplay(log_of_a_good_boot(attacker))
    tpm, variables = attacker.tpm(replay), with_another_key(attacker)
    with attacker.boot_live_system(disk=attacker.disk(), tpm=tpm, nvram=variables) as system:
        before = attacker.try_bindings(system, *sorted(falls), control=True)
        replay.arm()
        after = attacker.try_bindings(system, *sorted(asked))
    assert before == set()
    assert after == falls


@pytest.mark.policy("cryptenroll-pin")
@pytest.mark.attack(Grant.MACHINE, Grant.TPM_BUS)
def test_pcr_reset_replay_without_the_pin(attacker: Attacker) -> None:
    """The same replay where the TPM wants a PIN as well: good PCRs are not enough.

    As a control the right PIN opens it there, so it was the PIN alone that was missing. Granted: as above.
    Source: systemd-cryptenroll(1), ``--tpm2-with-pin=``.
    """
    replay = ResetAndReplay(log_of_a_good_boot(attacker))
    tpm, variables = attacker.tpm(replay), with_another_key(attacker)
    with attacker.boot_live_system(disk=attacker.disk(), tpm=tpm, nvram=variables) as system:
        replay.arm()
        assert opened_without_the_pin(attacker, system) == set()


@pytest.mark.attack(Grant.MACHINE, Grant.TPM_BUS)
@pytest.mark.parametrize(("asked", "falls"), BY_PCRS)
def test_tpm_interposer(attacker: Attacker, asked: set[str], falls: set[str]) -> None:
    """A chip between processor and TPM answers each measurement itself, and shows the TPM those of a good boot.

    No reset is needed: the attacker's system never gets to measure anything. Granted: the machine, the TPM's wires; out
    of reach of Tang. The cure: as for `test_pcr_reset_replay`. Source: systemd#22637; systemd#26185.
    """
    tpm = attacker.tpm(MeasurementSpoofer(log_of_a_good_boot(attacker)))
    with attacker.boot_live_system(disk=attacker.disk(), tpm=tpm, nvram=with_another_key(attacker)) as system:
        opened = attacker.try_bindings(system, *sorted(asked))
    assert opened == falls


@pytest.mark.policy("cryptenroll-pin")
@pytest.mark.attack(Grant.MACHINE, Grant.TPM_BUS)
def test_tpm_interposer_without_the_pin(attacker: Attacker) -> None:
    """The same chip where the TPM wants a PIN as well, with the same control. Granted and source: as above."""
    tpm = attacker.tpm(MeasurementSpoofer(log_of_a_good_boot(attacker)))
    with attacker.boot_live_system(disk=attacker.disk(), tpm=tpm, nvram=with_another_key(attacker)) as system:
        assert opened_without_the_pin(attacker, system) == set()


def opened_without_the_pin(attacker: Attacker, system: Rescue) -> frozenset[str]:
    """What opens in the live system without the PIN, where it does with it."""
    opened = attacker.try_bindings(system)
    assert system.unlock_by_binding("var", pin=TPM_PIN), "the right PIN does not open it either"
    return opened


def log_of_a_good_boot(attacker: Attacker) -> tuple[TpmExchange, ...]:
    """What the victim's TPM was told, from power-on until it unsealed."""
    sniffer = BusSniffer()
    attacker.capture_until_unseal(sniffer)
    assert {exchange.pcr for exchange in sniffer.extends} >= {4, 7}
    return sniffer.extends


def with_another_key(attacker: Attacker) -> Path:
    """The machine's UEFI variables with one more key in db, as PCR 7 will tell."""
    variables = attacker.nvram()
    variables.write_bytes(nvram.enroll_db(variables.read_bytes(), new_signing_key("more").certificate))
    return variables
