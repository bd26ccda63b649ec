"""Where the time of a boot goes, and what the harness adds to it: ``unlock-lab bench``.

In one run, on the same image, sealed machine and host, a machine is booted in two ways in turn: by the harness, from
the call of `Sealed.boot` to its verdict; and by QEMU alone (`machine.bare_qemu`), the same hardware, read until the
boot has ended. The medians and their ratio are printed and go to ``artifacts/bench.json``.
"""

import argparse
import json
import selectors
import socket
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.deadline import Deadline
from harness.defaults import IMAGE, add_artifacts, count
from harness.errors import RigError
from harness.evidence.artifacts import write_named
from harness.guest.boot import BootReader
from harness.guest.events import (
    Event,
    FirmwareStarted,
    InitrdStarted,
    KernelStarted,
    LoginReached,
    PromptShown,
    Stream,
    SystemStarted,
    SystemUp,
    VolumeUnlocked,
)
from harness.host.scratch import scratch
from harness.host.slots import machine_slot
from harness.host.user import chown_to
from harness.lab import laboratory
from harness.lab.install import SealedEntry, copied, sealed_machine
from harness.lab.laboratory import Laboratory
from harness.lab.machines import Machines
from harness.lab.recorder import EvidenceRecorder
from harness.lab.servers import served
from harness.machine.bare_qemu import BareQemu
from harness.machine.domain_xml import Runtime
from harness.machine.hypervisor import VirtualMachine
from harness.machine.tpm import powered_tpm
from harness.network.connection import Client
from harness.network.namespace import guest_network, isolated
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.services.service import endpoints, reached

_BOOT_SECONDS = 600.0
_STAGES = (
    ("firmware", (FirmwareStarted,)),
    ("kernel", (KernelStarted,)),
    ("initrd", (InitrdStarted,)),
    ("system", (SystemStarted,)),
    ("prompt", (PromptShown,)),
    ("unlock", (VolumeUnlocked,)),
    ("end", (SystemUp, LoginReached)),
)
"""What ends each stage of a boot, in order."""


def main(argv: Sequence[str]) -> int:
    """Run the bench; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="unlock-lab bench",
        description="Boot one machine by the harness and by QEMU alone, in turn, and print what each stage takes.",
    )
    parser.add_argument("--policy", default="tpm2-and-tang", help="a policy of scenarios/policies (%(default)s)")
    parser.add_argument("--image", default=IMAGE, help="a folder of images/ (%(default)s)")
    parser.add_argument("--runs", type=count, default=3, metavar="N", help="boots of each kind (%(default)s)")
    add_artifacts(parser)
    arguments = parser.parse_args(argv)
    policy = read_policy(POLICIES / f"{arguments.policy}.bu")
    with laboratory.prepared(laboratory.Options()) as lab:
        entry = sealed_machine(lab, arguments.image, policy, arguments.artifacts)
        result = measure(lab, entry, arguments.runs, arguments.artifacts)
    show(result)
    write_named(arguments.artifacts / "bench.json", json.dumps(result, indent=2) + "\n")
    return 0


def measure(lab: Laboratory, entry: SealedEntry, runs: int, artifacts: Path) -> dict[str, object]:
    """Boot `runs` times in each way, in turns, and return medians in seconds."""
    bare, harness, copies, fallbacks = [], [], [], []
    for number in range(1, runs + 1):
        with lab.progress.step(f"harness, boot {number} of {runs}"):
            recorder = EvidenceRecorder.open(artifacts, f"bench::boot-{number}", "A boot of the bench")
            with Machines(lab, recorder) as machines:
                sealed = machines.copy(entry)
                started = time.monotonic()
                outcome = sealed.boot()
                harness.append({"prompt": outcome.seconds.prompt, "end": outcome.seconds.end})
                harness[-1]["verdict"] = time.monotonic() - started
        with lab.progress.step(f"bare QEMU, boot {number} of {runs}"):
            bare.append(bare_boot(lab, entry))
        with scratch(lab.host.user) as folder:
            started = time.monotonic()
            copied(entry, folder)
            copies.append(time.monotonic() - started)
    with lab.progress.step("harness, a boot that falls back to the passphrase"):
        recorder = EvidenceRecorder.open(artifacts, "bench::fallback", "A fallback of the bench")
        with Machines(lab, recorder) as machines:
            sealed = machines.copy(entry)
            for server in sealed.context.asked.values():
                server.stop()
            started = time.monotonic()
            sealed.boot()
            fallbacks.append(time.monotonic() - started)
    bare_medians = {name: _median([boot.get(name) for boot in bare]) for name, _ in _STAGES}
    harness_medians = {name: _median([boot.get(name) for boot in harness]) for name in ("prompt", "end", "verdict")}
    return {
        "policy": entry.policy.name,
        "image": entry.image.name,
        "accel": lab.host.accel.name,
        "qemu": ".".join(map(str, lab.host.emulator_version)),
        "uki_mib": round(entry.image.uki.stat().st_size / 2**20, 1),
        "runs": runs,
        "bare": bare_medians,
        "harness": harness_medians,
        "ratio": _ratio(harness_medians["verdict"], bare_medians["end"]),
        "fallback_verdict": _median(fallbacks),
        "install": entry.install_seconds,
        "copy": _median(copies),
    }


def bare_boot(lab: Laboratory, entry: SealedEntry) -> dict[str, float]:
    """Boot a copy under QEMU alone and return when each stage ended, in seconds from QEMU's start."""
    with ExitStack() as stack:
        stack.enter_context(machine_slot("bare QEMU", lab.progress))
        folder = stack.enter_context(scratch(lab.host.user))
        servers = stack.enter_context(served(lab, entry.policy, entry.held)).values()
        sockets = folder / "q"
        sockets.mkdir(mode=0o700)
        network = stack.enter_context(guest_network(sockets, endpoints(servers), lab.host.user))
        machine = copied(entry, folder)
        for path in (sockets, machine.nvram, machine.disks[0].path, folder / "tpm"):
            chown_to(path, lab.host.user)
        emulator = isolated(lab.host.emulator, lab.host.emulator_version)
        accel, version = lab.host.accel.name, lab.host.emulator_version
        runtime = Runtime("bare", sockets, accel, emulator, version, network.environment)
        assert machine.tpm is not None
        stack.enter_context(powered_tpm(machine.tpm, runtime.tpm_socket, runtime.tpm_log, user=lab.host.user))
        started = time.monotonic()
        qemu = stack.enter_context(BareQemu(lab.host).created(machine, runtime, folder))
        stack.enter_context(reached(servers, network.sockets(), Client("bare", "bare"), machine.site))
        return _read_stages(qemu, runtime, started)


