"""The attacker: knows no passphrase and has what a scenario grants, item by item.

::

    @pytest.mark.policy("tang")
    @pytest.mark.attack(Grant.DISK, Grant.NETWORK)
    def test_disk_clone(sealed, attacker):
        loot = attacker.boot(disk=attacker.disk())
        assert loot.canary == sealed.canary

They have a machine of their own, with a new TPM and new UEFI variables unless granted the victim's (`Grant.MACHINE`
grants both). It stands in the victim's network with `Grant.NETWORK`, and else where the victim's Tang servers refuse
it.

The attack succeeded iff they printed the canary, or a volume key that the victim's LUKS header vouches for. That is
observed by `boot` and by `submit`, and written down as the ``attack`` of the evidence.
"""

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from harness.attack.assets import ELSEWHERE, AttackerAssets
from harness.attack.bus import BusSniffer
from harness.attack.grants import Grant
from harness.errors import RigError, UsageError
from harness.evidence.artifacts import CONSOLE
from harness.evidence.attacks import Attempt
from harness.guest.console import ConsoleShell
from harness.guest.driver import Live, drained, watch
from harness.guest.events import Event
from harness.guest.outcome import Outcome
from harness.guest.plan import BootPlan
from harness.lab.faults import FaultContext
from harness.lab.power import machine_on
from harness.lab.powered import boot
from harness.lab.request import BootOptions, BootRequest
from harness.lab.rescue import RESCUE_IMAGE, Rescue, rescue_system
from harness.lab.sealed import Sealed
from harness.machine.rig import Rig
from harness.machine.signing import SigningKey
from harness.machine.spec import Disk, Firmware, Machine, Tpm
from harness.network.connection import Client
from harness.services.tang import Tang


class _HeardError(Exception):
    """Ends a boot that has served its purpose."""


@dataclass(frozen=True)
class AttackResult:
    """What an attacker printed at the end.

    Attributes:
        canary: What they say was on the encrypted volume.
        volume_key: What they say it is encrypted with.
        extracted: Whether either is true: the canary is the victim's, or the victim's header vouches for the key.
    """

    canary: str | None
    volume_key: bytes | None
    extracted: bool


class ConsoleSession(ConsoleShell):
    """A session at a machine that is on: its console, and its slots.

    Args:
        rig: The machine.
        evidence: What the console says, as it is kept once the machine is off.
        live: Gets every byte that the console says.

    Attributes:
        evidence: The same.
    """

    def __init__(self, rig: Rig, evidence: Path, live: Live | None = None) -> None:
        super().__init__(rig.console, live)
        self.evidence = evidence
        self._rig = rig

    def plug(self, disk: Disk) -> None:
        """Put one more disk in; the guest will see it as a virtio disk."""
        self._rig.plug(disk)


