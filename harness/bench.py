"""Where the time of a boot goes, and what the harness adds to it: ``unlock-lab bench``.

In one run, on the same image, sealed machine and host, a machine is booted in two ways in turn: by the harness, from
the call of `Sealed.boot` to its verdict; and by bare QEMU with the command line of that boot, less what only libvirt
needs, read until the boot has ended. The medians and their ratio are printed and go to ``artifacts/bench.json``.
"""

import argparse
import json
import os
import selectors
import shlex
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from harness.deadline import Deadline
from harness.errors import RigError
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
from harness.host.user import as_user, chown_to
from harness.images.recipe import DEFAULT_IMAGE
from harness.lab import laboratory
from harness.lab.install import SealedEntry, copied, sealed_machine, served
from harness.lab.laboratory import Laboratory
from harness.lab.machines import Machines
from harness.lab.recorder import EvidenceRecorder
from harness.machine.domain_xml import Runtime
from harness.machine.spec import Machine
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

_SOCKETS = {
    "charserial0": "console_socket",
    "charconsole1": "journal_socket",
    "charchannel0": "ssh_socket",
}
"""libvirt's names of the character devices, and where `Runtime` puts their sockets."""

_LIBVIRT_ONLY = ("-mon", "-add-fd")


def main(argv: Sequence[str]) -> int:
    """Run the bench; returns the exit status."""
    parser = argparse.ArgumentParser(prog="unlock-lab bench", description=__doc__)
    parser.add_argument("--policy", default="tpm2-and-tang", help="a policy of scenarios/policies (%(default)s)")
    parser.add_argument("--image", default=DEFAULT_IMAGE, help="a folder of images/ (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="boots of each kind (%(default)s)")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="where bench.json goes (%(default)s)")
    arguments = parser.parse_args(argv)
    options = laboratory.Options("auto", None, console=False, keep=False, run_id=uuid.uuid4().hex, terminal=sys.stderr)
    policy = read_policy(POLICIES / f"{arguments.policy}.bu")
    with laboratory.prepared(options) as lab:
        entry = sealed_machine(lab, arguments.image, policy, arguments.artifacts)
        result = measure(lab, entry, arguments.runs, arguments.artifacts)
    show(result)
    (arguments.artifacts / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
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
            assert outcome.evidence
            said = (outcome.evidence / "qemu-command.txt").read_text()
        with lab.progress.step(f"bare QEMU, boot {number} of {runs}"):
            bare.append(bare_boot(lab, entry, said, sealed.machine))
        with scratch(lab.host.user) as folder:
            started = time.monotonic()
            copied(entry, folder)
            copies.append(time.monotonic() - started)
    with lab.progress.step("harness, a boot that falls back to the passphrase"):
        recorder = EvidenceRecorder.open(artifacts, "bench::fallback", "A fallback of the bench")
        with Machines(lab, recorder) as machines:
            sealed = machines.copy(entry)
            for tang in sealed.tangs.values():
                tang.stop()
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


def bare_boot(lab: Laboratory, entry: SealedEntry, said: str, model: Machine) -> dict[str, float]:
    """Boot a copy under QEMU alone and return when each stage ended, in seconds from QEMU's start.

    Args:
        lab: Where.
        entry: What to copy.
        said: QEMU's command line of a boot by the harness, as libvirt logged it.
        model: The machine of that boot.
    """
    keys = {server: entry.keys(server) for server in entry.ports}
    with ExitStack() as stack:
        folder = stack.enter_context(scratch(lab.host.user))
        tangs = stack.enter_context(served(lab, entry.ports, keys)).values()
        network = stack.enter_context(guest_network(folder, endpoints(tangs), lab.host.user))
        machine = copied(entry, folder)
        chown_to(folder, lab.host.user)
        emulator = isolated(lab.host.emulator, lab.host.emulator_version)
        runtime = Runtime("bare", folder, lab.host.accel.name, emulator, lab.host.emulator_version)
        assert machine.tpm is not None
        stack.enter_context(powered_tpm(machine.tpm, runtime.tpm_socket, runtime.tpm_log, user=lab.host.user))
        files = {str(model.nvram): str(machine.nvram), str(model.disks[0].path): str(machine.disks[0].path)}
        command = bare_command(said, files, runtime)
        started = time.monotonic()
        qemu = stack.enter_context(
            subprocess.Popen(
                [*as_user(lab.host.user, "--pdeathsig=KILL"), *command],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, **network.environment},
            )
        )
        stack.callback(qemu.kill)
        stack.enter_context(reached(tangs, network.sockets(), Client("bare", "bare"), machine.site))
        return _read_stages(qemu, runtime, started)


def bare_command(said: str, files: Mapping[str, str], runtime: Runtime) -> list[str]:
    """QEMU's arguments as libvirt logged them, for a machine that nobody but us looks after.

    Args:
        said: Environment and arguments, in shell words.
        files: Which file takes the place of which.
        runtime: Where the sockets go.
    """
    words = shlex.split(said.replace("\\\n", " "))
    start = words.index(str(runtime.emulator))
    command, rest = [words[start]], iter(words[start + 1 :])
    for word in rest:
        if word == "-S":
            continue
        if not word.startswith("-"):
            command.append(word)
            continue
        value = next(rest, "") if word in (*_LIBVIRT_ONLY, "-object", "-chardev") else None
        if word in _LIBVIRT_ONLY or (value and ('"masterKey0"' in value or "id=charmonitor" in value)):
            continue
        command += [word] if value is None else [word, _own_socket(value, runtime)]
    return [_replaced(word, files) for word in command]


def _own_socket(value: str, runtime: Runtime) -> str:
    for name, attribute in _SOCKETS.items():
        if f"id={name}," in value:
            return f"socket,id={name},path={getattr(runtime, attribute)},server=on,wait=off"
    if "id=chrtpm," in value:
        return f"socket,id=chrtpm,path={runtime.tpm_socket}"
    return value


def _replaced(word: str, files: Mapping[str, str]) -> str:
    for old, new in files.items():
        word = word.replace(old, new)
    return word


def _read_stages(qemu: subprocess.Popen[bytes], runtime: Runtime, started: float) -> dict[str, float]:
    deadline = Deadline.after(_BOOT_SECONDS)
    reader, found = BootReader(), dict[str, float]()
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for path, stream in ((runtime.console_socket, Stream.CONSOLE), (runtime.journal_socket, Stream.JOURNAL)):
            selector.register(stack.enter_context(_connected(path)), selectors.EVENT_READ, stream)
        while "end" not in found:
            ready = selector.select(deadline.remaining)
            if not ready:
                raise RigError(f"bare QEMU did not finish its boot within {deadline.seconds:.0f} s", str(found))
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65536)
                if not data:
                    said = qemu.communicate()[1].decode(errors="replace")
                    raise RigError("bare QEMU ended in mid-boot", said[-2000:])
                _note(reader.feed(key.data, data, time.monotonic() - started), found)
    return found


def _note(events: Sequence[Event], found: dict[str, float]) -> None:
    for event in events:
        for name, kinds in _STAGES:
            if isinstance(event, kinds):
                found.setdefault(name, event.at)


def _connected(path: Path) -> socket.socket:
    for attempt in Retrying(
        retry=retry_if_exception_type(OSError), stop=stop_after_delay(10), wait=wait_fixed(0.02), reraise=True
    ):
        with attempt:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(path))
            except OSError:
                connection.close()
                raise
    return connection


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
