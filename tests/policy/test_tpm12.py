"""A pin of a TPM 1.2: what the rules say, and what a policy about one asks of the machine."""

from pathlib import Path

import pytest

from harness.lab.hardware import machine_for
from harness.machine.spec import Firmware, TpmVersion
from harness.policy.capabilities import Capabilities
from harness.policy.enrolment import Enrolment, enrolled, root_policy
from harness.policy.maintenance import rebound, unbound
from harness.policy.oracle import predict
from harness.policy.pins import CryptenrollPin, Tpm12Pin
from harness.policy.policy import Volume
from harness.policy.world import Stack, TpmState, World
from harness.unlock import Unlock

PIN = Tpm12Pin((4, 8, 9))
ROOT = Volume("root", "/dev/disk/by-uuid/1", PIN, "passphrase", "/")
FIRMWARE = Firmware("trixie", Path("code"), Path("vars"), secure_boot=True)


@pytest.mark.parametrize(
    ("world", "opens"),
    [
        (World(), True),
        (World(changed_pcrs=frozenset({0, 7})), True),
        (World(changed_pcrs=frozenset({8})), False),
        (World(power_cuts=3), True),
        *((World(tpm=state), False) for state in (TpmState.ABSENT, TpmState.ANOTHER, TpmState.CLEARED)),
        (World(tpm=TpmState.VERSION_1_2), False),
    ],
)
def test_it_opens_by_the_same_tpm_in_the_same_state(world: World, opens: bool) -> None:
    said = predict(ROOT, world, Stack.IT)
    assert said.unlock is (Unlock.AUTO if opens else Unlock.PASSPHRASE_FALLBACK)
    assert said.failed_pins == (frozenset() if opens else {"tpm12"})


def test_no_keyscript_runs_under_systemd() -> None:
    assert predict(ROOT, World(), Stack.DR).unlock is Unlock.PASSPHRASE_FALLBACK


def test_a_policy_about_one_gets_a_machine_with_one() -> None:
    base = root_policy("image", "passphrase", "/dev/disk/by-uuid/1")
    about = {
        pin: machine_for(enrolled(base, Enrolment("mine", (pin,))), FIRMWARE, Path("folder")).tpm
        for pin in (PIN, CryptenrollPin())
    }
    assert {pin: tpm and tpm.version for pin, tpm in about.items()} == {
        PIN: TpmVersion.TPM_1_2,
        CryptenrollPin(): TpmVersion.TPM_2_0,
    }


def test_it_is_bound_renewed_and_removed_by_the_scripts_of_its_image() -> None:
    seals = '/usr/lib/unlock-lab/seal-tpm12 "$device" 4 8 9'
    assert seals in enrolled(root_policy("image", "p", "/dev/x"), Enrolment("mine", (PIN,))).enrolment
    assert seals in rebound([ROOT]).commands
    assert "luksKillSlot" in unbound([ROOT]).commands[-1]


def test_what_it_unseals_is_read_on_the_bus() -> None:
    assert PIN.extraction(Capabilities(tpm_bus=True), frozenset())[0]
    assert not PIN.extraction(Capabilities(disk=True), frozenset())[0]
