"""Sealed machines: a policy is installed once, proved by a control boot, and kept by the hash of all that went in.

::

    base image + policy + new TPM + new NVRAM
      → first boot: Ignition partitions, encrypts, binds and puts a canary on each encrypted volume → power-off
      → where the policy says what an owner does by hand: a boot in which that is done → power-off
        (an image with an encrypted root begins here: its passphrase is typed, there is no Ignition)
      → control boot: must open as the policy promises, by itself with nothing typed → power-off
      → cache: sealed/<hash>/ with disk.qcow2, nvram.fd, tpm/, sealed.json

An installation that fails keeps its evidence, and every test of the same run that needs it fails with the first cause.
"""

import json
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness import untrusted
from harness.cache import build_once
from harness.errors import ControlError, GuestError, HarnessError, RigError, UsageError
from harness.evidence import artifacts
from harness.files import write_whole
from harness.guest.facts import canary_path
from harness.guest.outcome import Outcome, Unlock
from harness.guest.plan import BootPlan
from harness.host.docker import docker_client
from harness.host.slots import waited
from harness.images import GuestImage, guest_image
from harness.images.recipe import guest_recipe
from harness.lab.hardware import disk_sizes, machine_for
from harness.lab.install_key import InstallInputs
from harness.lab.laboratory import Laboratory
from harness.lab.owner import owner_functions
from harness.lab.policies import require_installable
from harness.lab.power import ScenarioContext, power_off, retry_stalled, system_up
from harness.lab.powered import boot, maintain
from harness.lab.recorder import EvidenceRecorder
from harness.lab.request import BootRequest
from harness.lab.servers import held_for, served
from harness.machine.disk import blank, overlay
from harness.machine.spec import Machine
from harness.policy.fit import fit
from harness.policy.ignition import GuestFile, fill_placeholders, render
from harness.policy.pins import ServiceId
from harness.policy.policy import Policy
from harness.services.held import Held
from harness.services.tang import addresses

FIRST_BOOT = ("ignition.firstboot", "ignition.platform.id=qemu", "ip=dhcp", "rd.neednet=1")
"""What Fedora CoreOS's GRUB adds to the command line of the first boot; here systemd-stub(7) reads it from SMBIOS."""

CONFIG = "opt/com.coreos/config"
"""Where Ignition looks for its config under QEMU: ignition's docs, supported platforms."""

_ENROLMENT = "enrolment.txt"


@dataclass(frozen=True)
class SealedEntry:
    """A sealed machine in the cache. Its files are never written to again.

    Attributes:
        folder: The cache entry.
        policy: What was installed.
        image: What it was installed on.
        machine: The hardware, with the entry's own files.
        held: What each server that its pins ask holds.
        canaries: The secrets on the encrypted volumes, by the name of the volume.
        install_seconds: How long the first boot and the control boot took, without what they waited for a slot.
        versions: Of what took part in the installation, the guest's packages among them.
    """

    folder: Path
    policy: Policy
    image: GuestImage
    machine: Machine
    held: Mapping[ServiceId, Held]
    canaries: Mapping[str, str]
    install_seconds: float
    versions: Mapping[str, str]


def sealed_machine(lab: Laboratory, image_name: str, policy: Policy, artifacts_root: Path) -> SealedEntry:
    """The sealed machine of a policy on an image, installed now if it was not.

    Args:
        lab: Where.
        image_name: A folder of images/.
        policy: What to install.
        artifacts_root: Where the evidence of the installation goes.

    Raises:
        UsageError: The policy encrypts nothing, or is for another kind of image; the folder of evidence is not ours.
        ControlError: It was installed, and does not open by itself; the error names its evidence.
        HarnessError: It could not be installed; in one run always with the first cause.
    """
    require_installable(policy, guest_recipe(image_name))
    artifacts.claimed_root(artifacts_root)  # told now, and not after the minutes that an image takes
    if policy.provided:
        with docker_client():
            pass  # so is this
    image = guest_image(image_name, lab.progress)
    order = _Order(lab, image, policy, held_for(lab, policy))
    failure = lab.notes / f"{order.key}.json"

    def build(folder: Path) -> None:
        _raise_again(failure)
        recorder = EvidenceRecorder.open(
            artifacts_root, f"install::{policy.name}-{image.name}", f"Installation of {policy.name}"
        )
        recorder.installs(policy, image.name)
        step = f"install {policy.name} on {image.name}, and prove that it opens by itself"
        try:
            with lab.progress.step(step), recorder.finishing():
                _install(order, folder, recorder)
        except HarnessError as error:
            error.evidence = str(recorder.folder)
            told = [type(error).__name__, error.what, error.detail, error.hint, error.evidence]
            write_whole(failure, json.dumps(told))
            raise

    return _load(order, build_once("sealed", order.key, build, readers=lab.host.user, progress=lab.progress))


