"""The hardware that a policy is installed on."""

from pathlib import Path

import pytest

from harness.lab.hardware import DATA_DISK_BYTES, DISK_BYTES, disk_sizes, machine_for
from harness.machine.spec import Bus, Firmware
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.by_hand import BY_HAND
from harness.policy.enrolment import enrolled
from harness.policy.pins.systemd_fido2 import FIDO2_PIN

FIRMWARE = Firmware("none", Path("code.fd"), Path("vars.fd"), secure_boot=False)
CASES = Path(__file__).parent.parent / "policy" / "corpus" / "files"


def test_a_policy_of_the_suite_has_one_disk_and_one_bank() -> None:
    policy = read_policy(POLICIES / "tpm2-and-tang.bu")
    machine = machine_for(policy, FIRMWARE, Path("m"))
    assert [(disk.path, disk.bus, disk.serial) for disk in machine.disks] == [(Path("m/disk.qcow2"), Bus.NVME, "lab0")]
    assert machine.tpm
    assert machine.tpm.banks == ("sha256",)
    assert disk_sizes(policy) == (DISK_BYTES,)


def test_the_disks_are_those_that_the_file_names() -> None:
    policy = read_policy(CASES / "whole-disks.bu")
    machine = machine_for(policy, FIRMWARE, Path("m"))
    assert [disk.bus for disk in machine.disks] == [Bus.SCSI] * 4
    assert len({disk.serial for disk in machine.disks}) == len({disk.path for disk in machine.disks}) == 4
    assert disk_sizes(policy) == (DISK_BYTES, *[DATA_DISK_BYTES] * 3)


def test_a_disk_by_its_serial_and_one_that_grows() -> None:
    _, spare = machine_for(read_policy(CASES / "second-disk.ign"), FIRMWARE, Path("m")).disks
    assert (spare.bus, spare.serial) == (Bus.VIRTIO, "spare")
    assert disk_sizes(read_policy(CASES / "home-server-adapted.bu")) == (69827 * 2**20,)


def test_a_bank_that_a_pin_needs() -> None:
    tpm = machine_for(read_policy(CASES / "tpm-sha1-bank.bu"), FIRMWARE, Path("m")).tpm
    assert tpm
    assert tpm.banks == ("sha1", "sha256")


@pytest.mark.parametrize(("name", "pin"), [("fido2", None), ("fido2-pin", FIDO2_PIN)])
def test_a_security_key_has_the_pin_that_is_typed(name: str, pin: str | None) -> None:
    """Seen: systemd-cryptenroll without a PIN waits for ever at a key that has one."""
    policy = enrolled(read_policy(POLICIES / "passphrase.bu"), BY_HAND[name])
    key = machine_for(policy, FIRMWARE, Path("m")).security_key
    assert key
    assert key.pin == pin
    assert machine_for(read_policy(POLICIES / "tang.bu"), FIRMWARE, Path("m")).security_key is None