@dataclass(frozen=True, repr=False)
class Attacker(AttackerAssets):
    """Made for one test, by `Attacker.of`. What they take, they take by the methods of `AttackerAssets`."""

    @classmethod
    def of(cls, victim: Sealed, grants: Iterable[Grant]) -> "Attacker":
        """An attacker with these grants. The victim's servers refuse machines outside the victim's network."""
        attacker = cls(victim, frozenset(grants))
        victim.context.recorder.attack_begins(attacker.grants)
        for server in victim.context.asked.values():
            server.answers_only(victim.machine.site, refusing=True)
        return attacker

    def boot(
        self,
        *,
        disk: Disk,
        tpm: Tpm | None = None,
        nvram: Path | None = None,
        firmware: Firmware | None = None,
        **request: Unpack[BootOptions],
    ) -> Outcome:
        """Boot a disk and see whether it opens, and whether its canary can be read.

        Args:
            disk: The one that is started.
            tpm: A certain one, instead of their machine's.
            nvram: Certain UEFI variables, instead of their machine's.
            firmware: Another than the laboratory's.
            **request: What the boot is to do (`BootRequest`); nothing is typed unless it says what.
        """
        machine = self._machine(disk, tpm, nvram, firmware)
        types_nothing: BootOptions = {"label": "attacker", "typing": ()}
        outcome = boot(self.victim.context, machine, BootRequest(**(types_nothing | request)))
        for name in self.victim.canaries:
            self.submit(outcome.volumes.get(name, outcome).canary, volume=name, evidence=outcome.evidence)
        return outcome

    def capture_until_unseal(self, sniffer: BusSniffer) -> None:
        """Listen to the TPM while the victim boots at home, until it has unsealed once; then the power is cut.

        Args:
            sniffer: What listens on the bus.

        Raises:
            RigError: It did not unseal.
        """
        context, victim = self.victim.context, self.victim
        machine = self.on_the_bus(sniffer)(victim.machine, FaultContext(self._folder(), context.lab.progress))
        plan = BootPlan.for_volumes(victim.policy.volumes, context.urls)

        def stop(_event: Event) -> None:
            if sniffer.unsealed:
                raise _HeardError

        with machine_on(context, machine, "good-boot") as on:
            with suppress(_HeardError):
                watch(on.rig, plan, live=context.lab.live, on_event=stop)
            if not sniffer.unsealed:
                raise RigError("the victim booted, and its TPM unsealed nothing")

    @contextmanager
    def console(
        self, *, disk: Disk, nvram: Path | None = None, smbios: Sequence[str] = (), label: str = "console"
    ) -> Iterator[ConsoleSession]:
        """Start a disk, and sit at the console, where the attacker's shell waits if they arranged for one.

        What the console says is the evidence, ``LABEL-console.log``; what they get out they must print: `submit`.

        Args:
            disk: The one that is started.
            nvram: Other UEFI variables than their machine's.
            smbios: What the platform shows as its SMBIOS strings (type 11).
            label: What this power-on is for, in the evidence.
        """
        if smbios:
            self.require(Grant.SMBIOS)
        machine = replace(self._machine(disk, None, nvram, None), smbios_oem_strings=tuple(smbios))
        context = self.victim.context
        with machine_on(context, machine, label) as on, drained(on.rig, console=False):
            yield ConsoleSession(on.rig, on.kept(CONSOLE), context.lab.live)

    @contextmanager
    def boot_live_system(
        self,
        *,
        disk: Disk,
        tpm: Tpm | None = None,
        nvram: Path | None = None,
        firmware: Firmware | None = None,
        image: str = RESCUE_IMAGE,
        signer: SigningKey | None = None,
    ) -> Iterator[Rescue]:
        """Boot a live system with a disk as the second one, and work there as root.

        What they get out they must print: `submit`. The arguments are those of `boot`, and the image to boot, signed
        for Secure Boot by a key if one is given.
        """
        machine = self._machine(disk, tpm, nvram, firmware)
        with rescue_system(self.victim.context, machine, self._folder(), "attacker", image, signer=signer) as opened:
            yield opened

    def try_bindings(self, system: Rescue, *volumes: str, control: bool = False) -> frozenset[str]:
        """Try the bindings of volumes in a live system, with the TPM and the servers that it reaches.

        Args:
            system: The live system.
            volumes: Which; all that hold a canary when none is named.
            control: Whether this is tried without the attack, to show that the attack makes the difference.

        Returns:
            Those whose canary was printed.

        Raises:
            RigError: A volume opened, and what is in it could not be read: it did not resist. Or the rig failed.
        """
        system.rig.move_to(self._site)
        loot = {}
        for name in volumes or self.victim.canaries:
            opened = system.unlock_by_binding(name)
            system.rig.require_working()  # nor did what stayed shut resist, if what was to help is broken
            canary = system.canary(name) if opened else None
            if opened and canary is None:
                raise RigError(f"{name} opened by its binding, and its canary cannot be read")
            loot[name] = self.submit(canary, volume=name, evidence=system.evidence, control=control)
            if opened:
                system.close(name)
        return frozenset(name for name, printed in loot.items() if printed.extracted)

    def connect(self, tang: Tang) -> socket.socket:
        """A connection of the attacker's own to a Tang server, from where their machine stands.

        Raises:
            ConnectionRefusedError: It does not answer there.
        """
        return tang.connect(Client("attacker", "attacker"), self._site)

    def submit(
        self,
        canary: str | None = None,
        *,
        volume_key: bytes | None = None,
        volume: str | None = None,
        guard: str | None = None,
        evidence: Path | str | None = None,
        control: bool = False,
    ) -> AttackResult:
        """Submit what was got out, be it something or nothing. It is held against what only the encrypted volume knows.

        Args:
            canary: What was read on the volume; None where nothing was.
            volume_key: What is taken for the key of the volume.
            volume: Which one; the first by default.
            guard: What should have guarded it; by default the volume's name when the policy has several, else its own.
            evidence: A boot's folder (`Outcome.evidence`), or a file in the test's folder, that shows how it was got.
            control: Whether this was got without the attack, to show that the attack makes the difference.

        Raises:
            UsageError: There is no such volume, which would resist whatever is submitted.
        """
        victim = self.victim
        volumes = [each.name for each in victim.policy.volumes]
        name = volume or volumes[0]
        if name not in volumes:
            raise UsageError(f"the victim has no volume {name}", f"it has: {', '.join(volumes)}")
        extracted = canary is not None and canary == victim.canaries.get(name)
        extracted |= volume_key is not None and victim.header(name).vouches_for(volume_key)
        shown = Path(evidence).name if evidence else ""
        guard = guard or (name if len(volumes) > 1 else victim.policy.name)
        victim.context.recorder.attack_tried(Attempt(guard, tuple(sorted(self.grants)), extracted, shown, control))
        return AttackResult(canary, volume_key, extracted)

    @property
    def _site(self) -> str:
        return self.victim.machine.site if Grant.NETWORK in self.grants else ELSEWHERE

    def _machine(self, disk: Disk, tpm: Tpm | None, nvram: Path | None, firmware: Firmware | None) -> Machine:
        for path in (disk.path, tpm.state if tpm else None, nvram):
            self._require_taken(path)
        victim, folder, grants = self.victim.machine, self._folder(), self.grants
        return replace(
            victim,
            name="attacker",
            disks=(disk,),
            tpm=tpm or (self.tpm() if grants & {Grant.TPM_STATE, Grant.MACHINE} else self._own_tpm(folder)),
            nvram=nvram or (self.nvram() if grants & {Grant.NVRAM, Grant.MACHINE} else folder / "nvram.fd"),
            firmware=firmware or victim.firmware,
            site=self._site,
            security_key=self.security_key() if Grant.TOKENS in grants else None,
        )

    def _own_tpm(self, folder: Path) -> Tpm:
        """One of the attacker's own, of the kind that the victim has."""
        theirs = self.victim.machine.tpm
        return Tpm(folder / "tpm", theirs.version) if theirs else Tpm(folder / "tpm")

    def _require_taken(self, path: Path | None) -> None:
        """Whatever is the victim's must have come through one of the methods that ask for a grant."""
        folder = self.victim.folder
        if path and path.is_relative_to(folder) and not path.relative_to(folder).parts[0].startswith("attacker-"):
            raise UsageError(
                f"{path.name} is the victim's own, which no attacker uses",
                hint="take it by attacker.disk(), attacker.tpm() or attacker.nvram()",
            )
