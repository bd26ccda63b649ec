"""Whether KVM works here, found out by booting firmware under it.

``/dev/kvm`` proves nothing: in some nested hosts it opens, lists its capabilities, and guests die in their first
second with ``KVM internal error`` or ``failed to set MSR``. So OVMF is booted until its boot manager speaks on the
serial port.
"""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pexpect

from harness import cache
from harness.defaults import ACCELERATORS
from harness.errors import UsageError
from harness.host.user import as_user, groups

PROBE_FIRMWARE = "trixie-plain"
"""The build of images/ovmf that is tried under KVM: it starts fast, since it has no Secure Boot."""

_DEVICE = Path("/dev/kvm")
_PROBE_SECONDS = 60.0  # OVMF reaches its boot manager in about a second under KVM; this host may be busy
_EMULATED_SECONDS = 60.0
_ALIVE = "BdsDxe|UEFI Interactive Shell|Press any key"


@dataclass(frozen=True)
class Accel:
    """How guest code runs.

    Attributes:
        name: ``kvm`` or ``tcg``.
        reason: Why it is that one, for people.
    """

    name: str
    reason: str


def choose_accel(wanted: str, emulator: Path, version: str, firmware: Path, user: str | None) -> Accel:
    """Decide on an accelerator.

    Args:
        wanted: ``auto`` probes; ``kvm`` and ``tcg`` are taken as they are.
        emulator: QEMU.
        version: What QEMU calls itself, so that an upgrade is probed anew.
        firmware: Read-only flash image of an OVMF build without Secure Boot, which the probe boots.
        user: Who runs the machines.

    Raises:
        UsageError: `wanted` is none of `ACCELERATORS`.
    """
    if wanted not in ACCELERATORS:
        raise UsageError(f"there is no accelerator {wanted!r}", hint=f"one of: {', '.join(ACCELERATORS)}")
    if wanted != "auto":
        return Accel(wanted, "asked for")
    if not _DEVICE.exists():
        return Accel("tcg", "this host has no /dev/kvm")

    def probe(folder: Path) -> None:
        (folder / "failure").write_text(probe_kvm(emulator, firmware, user))

    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text()
    key = cache.digest(boot_id, platform.release(), str(emulator), version, firmware, groups(user))
    failure = (cache.build_once("kvm-probe", key, probe) / "failure").read_text()
    return Accel("tcg", f"KVM does not work here: {failure}") if failure else Accel("kvm", "firmware boots under KVM")


def probe_kvm(emulator: Path, firmware: Path, user: str | None, seconds: float = _PROBE_SECONDS) -> str:
    """Boot firmware under KVM and return what went wrong, in one line; nothing when it booted."""
    return _boot_firmware(["-accel", "kvm", "-cpu", "host"], emulator, firmware, user, seconds)


def firmware_seconds(accel: str, emulator: Path, firmware: Path, user: str | None) -> float | None:
    """How long firmware takes to its boot manager, which says how fast this host is; None when it does not get there.

    Args:
        accel: ``kvm`` or ``tcg``.
        emulator: QEMU.
        firmware: Read-only flash image of an OVMF build without Secure Boot.
        user: Who runs the machine.
    """
    started = time.monotonic()
    cpu = "host" if accel == "kvm" else "max"
    failure = _boot_firmware(["-accel", accel, "-cpu", cpu], emulator, firmware, user, _EMULATED_SECONDS)
    return None if failure else time.monotonic() - started


def _boot_firmware(how: Sequence[str], emulator: Path, firmware: Path, user: str | None, seconds: float) -> str:
    command = [*as_user(user), str(emulator), "-machine", "q35", *how, "-m", "256", "-nodefaults", "-no-user-config"]
    command += ["-display", "none", "-serial", "stdio"]
    command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={firmware}"]
    # On a pseudo-terminal of its own: should this process die, QEMU gets SIGHUP and goes too.
    qemu = pexpect.spawn(command[0], command[1:], timeout=seconds, encoding="utf-8", codec_errors="replace")
    try:
        match qemu.expect([_ALIVE, "KVM internal error[^\r\n]*", pexpect.EOF, pexpect.TIMEOUT]):
            case 0:
                return ""
            case 1:
                return str(qemu.after)
            case 2:
                said = [line.strip() for line in (qemu.before or "").splitlines() if line.strip()]
                return said[-1] if said else "QEMU ended without a word"
            case _:
                return f"firmware did not reach its boot manager in {seconds:.0f} s"
    finally:
        qemu.close(force=True)
