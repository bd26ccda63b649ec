"""The laboratory: a prepared host, and how people want to watch it."""

import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from harness import cache, process
from harness.host.accel import PROBE_FIRMWARE
from harness.host.hostwide import announced
from harness.host.scratch import run_notes, scratch_root
from harness.host.session import Host, prepare_host
from harness.images import firmware
from harness.lab.faults import as_firmware
from harness.machine.bare_qemu import BareQemu
from harness.machine.hypervisor import Hypervisor
from harness.machine.libvirt_hypervisor import Libvirt
from harness.machine.spec import Firmware
from harness.network.namespace import require_guest_networks
from harness.progress import Progress
from harness.services.service_image import IMAGE_USE

HOME_FIRMWARE = "trixie"
"""The build of OVMF that machines have unless a fault gives them another."""

HYPERVISORS: Mapping[str, Callable[[Host], Hypervisor]] = {"libvirt": Libvirt, "qemu": BareQemu}
"""What can run the machines, by the name that an option gives it."""

_ASK_SECONDS = 20.0


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        accel: ``auto``, ``kvm`` or ``tcg``.
        hypervisor: One of `HYPERVISORS`.
        libvirt_uri: Another libvirt than the harness picks, or None.
        console: Whether to show consoles live.
        keep: Whether to leave the last machine of a test running.
        run_id: Names this run, in all its worker processes.
        terminal: Where progress and live consoles go.
    """

    accel: str = "auto"
    hypervisor: str = "libvirt"
    libvirt_uri: str | None = None
    console: bool = False
    keep: bool = False
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    terminal: TextIO = field(default_factory=lambda: sys.stderr)


@dataclass(frozen=True)
class Laboratory:
    """All that a boot needs to know about where it happens.

    Attributes:
        host: This host, prepared.
        firmware: What a machine has unless a fault gives it another.
        progress: Where to say what takes long.
        options: What the user asked for.
        versions: Of what runs the machines, by name.
        notes: A folder that all processes of this run share, and that goes after it.
    """

    host: Host
    firmware: Firmware
    progress: Progress
    options: Options
    versions: Mapping[str, str]
    notes: Path

    @property
    def hypervisor(self) -> Hypervisor:
        """What runs the machines."""
        return HYPERVISORS[self.options.hypervisor](self.host)

    @property
    def live(self) -> Callable[[bytes], None] | None:
        """Shows console bytes as they come, when that was asked for."""
        return self._show if self.options.console else None

    def _show(self, data: bytes) -> None:
        self.options.terminal.write(data.decode(errors="replace"))
        self.options.terminal.flush()


@contextmanager
def prepared(options: Options) -> Iterator[Laboratory]:
    """Prepare this host, and keep `clean --cache` away from the cache and the services' images within the block.

    Raises:
        HostError: It cannot run machines: what is missing, and the command that installs it; or a folder cannot be
            written to.
        UsageError: The cache or the run folder is a folder that is not ours.
    """
    scratch_root()
    with cache.in_use(), announced(IMAGE_USE), run_notes(options.run_id) as notes:
        yield _prepare(options, notes)


def _prepare(options: Options, notes: Path) -> Laboratory:
    progress = Progress(options.terminal)
    probe = firmware(PROBE_FIRMWARE, progress)
    host = prepare_host(probe.code, accel=options.accel, libvirt_uri=options.libvirt_uri, progress=progress)
    require_guest_networks(host.user)
    home = firmware(HOME_FIRMWARE, progress)
    versions = {
        "accelerator": f"{host.accel.name}: {host.accel.reason}",
        "firmware": f"{home.name} {home.version}",
        "libvirt": process.run(["virsh", "--version"], timeout=_ASK_SECONDS).strip(),
        "qemu": ".".join(map(str, host.emulator_version)),
        "swtpm": process.run(["swtpm", "--version"], timeout=_ASK_SECONDS).splitlines()[0],
    }
    return Laboratory(host, as_firmware(home), progress, options, versions, notes)
