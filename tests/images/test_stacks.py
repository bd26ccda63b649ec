"""The guests whose root file system is encrypted, booted for real: they ask, are enrolled, and open by themselves."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machines import named_firmware, this_host

from harness.guest import facts
from harness.guest.driver import watch
from harness.guest.judge import judge
from harness.guest.outcome import Outcome, Unlock
from harness.guest.plan import BootPlan
from harness.guest.ssh import Shell
from harness.guest.volumes import VolumePlan
from harness.guest.witness import End, ExternalEvidence, Observation
from harness.host.scratch import scratch
from harness.images import GuestImage, guest_image
from harness.images.recipe import guest_names, guest_recipe
from harness.lab.power import power_off, shell
from harness.machine.disk import overlay
from harness.machine.esp import sign_boot_images
from harness.machine.nvram import enable_secure_boot
from harness.machine.rig import Rig, power_on
from harness.machine.signing import new_signing_key
from harness.machine.spec import Disk, Machine, Tpm
from harness.policy.pins import Pin, Tpm2Pin
from harness.progress import Progress

STACKS = [name for name in guest_names() if guest_recipe(name).root_passphrase]


@pytest.fixture(scope="module", params=STACKS)
def image(request: pytest.FixtureRequest) -> GuestImage:
    return guest_image(request.param, Progress())


@pytest.fixture
def machine(image: GuestImage) -> Iterator[Machine]:
    with scratch(this_host().user) as folder:
        yield Machine(
            name=image.name,
            firmware=named_firmware("trixie-plain"),
            nvram=folder / "nvram.fd",
            disks=(Disk(overlay(image.disk, folder / "disk.qcow2")),),
            tpm=Tpm(folder / "tpm"),
        )


def booted(rig: Rig, image: GuestImage, pins: Pin | None) -> tuple[VolumePlan, Observation]:
    volume = VolumePlan("root", image.root_device, pins, (image.root_passphrase,))
    return volume, watch(rig, BootPlan((volume,)))


def enroll(opened: Shell, image: GuestImage) -> None:
    device = facts.backing_device(opened, "root")
    opened.run(f"cryptsetup open --test-passphrase -d - {device}", stdin=image.root_passphrase.encode())
    opened.run(f"clevis luks bind -y -k - -d {device} tpm2 '{{}}'", 300.0, stdin=image.root_passphrase.encode())


def outcome_of(machine: Machine, image: GuestImage, evidence: Path, pins: Pin | None) -> Outcome:
    with power_on(machine, this_host(), evidence) as rig:
        volume, seen = booted(rig, image, pins)
        assert seen.end is End.UP, seen.why
        witnesses = ExternalEvidence(tpm=rig.tpm_exchanges())
        with shell(rig, image) as opened:
            header = facts.read_facts(opened, {"root": None}).headers["root"]
            if not header.tokens:
                enroll(opened, image)
            power_off(rig, opened)
        return judge([volume], seen, replace(witnesses, headers={"root": header}))


@pytest.mark.slow
def test_root_asks_is_enrolled_and_opens_by_itself(image: GuestImage, machine: Machine, tmp_path: Path) -> None:
    first = outcome_of(machine, image, tmp_path / "passphrase", None)
    assert first.unlock is Unlock.PASSPHRASE_FALLBACK
    second = outcome_of(machine, image, tmp_path / "auto-unlock", Tpm2Pin())
    assert second.unlock is Unlock.AUTO
    assert second.unlocked_by == {"tpm2"}
    third = outcome_of(replace(machine, tpm=None), image, tmp_path / "tpm-removed", Tpm2Pin())
    assert third.unlock is Unlock.PASSPHRASE_FALLBACK


@pytest.mark.slow
def test_a_signed_boot_image_starts_under_secure_boot(image: GuestImage, machine: Machine, tmp_path: Path) -> None:
    key = new_signing_key("unlock-lab db")
    sign_boot_images(machine.disks[0].path, key)
    enforcing = replace(machine, firmware=named_firmware("trixie"))
    enforcing.nvram.write_bytes(enable_secure_boot(enforcing.firmware.nvram_template.read_bytes(), key.certificate))
    with power_on(enforcing, this_host(), tmp_path) as rig:
        _, seen = booted(rig, image, None)
        assert seen.end is End.UP, seen.why
        with shell(rig, image) as opened:
            variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
            assert opened.read_file(variable)[-1] == 1
            power_off(rig, opened)
