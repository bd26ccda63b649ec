"""Somebody else with a machine of his own.

He knows no passphrase and has what a scenario hands to him: a clone of the disk, and whatever else it grants. His
machine stands in the victim's network, so he reaches Tang unless the scenario says otherwise.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import RigError
from harness.guest import facts
from harness.guest.driver import watch
from harness.guest.outcome import Outcome
from harness.guest.plan import BootPlan
from harness.guest.ssh import Shell
from harness.lab.install import DISK_BYTES
from harness.lab.powered import boot, canary_path, recorded, shell
from harness.lab.sealed import Sealed
from harness.machine.disk import overlay
from harness.machine.rig import power_on
from harness.machine.spec import Bus, Disk, Firmware, Machine, Tpm

_UNLOCK_SECONDS = 240.0
_NO_SUCH_KEY = "2"
"""cryptsetup(8), RETURN CODES: no permission (bad passphrase)."""


@dataclass(frozen=True)
class Attacker:
    """Made for one test.

    Attributes:
        victim: Whose laboratory, network and evidence he shares.
    """

    victim: Sealed

    def boot(
        self,
        *,
        disk: Disk,
        tpm: Tpm | None = None,
        nvram: Path | None = None,
        firmware: Firmware | None = None,
        label: str = "attacker",
    ) -> Outcome:
        """Boot a disk in his own machine; he types nothing, since he knows nothing.

        Args:
            disk: A clone of the victim's.
            tpm: The victim's TPM, when he has it; else his own, which is new.
            nvram: The victim's UEFI variables, when he has them; else his own.
            firmware: Another firmware than the laboratory's.
            label: What this boot is for, in the evidence.
        """
        machine = self._machine(disk)
        machine = replace(machine, tpm=tpm or machine.tpm, nvram=nvram or machine.nvram)
        return boot(self.victim.scene, replace(machine, firmware=firmware or machine.firmware), label, typing=())

    @contextmanager
    def rescue(self, *, disk: Disk) -> Iterator["Rescue"]:
        """Boot a system of his own with the disk as a second one, and work on it by hand.

        Args:
            disk: A clone of the victim's.
        """
        folder = self._folder()
        own = Disk(overlay(self.victim.entry.image.disk, folder / "own.qcow2", size=DISK_BYTES), Bus.NVME, "own")
        loot = replace(disk, bus=Bus.VIRTIO, serial="loot")
        machine = replace(
            self._machine(own),
            name="rescue",
            disks=(own, loot),
            # Both disks have a file system that is labelled root; the last root= counts.
            smbios_oem_strings=("io.systemd.stub.kernel-cmdline-extra=root=/dev/nvme0n1p4",),
        )
        scene = self.victim.scene
        with (
            recorded(scene.logbook, "rescue", machine) as record,
            power_on(machine, scene.lab.host, record.folder) as rig,
        ):
            watch(rig, BootPlan(()), live=scene.lab.live)
            with shell(rig, scene.image, scene.lab.live) as opened:
                yield Rescue(opened, self.victim)

    def _machine(self, disk: Disk) -> Machine:
        folder = self._folder()
        return replace(
            self.victim.machine,
            name="attacker",
            disks=(disk,),
            tpm=Tpm(folder / "tpm"),
            nvram=folder / "nvram.fd",
        )

    def _folder(self) -> Path:
        folder = self.victim.folder / f"attacker-{len(list(self.victim.folder.glob('attacker-*')))}"
        folder.mkdir()
        return folder


@dataclass(frozen=True)
class Rescue:
    """A system that runs beside the disk.

    Attributes:
        shell: Root in that system.
        victim: Whose disk it is.
    """

    shell: Shell
    victim: Sealed

    def device(self, volume: str) -> str:
        """Where the encrypted volume lies: its partition on the second disk."""
        label = next(v.device for v in self.victim.policy.volumes if v.name == volume).rsplit("/", 1)[-1]
        table = self.shell.run("lsblk -nrpo NAME,PARTLABEL /dev/vda")
        found = [line.split()[0] for line in table.splitlines() if line.split()[1:] == [label]]
        if not found:
            raise RigError(f"the second disk has no partition {label}", table)
        return found[0]

    def unlock(self, volume: str, passphrase: str) -> bool:
        """Try a passphrase by hand, with ``cryptsetup open``; says whether it opened.

        Raises:
            RigError: cryptsetup failed otherwise than by refusing the passphrase.
        """
        command = f"cryptsetup open --key-file - {self.device(volume)} {shlex.quote(volume)}"
        said = self.shell.run(f"{command} 2>&1; echo status $?", _UNLOCK_SECONDS, stdin=passphrase.encode())
        status = said.rsplit("status ", 1)[-1].strip()
        if status not in ("0", _NO_SUCH_KEY):
            raise RigError(f"cryptsetup in the rescue system ended with status {status}", said)
        return status == "0"

    def canary(self, volume: str) -> str | None:
        """Mount the open volume and read its canary."""
        mount = f"/run/{volume}"
        self.shell.run(f"mkdir -p {mount} && mount -o ro /dev/mapper/{volume} {mount}")
        return facts.read_canary(self.shell, canary_path(mount))
