"""What an attacker takes of the victim's: each thing only if it was granted."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Self

from harness import untrusted
from harness.attack.grants import Grant, mark_line
from harness.errors import UsageError
from harness.files import numbered_folder
from harness.images import firmware as firmware_image
from harness.lab.faults import Fault, as_firmware, tpm_bus_intercepted
from harness.lab.hardware import volume_place
from harness.lab.powered import Powered
from harness.lab.sealed import Sealed
from harness.luks2.header import HEADER_BYTES
from harness.luks2.metadata import LuksHeader, parse_luks_header
from harness.machine import tpm as tpms
from harness.machine.disk import overlay
from harness.machine.partition import read_partition, write_partition
from harness.machine.spec import Disk, Firmware, SecurityKey, Tpm
from harness.machine.tpm_bus import BusInterceptor
from harness.policy.pins.placeholders import DEFAULT_SERVER
from harness.services.tang import Tang
from harness.services.tang_keys import TangKeys

ELSEWHERE = "elsewhere"
"""Where the attacker's machine stands when it is not in the victim's network."""


@dataclass(frozen=True, repr=False)
class AttackerAssets:
    """An attacker with grants.

    Attributes:
        victim: The machine under attack, whose laboratory and evidence are shared.
        grants: What they have.
    """

    victim: Sealed
    grants: frozenset[Grant]

    def without(self, *grants: Grant) -> Self:
        """The same attacker, without some of the grants."""
        return replace(self, grants=self.grants.difference(grants))

    def require(self, *any_of: Grant) -> None:
        """Go on only with one of these grants.

        Raises:
            UsageError: None of them was granted; it says what to write.
        """
        if not self.grants.intersection(any_of):
            names = " or ".join(any_of)
            raise UsageError(
                f"this attack needs {names}, which the scenario does not grant",
                f"granted: {', '.join(sorted(self.grants)) or 'nothing'}",
                f"write {mark_line({*self.grants, any_of[0]})}",
            )

    def disk(self, number: int = 0) -> Disk:
        """A copy of a disk of the victim as it is now; the machine that it comes from must be off.

        Args:
            number: Which; the first is the one with the system.
        """
        self.require(Grant.DISK, Grant.MACHINE)
        disk = self.victim.machine.disks[number]
        return replace(disk, path=overlay(disk.path, self._folder() / "disk.qcow2"))

    def forged(self, volume: str, forge: Callable[[bytes], bytes]) -> Disk:
        """A copy of the victim's disk on which the header of a volume is another; see `harness.attack.luks_forgery`."""
        place = volume_place(self.victim.policy, volume)
        disk = self.disk(place.disk)
        write_partition(disk.path, place.partition, forge(read_partition(disk.path, place.partition, HEADER_BYTES)))
        return disk

    def tpm(self, interceptor: BusInterceptor | None = None) -> Tpm:
        """The victim's TPM as it is now: a copy of its state; the machine that it comes from must be off.

        Args:
            interceptor: What intercepts its bus.
        """
        self.require(Grant.TPM_STATE, Grant.MACHINE)
        if interceptor:
            self.require(Grant.TPM_BUS)
        if self.victim.machine.tpm is None:
            raise UsageError("the victim's machine has no TPM")
        copy = tpms.clone(self.victim.machine.tpm, self._folder() / "tpm")
        return replace(copy, interceptor=interceptor)

    def nvram(self) -> Path:
        """A copy of the victim's UEFI variables as they are now."""
        self.require(Grant.NVRAM, Grant.MACHINE)
        return Path(shutil.copyfile(self.victim.machine.nvram, self._folder() / "nvram.fd"))

    def security_key(self) -> SecurityKey | None:
        """The victim's security key, if there is one."""
        self.require(Grant.TOKENS)
        key = self.victim.machine.security_key
        return (
            replace(key, state=Path(shutil.copyfile(key.state, self._folder() / "security-key.json"))) if key else None
        )

    def header_backup(self, volume: str) -> bytes:
        """The first MiB of a volume, as it is on the disk now: the LUKS header with three keyslots of cryptsetup's."""
        self.require(Grant.DISK, Grant.MACHINE)
        place = volume_place(self.victim.policy, volume)
        return read_partition(self.victim.machine.disks[place.disk].path, place.partition, 2**20)

    def ignition_config(self) -> dict[str, Any]:
        """The config that the machine was installed with: it stays attached to it, unless the owner removes it."""
        self.require(Grant.MACHINE)
        config: dict[str, Any] = json.loads((self.victim.entry.folder / "config.ign").read_bytes())
        return config

    def firmware(self, name: str) -> Firmware:
        """A build of OVMF, as images/ovmf names it: anybody can have that."""
        return as_firmware(firmware_image(name, self.victim.context.lab.progress))

    def on_the_bus(self, interceptor: BusInterceptor) -> Fault:
        """The victim's machine with this interceptor on its TPM's bus."""
        self.require(Grant.TPM_BUS)
        return tpm_bus_intercepted(interceptor)

    def as_root(self, *commands: str) -> str:
        """Run commands as root in the victim's running system, at home; returns what they printed."""
        self.require(Grant.ROOT)
        return self.victim.maintain(*commands, label="root")

    def tang_keys(self, server: str = DEFAULT_SERVER) -> TangKeys:
        """A copy of the keys that a Tang server of the victim's has now."""
        self.require(Grant.TANG_KEYS)
        return self.victim.tangs[server].keys

    def run_tang(self, keys: TangKeys, server: str = DEFAULT_SERVER) -> None:
        """Put the attacker's own Tang server, with these keys, where their machine looks for the victim's.

        Only the attacker is answered from now on.
        """
        tang = self.victim.tangs[server]
        tang.replace_keys(keys)
        tang.answers_only(ELSEWHERE)

    def intercept(self, server: str = DEFAULT_SERVER) -> Tang:
        """A Tang server, to be recorded, silenced and answered for by whoever sits between it and the victim."""
        self.require(Grant.NETWORK)
        return self.victim.tangs[server]

    def header(self, volume: str) -> LuksHeader:
        """What the LUKS header of a volume says."""
        return parse_luks_header(self.header_backup(volume))

    @contextmanager
    def memory(self, machine: Powered) -> Iterator[mmap]:
        """What the memory of a machine that is on holds now."""
        self.require(Grant.RAM)
        with untrusted.opened(machine.rig.dump_memory()) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as memory:
            yield memory

    def _folder(self) -> Path:
        return numbered_folder(self.victim.folder, "attacker")