@dataclass(frozen=True)
class _Order:
    """What is to be installed."""

    lab: Laboratory
    image: GuestImage
    policy: Policy
    held: Mapping[ServiceId, Held]

    @cached_property
    def key(self) -> str:
        """The key of the sealed machine in the cache."""
        spec = self.image.ignition_spec
        return InstallInputs(
            image=self.image.key,
            config=self.policy.config if spec is None else fit(self.policy.config, spec).config,
            enrolment=(owner_functions(), *self.policy.enrolment) if self.policy.enrolment else (),
            machine=machine_for(self.policy, self.lab.firmware, Path("sealed")),
            accelerator=self.lab.host.accel.name,
            qemu=self.lab.host.emulator_version,
            held=self.held,
            disk_bytes=disk_sizes(self.policy),
            first_boot=FIRST_BOOT,
            canaries=_canary_files(self.policy, {volume.name: "" for volume in self.policy.volumes}),
        ).key


def _raise_again(failure: Path) -> None:
    if failure.exists():
        name, what, detail, hint, evidence = json.loads(failure.read_text())
        kinds = {kind.__name__: kind for kind in (UsageError, GuestError, RigError, ControlError)}
        before = f"the installation failed before in this run: {what}"
        raise kinds.get(name, HarnessError)(before, detail, hint, evidence)


def _install(order: _Order, folder: Path, recorder: EvidenceRecorder) -> None:
    lab, image, policy = order.lab, order.image, order.policy
    start = time.monotonic() - waited()
    canaries = {volume.name: secrets.token_hex(16) for volume in policy.volumes if volume.mount_point}
    recorder.hide_secrets(policy, canaries)
    machine = machine_for(policy, lab.firmware, folder)
    _make_disks(machine, image, disk_sizes(policy))
    with served(lab, policy, order.held) as asked:
        context = ScenarioContext(lab, image, policy, asked, recorder)
        recorder.keep({"manifest.json": image.manifest})
        reached = addresses(context.services)
        by_hand: list[str] = fill_placeholders(list(policy.enrolment), reached)
        if image.root_passphrase:
            _first_boot_with_root(context, machine, [*_canary_commands(policy, canaries), *by_hand])
        else:
            assert image.ignition_spec is not None  # `require_installable`
            config = folder / "config.ign"
            config.write_bytes(render(policy, reached, _canary_files(policy, canaries), image.ignition_spec))
            recorder.keep({artifacts.CONFIG_IGN: config})
            _first_boot(context, machine, config)
            if by_hand:
                recorder.keep({_ENROLMENT: maintain(context, machine, "enrolment", by_hand)})
        versions = {**lab.versions, "image": f"{image.name} {image.key}", **image.versions}
        artifacts.save_versions(recorder.folder, versions)
        outcome = boot(context, machine, BootRequest("control", orderly=True))
        for server in context.services:
            recorder.keep_log(server.name, server.raw_log)
    require_control(policy, outcome, canaries)
    assert outcome.evidence
    if (log := outcome.evidence / artifacts.EVENT_LOG).exists():
        (folder / artifacts.EVENT_LOG).write_bytes(log.read_bytes())
    about = {
        "canaries": canaries,
        "install_seconds": round(time.monotonic() - waited() - start, 1),
        "versions": versions,
    }
    (folder / "sealed.json").write_text(json.dumps(about, indent=2) + "\n")


