"""A test's own copy of a sealed machine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Unpack

from harness.errors import UsageError
from harness.files import numbered_folder
from harness.guest.outcome import Outcome
from harness.lab.faults import Fault, FaultContext
from harness.lab.hardware import volume_place
from harness.lab.install import SealedEntry, copied
from harness.lab.power import ScenarioContext
from harness.lab.powered import Powered, maintain, powered
from harness.lab.request import BootOptions, BootRequest
from harness.lab.rescue import Rescue, rescue_system
from harness.luks2.header import HEADER_BYTES
from harness.luks2.metadata import LuksHeader, parse_luks_header
from harness.machine.partition import read_partition
from harness.machine.spec import Machine, Tpm
from harness.policy.ignition import fill_placeholders
from harness.policy.maintenance import MaintenanceTask
from harness.policy.policy import Policy
from harness.services.hsm import Hsm
from harness.services.service import Service
from harness.services.tang import Tang, addresses
from harness.temporary import KEEP


@dataclass(frozen=True, repr=False)
class Sealed:
    """A machine with a policy installed that has opened by itself once, for one test to do with as it likes.

    Attributes:
        entry: What it is a copy of.
        machine: Its hardware. What a boot writes stays for the next one.
        folder: Belongs to this test.
        context: The laboratory, the servers in reach, and the test's evidence.
    """

    entry: SealedEntry
    machine: Machine
    folder: Path
    context: ScenarioContext

    @classmethod
    def copy_of(cls, entry: SealedEntry, folder: Path, context: ScenarioContext, name: str) -> "Sealed":
        """A copy of a sealed machine.

        Args:
            entry: What to copy.
            folder: For the copy; empty, and the caller's to remove.
            context: Where it boots, and which servers it reaches there.
            name: Of the machine, in the evidence.
        """
        return cls(entry, replace(copied(entry, folder), name=name), folder, context)

    @property
    def policy(self) -> Policy:
        """What is on its disk: what was installed, and what `maintained` made of it."""
        return self.context.policy

    @property
    def canary(self) -> str:
        """The secret that only the encrypted volume holds; of several, the first."""
        return next(iter(self.entry.canaries.values()))

    @property
    def canaries(self) -> Mapping[str, str]:
        """The secrets that only the encrypted volumes hold, by the name of the volume."""
        return self.entry.canaries

    @property
    def passphrase(self) -> str:
        """The passphrase of the first volume.

        Raises:
            UsageError: The policy leaves no keyslot that can be typed.
        """
        passphrase = self.policy.volumes[0].passphrase
        if passphrase is None:
            raise UsageError(f"policy {self.policy.name} has no passphrase that could be typed")
        return passphrase

    @property
    def tangs(self) -> Mapping[str, Tang]:
        """The Tang servers that the policy needs, by name."""
        return self.context.of_kind(Tang)

    @property
    def hsms(self) -> Mapping[str, Hsm]:
        """The HSMs of its policy, by the name that the policy gives them."""
        return self.context.of_kind(Hsm)

    def reaching(self, *services: Service) -> "Sealed":
        """The same machine with further services in its network, beside those that its policy needs."""
        return replace(self, context=replace(self.context, others=(*self.context.others, *services)))

    def header(self, volume: str) -> LuksHeader:
        """The LUKS header of a volume as it is on the disk now; the machine must be off."""
        place = volume_place(self.policy, volume)
        return parse_luks_header(read_partition(self.machine.disks[place.disk].path, place.partition, HEADER_BYTES))

    @contextmanager
    def rescue(self, label: str = "rescue") -> Iterator[Rescue]:
        """Carry the disk into another machine of the owner's, and work on it by hand; what is changed stays."""
        folder = numbered_folder(self.folder, label)
        other = replace(self.machine, name=label, tpm=Tpm(folder / "tpm"), nvram=folder / "nvram.fd")
        with rescue_system(self.context, other, folder, label) as opened:
            yield opened

    @contextmanager
    def powered(self, *faults: Fault, **request: Unpack[BootOptions]) -> Iterator[Powered]:
        """Power it on, judge what its disk does, and leave it on for the block; then cut the power.

        Args:
            *faults: Changes of the hardware, for this boot only, applied in order.
            **request: What the boot is to do: the fields of `BootRequest`.

        Raises:
            GuestError: There is no verdict: the guest went wrong by itself.
            RigError: There is none: the rig failed, or the evidence does not agree.
        """
        try:
            with powered(self.context, self._faulty(faults), BootRequest(**request)) as on:
                yield on
        finally:
            if self.context.lab.options.keep:
                (self.folder / KEEP).touch()

    def boot(self, *faults: Fault, **request: Unpack[BootOptions]) -> Outcome:
        """Power it on, judge what its disk does, cut the power: `powered` with nothing done in the block."""
        with self.powered(*faults, **request) as on:
            return on.outcome

    def maintain(self, *commands: str, under: Sequence[Fault] = (), label: str = "maintenance") -> str:
        """Boot it as its owner does, run commands as root in the guest, and shut it down; what they change stays.

        Args:
            *commands: For bash; the first that fails ends it. Placeholders of Tang servers are filled in.
            under: Changes of the hardware, for this boot only.
            label: What this is for, in the evidence.

        Returns:
            What the commands printed, with the commands themselves.

        Raises:
            RigError: The guest did not come up, or a command failed.
        """
        filled = fill_placeholders(list(commands), addresses(self.context.services))
        return maintain(self.context, self._faulty(under), label, filled)

    def maintained(self, task: MaintenanceTask, *under: Fault, label: str = "maintenance") -> "Sealed":
        """`maintain` it by a task that changes its volumes; what is returned is judged by what they are then."""
        done = task(self.policy.volumes)
        self.maintain(*done.commands, under=under, label=label)
        return replace(self, context=replace(self.context, policy=replace(self.policy, volumes=done.volumes)))

    def _faulty(self, faults: Sequence[Fault]) -> Machine:
        """The machine as it is for one boot."""
        context = FaultContext(numbered_folder(self.folder, "boot"), self.context.lab.progress)
        return reduce(lambda machine, fault: fault(machine, context), faults, self.machine)
