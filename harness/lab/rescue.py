"""A system that is booted beside a disk, to work on the disk by hand: an owner's tool, and an attacker's."""

import re
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness.errors import RigError
from harness.guest import facts
from harness.guest.plan import BootPlan
from harness.guest.ssh import Shell
from harness.images import guest_image
from harness.lab.hardware import DISK_BYTES, volume_place
from harness.lab.power import ScenarioContext, system_up
from harness.machine.disk import overlay
from harness.machine.esp import sign_boot_images
from harness.machine.rig import Rig
from harness.machine.signing import SigningKey
from harness.machine.spec import Bus, Disk, Machine
from harness.policy.disks import link_name
from harness.policy.pins import OPENERS, leaves
from harness.policy.policy import Policy

RESCUE_IMAGE = "attacker"

_ROOT = "root=/dev/nvme0n1p4"
_UNLOCK_SECONDS = 240.0
_NO_SUCH_KEY = 2
"""cryptsetup(8), RETURN CODES: no permission (bad passphrase)."""

_INCOMPLETE = re.compile(r"command not found|Unable to locate pin")
"""Said by a shell, and by clevis, of a tool that is not there."""

_SHELL_LOG = "shell.log"


def _node(number: int) -> str:
    """The node of a disk of the owner's in the rescue system."""
    return f"/dev/vd{chr(ord('a') + number)}"


@dataclass(frozen=True, repr=False)
class Rescue:
    """A system that runs beside the disk.

    Attributes:
        rig: Its hardware.
        shell: Root in that system.
        policy: What the disk was installed with.
        transcript: Where `run` writes down what was done; it becomes evidence, named `evidence`.
        evidence: Where that is, once the machine is off.
    """

    rig: Rig
    shell: Shell
    policy: Policy
    transcript: Path
    evidence: Path

    def attempt(self, command: str, timeout: float = 60.0, *, stdin: bytes = b"") -> tuple[int, str]:
        """Run a command and write it down with all that it said; returns its exit status, and what it said."""
        with self.transcript.open("a") as log:
            log.write(f"# {command}\n")
            log.flush()
            # What a command leaves running (clevis's sss ends the pins it no longer needs) may speak after its end.
            mark = secrets.token_hex(8)
            output = self.shell.run(f"({command}\n) 2>&1; printf '\\n%s %d\\n' {mark} $?", timeout, stdin=stdin)
            before, _, after = output.partition(f"\n{mark} ")
            status, _, late = after.partition("\n")
            said = before + late
            log.write(f"{said.rstrip()}\n[status {status}]\n")
        return int(status), said

    def run(self, command: str, timeout: float = 60.0, *, stdin: bytes = b"") -> str:
        """Run a command that must succeed, as `attempt` does; returns what it said.

        Raises:
            RigError: It failed.
        """
        status, said = self.attempt(command, timeout, stdin=stdin)
        if status:
            raise RigError(f"a command in the rescue system ended with status {status}: {command}", said[-2000:])
        return said

    def device(self, volume: str) -> str:
        """Where the encrypted volume lies: on the second disk, or on one that came after it."""
        place = volume_place(self.policy, volume)
        if not isinstance(place.partition, str):
            return f"{_node(place.disk)}{place.partition or ''}"
        if place.disk:
            return f"/dev/disk/by-partlabel/{link_name(place.partition)}"
        if place.partition not in self._partitions:
            known = ", ".join(self._partitions)
            raise RigError(f"the second disk has no partition {place.partition}", f"it has: {known}")
        return self._partitions[place.partition]

    @cached_property
    def _partitions(self) -> dict[str, str]:
        """The partitions of the second disk that have a label, by their labels."""
        lines = (line.split(maxsplit=1) for line in self.run("lsblk -nlpo NAME,PARTLABEL /dev/vda").splitlines())
        return {line[1].rstrip(): line[0] for line in lines if len(line) == 2}

    def unlock(self, volume: str, passphrase: str) -> bool:
        """Attempt a passphrase by hand, with ``cryptsetup open``; says whether it opened.

        Raises:
            RigError: cryptsetup failed otherwise than by refusing the passphrase.
        """
        command = f"cryptsetup open --key-file - {self.device(volume)} {shlex.quote(volume)}"
        status, said = self.attempt(command, _UNLOCK_SECONDS, stdin=passphrase.encode())
        if status not in (0, _NO_SUCH_KEY):
            raise RigError(f"cryptsetup in the rescue system ended with status {status}", said)
        return status == 0

    def unlock_by_binding(self, volume: str, pin: str = "") -> bool:
        """Have what bound the volume, clevis or systemd-cryptsetup(8), try to open it; says whether it opened.

        Args:
            volume: Which. One that is bound to nothing is tried by whatever the system has.
            pin: What the TPM is told when it wants a PIN.

        Raises:
            RigError: A tool neither opened it nor says that it was refused: it is not there, say, or the device is not.
        """
        device, name = self.device(volume), shlex.quote(volume)
        pins = next(each.pins for each in self.policy.volumes if each.name == volume)
        bound = list(leaves(pins))
        refused = False
        failed: RigError | None = None
        for opener in OPENERS:
            own = [leaf for leaf in bound if leaf.opener is opener]
            if bound and not own:
                continue
            command = opener.unlock(device, name, own, shlex.quote(pin) if pin else "")
            status, said = self.attempt(command, _UNLOCK_SECONDS)
            if status == 0:
                return True
            if re.search(opener.refusal, said) and not _INCOMPLETE.search(said):
                refused = True
            else:
                what = f"{opener.name} neither opened {volume} nor says that it was refused (status {status})"
                failed = failed or RigError(
                    what, said[-2000:], "what could not be tried shows nothing: see what is missing"
                )
        if failed and (bound or not refused):
            raise failed
        return False

    def close(self, volume: str) -> None:
        """Unmount and close a volume if it is open."""
        mapping = f"/dev/mapper/{shlex.quote(volume)}"
        self.run(f"if test -e {mapping}; then umount -q {mapping} || true; cryptsetup close {mapping}; fi")

    def canary(self, volume: str) -> str | None:
        """Mount the open volume and read its canary; None when it is not open, or holds none."""
        mount = f"/run/{volume}"
        where = facts.canary_path(mount)
        self.attempt(f"mkdir -p {mount} && mount -o ro /dev/mapper/{volume} {mount} && cat {where}")
        return facts.read_canary(self.shell, where)