def _make_disks(machine: Machine, image: GuestImage, sizes: Sequence[int]) -> None:
    (system, size), *others = zip(machine.disks, sizes, strict=True)
    overlay(image.disk, system.path, size=size)
    for disk, size in others:
        blank(disk.path, size)


def _canary_files(policy: Policy, canaries: Mapping[str, str]) -> list[GuestFile]:
    return [
        GuestFile(canary_path(volume.mount_point), canaries[volume.name] + "\n", 0o600)
        for volume in policy.volumes
        if volume.mount_point
    ]


def _canary_commands(policy: Policy, canaries: Mapping[str, str]) -> list[str]:
    return [f"(umask 077; echo {file.text.strip()} > {file.path})" for file in _canary_files(policy, canaries)]


def _first_boot(context: ScenarioContext, machine: Machine, config: Path) -> None:
    """Let Ignition do what the config says."""
    wanted = [argument for argument in context.policy.kernel_arguments if argument not in FIRST_BOOT]
    stub = "io.systemd.stub.kernel-cmdline-extra=" + " ".join([*FIRST_BOOT, *wanted])
    first = replace(machine, smbios_oem_strings=(*machine.smbios_oem_strings, stub), fw_cfg=((CONFIG, config),))

    def attempt() -> None:
        with system_up(context, first, "install", BootPlan(())) as (on, opened):
            power_off(on.rig, opened)

    retry_stalled(context, machine, "install", attempt)


def _first_boot_with_root(context: ScenarioContext, machine: Machine, commands: Sequence[str]) -> None:
    """Open an encrypted root by its passphrase, and do what its owner does."""
    bare = tuple(replace(each, pins=None, passphrase=context.image.root_passphrase) for each in context.policy.volumes)
    said = maintain(replace(context, policy=replace(context.policy, volumes=bare)), machine, "install", commands)
    context.recorder.keep({_ENROLMENT: said})


def require_control(policy: Policy, outcome: Outcome, canaries: Mapping[str, str]) -> None:
    """Without a control boot that opens as promised, a machine that stays shut later would prove nothing.

    Raises:
        ControlError: A volume did not open by itself (with a PIN: by the TPM once it was typed).
        RigError: Its canary is not ours.
    """
    for volume in policy.volumes:
        seen = outcome.volumes.get(volume.name, outcome)
        names = {leaf.name for leaf in volume.leaves}
        by_pin = volume.tpm_pin is not None and bool(seen.unlocked_by & names)
        if volume.pins and seen.unlock is not Unlock.AUTO and not by_pin:
            raise ControlError(
                f"policy {policy.name} was installed, and in its control boot {volume.name} did not open by itself: "
                f"{seen.reason}",
                "\n".join(f"{failure.pin}: {failure.reason} ({failure.source})" for failure in seen.failures),
                "nothing can be concluded from this machine; the evidence of the installation says more",
            )
        if seen.canary != canaries.get(volume.name):
            raise RigError(f"the canary on {volume.name} of {policy.name} is {seen.canary!r}, not the one we put")


def _load(order: _Order, folder: Path) -> SealedEntry:
    about = json.loads((folder / "sealed.json").read_text())
    machine = machine_for(order.policy, order.lab.firmware, folder)
    return SealedEntry(
        folder=folder,
        policy=order.policy,
        image=order.image,
        machine=machine,
        held=order.held,
        canaries=about["canaries"],
        install_seconds=about["install_seconds"],
        versions=about["versions"],
    )


def copied(sealed: SealedEntry, to: Path) -> Machine:
    """A copy-on-write copy of the disk, and copies of the NVRAM and the TPM's state, in a folder of their own."""
    original = sealed.machine
    tpm = original.tpm
    assert tpm is not None
    untrusted.copy(original.nvram, to / "nvram.fd")
    untrusted.copy(tpm.state, to / "tpm", without=".lock")
    key = original.security_key
    if key:
        key = replace(key, state=Path(shutil.copyfile(key.state, to / "security-key.json")))
    return replace(
        original,
        nvram=to / "nvram.fd",
        disks=tuple(replace(disk, path=overlay(disk.path, to / disk.path.name)) for disk in original.disks),
        tpm=replace(tpm, state=to / "tpm"),
        security_key=key,
    )