def _read_stages(qemu: VirtualMachine, runtime: Runtime, started: float) -> dict[str, float]:
    deadline = Deadline.after(_BOOT_SECONDS)
    reader, found = BootReader(), dict[str, float]()
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for path, stream in ((runtime.console_socket, Stream.CONSOLE), (runtime.journal_socket, Stream.JOURNAL)):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(path))
            selector.register(connection, selectors.EVENT_READ, stream)
        qemu.resume()
        while "end" not in found:
            ready = selector.select(deadline.remaining)
            if deadline.over or not ready:
                raise RigError(f"bare QEMU did not finish its boot within {deadline.seconds:.0f} s", str(found))
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65536)
                if not data:
                    raise RigError("bare QEMU ended in mid-boot", str(found))
                _note(reader.feed(key.data, data, time.monotonic() - started), found)
    return found


def _note(events: Sequence[Event], found: dict[str, float]) -> None:
    for event in events:
        for name, kinds in _STAGES:
            if isinstance(event, kinds):
                found.setdefault(name, event.at)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 2) if known else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return round(above / below, 3) if above and below else None


def show(result: dict[str, object]) -> None:
    """Print a result as tables."""
    bare, harness = result["bare"], result["harness"]
    assert isinstance(bare, dict)
    assert isinstance(harness, dict)
    title = "{policy} on {image}, {accel}, QEMU {qemu}, UKI of {uki_mib} MiB, median of {runs}".format(**result)
    table = Table("stage", "ends at", "took", title=title)
    before = 0.0
    for name, _ in _STAGES:
        at = bare[name]
        if at is not None:
            table.add_row(name, f"{at:.1f} s", f"{at - before:.1f} s")
            before = at
    console = Console()
    console.print(table)
    console.print(f"to the prompt: bare {bare['prompt']} s, harness {harness['prompt']} s")
    console.print(f"to the end: bare {bare['end']} s; harness to the verdict {harness['verdict']} s")
    console.print(f"[bold]ratio {result['ratio']}[/bold] (harness from boot() to the verdict ÷ bare QEMU to the end)")
    console.print(f"fallback to the verdict {result['fallback_verdict']} s")
    console.print(f"installation {result['install']} s, copy of a sealed machine {result['copy']} s")