@contextmanager
def rescue_system(
    context: ScenarioContext,
    machine: Machine,
    folder: Path,
    label: str,
    image_name: str = RESCUE_IMAGE,
    *,
    signer: SigningKey | None = None,
) -> Iterator[Rescue]:
    """Boot an image from a new first disk, with the machine's own disk as the second.

    Args:
        context: Where.
        machine: The hardware, with the one disk that is to be worked on.
        folder: For the new disk; empty.
        label: What this power-on is for, in the evidence.
        image_name: A folder of images/.
        signer: Signs what the firmware starts of it, for Secure Boot; nobody by default.
    """
    image = guest_image(image_name, context.lab.progress)
    own = Disk(overlay(image.disk, folder / "own.qcow2", size=DISK_BYTES), Bus.NVME, "own")
    if signer:
        sign_boot_images(own.path, signer)
    disk, *others = machine.disks
    machine = replace(
        machine,
        disks=(own, *(replace(each, bus=Bus.VIRTIO) for each in (replace(disk, serial="second"), *others))),
        # Both disks may have a file system that is labelled root; the last root= counts.
        smbios_oem_strings=() if _ROOT in image.cmdline else (f"io.systemd.stub.kernel-cmdline-extra={_ROOT}",),
    )
    with system_up(context, machine, label, BootPlan(()), image) as (on, opened):
        rescue = Rescue(on.rig, opened, context.policy, on.folder / _SHELL_LOG, on.kept(_SHELL_LOG))
        # The system is up before its network is.
        rescue.attempt("/usr/lib/systemd/systemd-networkd-wait-online --timeout=30")
        yield rescue
