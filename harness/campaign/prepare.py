"""``unlock-lab prepare``: make what the first boots need, all at once, and measure this host.

The guest image, Tang's image, the firmware and libvirt's first look at QEMU need nothing of each other, and each waits
much for the network or the disk: side by side they take little longer than the guest image alone. What the cache holds
already takes no time. Then the firmware is booted once, so that a campaign can say how long it will take
(`campaign.durations`) before this host has measured anything else.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from harness import process
from harness.campaign import durations
from harness.campaign.durations import Durations
from harness.defaults import ACCELERATORS, IMAGE
from harness.errors import HostError
from harness.host.accel import PROBE_FIRMWARE, Accel, firmware_seconds
from harness.host.docker import docker_client
from harness.host.scratch import scratch_root
from harness.host.slots import slot_count
from harness.images import firmware, guest_image
from harness.lab import laboratory
from harness.progress import Progress
from harness.services.tang_image import tang_image

_VIRSH_SECONDS = 120.0


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="unlock-lab prepare", description="Make what the first boots need.")
    parser.add_argument("images", nargs="*", metavar="IMAGE", default=[IMAGE], help=f"guest images ({IMAGE})")
    parser.add_argument(
        "--accel", default="auto", choices=ACCELERATORS, help="fail unless machines run so (%(default)s)"
    )
    arguments = parser.parse_args(argv)
    progress = Progress(several=True)
    found: list[Accel] = []
    check_first()
    took = side_by_side(
        {
            **{f"guest image {name}": partial(guest_image, name, progress) for name in arguments.images},
            "Tang's image": partial(_tang, progress),
            "firmware, libvirt": lambda: found.append(_host(progress)),
        }
    )
    whole, one_by_one = max(took.values()), sum(took.values())
    if one_by_one - whole > 1:
        each = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in took.items())
        progress.say(f"prepared in {whole:.0f} s, and not in {one_by_one:.0f} s, what the first boots need: {each}")
    (accel,) = found
    print(f"{accel.name}: {accel.reason}")
    require(arguments.accel, accel)
    return 0


def check_first() -> None:
    """See that nothing stands in the way that can be told before minutes are spent.

    Raises:
        HostError: No Docker daemon answers, or the folder for running machines cannot be written to.
        UsageError: ``UNLOCK_LAB_MACHINES`` is wrong, or that folder is not ours.
    """
    slot_count()
    scratch_root()
    with docker_client():
        pass


def require(wanted: str, found: Accel) -> None:
    """Hold this host to an accelerator.

    Raises:
        HostError: Machines run under another one here.
    """
    if wanted not in ("auto", found.name):
        raise HostError(f"machines were to run under {wanted}, and here they run under {found.name}", found.reason)


def side_by_side(jobs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Do all of it at once, and return the seconds of each; the first that fails is raised when all have ended."""

    def timed(job: Callable[[], object]) -> float:
        started = time.monotonic()
        job()
        return time.monotonic() - started

    with ThreadPoolExecutor(max_workers=max(1, len(jobs))) as pool:
        running = {name: pool.submit(timed, job) for name, job in jobs.items()}
        return {name: future.result() for name, future in running.items()}


def _tang(progress: Progress) -> None:
    with docker_client() as client:
        tang_image(client, progress)


def _host(progress: Progress) -> Accel:
    """Firmware, libvirt's daemon and what it wants to know of QEMU, and the probe."""
    with laboratory.prepared(laboratory.Options()) as lab:
        host = lab.host
        if host.session:
            host.session.wake()
        process.run(["virsh", "-q", "-c", host.libvirt_uri, "domcapabilities"], timeout=_VIRSH_SECONDS)
        if durations.of_this_host().probe is None:
            probe = firmware(PROBE_FIRMWARE, progress).code
            durations.remember(Durations(firmware_seconds(host.accel.name, host.emulator, probe, host.user)))
    return host.accel
