"""What the tests of real machines share: a prepared host, a machine with nothing to boot, and ways to watch it die."""

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.deadline import Deadline
from harness.host.scratch import scratch
from harness.host.session import Host, prepare_host
from harness.images import firmware
from harness.machine import disk
from harness.machine.rig import Rig
from harness.machine.spec import Bus, Disk, Firmware, Machine, Tpm
from harness.progress import Progress

BOOT_MANAGER = b"BdsDxe"
SETTLED = (0, 1, 2, 3, 6, 7)
"""PCRs that no longer change once the boot manager speaks; 4 and 5 go on with each attempt to boot."""

BOOT_SECONDS = 240.0  # 2 s on an idle host; others may keep it busy


def named_firmware(name: str) -> Firmware:
    image = firmware(name, Progress())
    return Firmware(image.name, image.code, image.nvram_template, image.secure_boot)


def this_host() -> Host:
    return prepare_host(named_firmware("trixie-plain").code)


@contextmanager
def bare_machine(host: Host, build: str = "trixie-plain", bus: Bus = Bus.NVME) -> Iterator[Machine]:
    """A machine with an empty disk: its firmware comes up, measures, and finds nothing to boot."""
    with scratch(host.user) as folder:
        empty = disk.blank(folder / "disk.qcow2", 1 << 30)
        yield Machine(
            name="bare",
            firmware=named_firmware(build),
            nvram=folder / "nvram.fd",
            disks=(Disk(empty, bus),),
            tpm=Tpm(folder / "tpm"),
            memory_mib=512,
        )


def read_until(rig: Rig, wanted: bytes, seconds: float = BOOT_SECONDS) -> bytes:
    """Read both consoles until `wanted` came on the first."""
    deadline = Deadline.after(seconds)
    poll = select.poll()
    streams = {stream.fileno(): stream for stream in (rig.console, rig.journal)}
    for descriptor in (*streams, *rig.wake_fds):
        poll.register(descriptor, select.POLLIN)
    seen = b""
    while wanted not in seen:
        for descriptor, _ in poll.poll(deadline.remaining * 1000):
            assert descriptor in streams, rig.failure() or "the machine went off"
            data = streams[descriptor].recv(65536)
            assert data, rig.failure() or "the console was closed"
            if descriptor == rig.console.fileno():
                seen += data
        assert not deadline.over, f"no {wanted!r} within {seconds} s: {seen[-500:]!r}"
    return seen


def processes_naming(text: str) -> dict[int, str]:
    """Processes with this in their command line: process id to the name of the program."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
                if text.encode() in words and (entry / "stat").read_text().rpartition(") ")[2][0] != "Z":
                    found[int(entry.name)] = Path(words.split(b"\0")[0].decode()).name
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def wait_gone(pids: Callable[[], dict[int, str]], seconds: float) -> dict[int, str]:
    """Wait until processes have ended, and return those that have not."""
    deadline = Deadline.after(seconds)
    while (left := pids()) and not deadline.over:
        for pid in left:
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            poll.poll(deadline.remaining * 1000)
            os.close(handle)
    return left


def folder_of(rig: Rig) -> Path:
    """The rig's scratch folder, which the names of its sockets tell."""
    with rig.open_ssh_channel() as channel:
        return Path(channel.getpeername()).parent
