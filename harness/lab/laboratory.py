"""The laboratory: a prepared host, and how people want to watch it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

from harness import process
from harness.host.session import Host, prepare_host
from harness.images import firmware
from harness.lab.faults import as_firmware
from harness.machine.spec import Firmware
from harness.progress import Progress

HOME_FIRMWARE = "trixie"
"""The build of OVMF that machines have unless a fault gives them another."""

_ASK_SECONDS = 20.0


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        accel: ``auto``, ``kvm`` or ``tcg``.
        libvirt_uri: Another libvirt than the harness picks, or None.
        console: Whether to show consoles live.
        keep: Whether to leave the last machine of a test running.
        run_id: Names this run of pytest, in all its worker processes.
        terminal: Where progress and live consoles go.
    """

    accel: str
    libvirt_uri: str | None
    console: bool
    keep: bool
    run_id: str
    terminal: TextIO


@dataclass(frozen=True)
class Laboratory:
    """All that a boot needs to know about where it happens.

    Attributes:
        host: This host, prepared.
        firmware: What a machine has unless a fault gives it another.
        progress: Where to say what takes long.
        options: What the user asked for.
        versions: Of what runs the machines, by name.
    """

    host: Host
    firmware: Firmware
    progress: Progress
    options: Options
    versions: Mapping[str, str]

    @property
    def live(self) -> Callable[[bytes], None] | None:
        """Shows console bytes as they come, when that was asked for."""
        return self._show if self.options.console else None

    def _show(self, data: bytes) -> None:
        self.options.terminal.write(data.decode(errors="replace"))
        self.options.terminal.flush()


def prepare(options: Options) -> Laboratory:
    """Prepare this host.

    Raises:
        HostError: It cannot run machines: what is missing, and the command that installs it.
    """
    progress = Progress(options.terminal)
    probe = firmware("trixie-plain", progress)
    host = prepare_host(probe.code, accel=options.accel, libvirt_uri=options.libvirt_uri, progress=progress)
    home = firmware(HOME_FIRMWARE, progress)
    versions = {
        "accelerator": f"{host.accel.name}: {host.accel.reason}",
        "firmware": f"{home.name} {home.version}",
        "libvirt": process.run(["virsh", "--version"], timeout=_ASK_SECONDS).strip(),
        "qemu": ".".join(map(str, host.emulator_version)),
        "swtpm": process.run(["swtpm", "--version"], timeout=_ASK_SECONDS).splitlines()[0],
    }
    return Laboratory(host, as_firmware(home), progress, options, versions)
