"""Parsec's key: what the oracle and the attacker's rules say of it, and how it is bound."""

import pytest

from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.capabilities import Capabilities
from harness.policy.enrolment import Enrolment, enrolled
from harness.policy.extract import extract
from harness.policy.maintenance import rebound, unbound
from harness.policy.oracle import predict
from harness.policy.pins import Parsec, ParsecProvider
from harness.policy.pins.tpm import POWER_CUTS
from harness.policy.policy import Volume
from harness.policy.world import Stack, TpmState, World
from harness.unlock import Unlock

IN_THE_TPM, IN_FILES = Parsec(), Parsec(ParsecProvider.MBED_CRYPTO)


def volume(pin: Parsec) -> Volume:
    return Volume("var", "/dev/vda4", pin, "secret", "/var")


@pytest.mark.parametrize(
    ("world", "opens"),
    [
        (World(), True),
        (World(changed_pcrs=frozenset(range(16))), True),
        (World(power_cuts=POWER_CUTS - 1), True),
        (World(power_cuts=POWER_CUTS), False),
        *(
            (World(tpm=tpm), tpm is TpmState.PRESENT)
            for tpm in TpmState
        ),
    ],
)  # fmt: skip
def test_a_key_in_the_tpm_needs_that_tpm_and_no_pcr_and_one_in_files_nothing(world: World, opens: bool) -> None:
    said = predict(volume(IN_THE_TPM), world, Stack.DR)
    assert said.unlock is (Unlock.AUTO if opens else Unlock.PASSPHRASE_FALLBACK)
    assert said.failed_pins == (set() if opens else {"parsec"})
    assert predict(volume(IN_FILES), world, Stack.DR).unlock is Unlock.AUTO


def test_initramfs_tools_asks_it_not() -> None:
    assert predict(volume(IN_FILES), World(), Stack.IT).unlock is Unlock.PASSPHRASE_FALLBACK


@pytest.mark.parametrize(
    ("attacker", "by_tpm", "by_files"),
    [
        (Capabilities(disk=True), False, True),
        (Capabilities(disk=True, machine=True), True, True),
        (Capabilities(disk=True, tpm_state=True), True, True),
    ],
)
def test_who_gets_it_out(attacker: Capabilities, by_tpm: bool, by_files: bool) -> None:
    assert [extract(volume(pin), attacker).extracted for pin in (IN_THE_TPM, IN_FILES)] == [by_tpm, by_files]


def test_it_is_bound_and_renewed_and_removed_by_the_tool_of_the_image() -> None:
    policy = enrolled(read_policy(POLICIES / "passphrase.bu"), Enrolment("mine", (IN_THE_TPM,)))
    assert '/usr/lib/unlock-lab/parsec-key bind "$device" tpm' in policy.enrolment
    assert "crypttab var none" in policy.enrolment
    renewed = [line for line in rebound(policy.volumes).commands if "parsec-key" in line]
    assert [line.split()[1] for line in renewed] == ["remove", "bind"]
    assert any("parsec-key remove" in line for line in unbound(policy.volumes).commands)


def test_its_owner_hears_what_it_is_worth() -> None:
    in_files = " ".join(text for text, _ in IN_FILES.warnings())
    in_the_tpm = " ".join(text for text, _ in IN_THE_TPM.warnings())
    assert "in clear on the disk" in in_files
    assert "power cuts" in in_the_tpm
    assert "bound to no PCR" in in_the_tpm
