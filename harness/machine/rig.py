"""The emulated hardware around one boot: made at power-on, gone at the end of the block, its traces kept."""

import json
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from harness import untrusted
from harness.deadline import Clock, Deadline
from harness.errors import RigError
from harness.files import numbered_folder
from harness.host.scratch import scratch
from harness.host.session import Host
from harness.host.slots import machine_slot
from harness.host.user import chown_to
from harness.machine import storage
from harness.machine.clock import MachineClock, waited_for_processor
from harness.machine.ctap2_log import CtapExchange
from harness.machine.domain_xml import Runtime
from harness.machine.hypervisor import Hypervisor, Power, VirtualMachine
from harness.machine.libvirt_hypervisor import Libvirt
from harness.machine.placement import put_in_place, require_files
from harness.machine.pump import pumped
from harness.machine.security_key import PluggedKey, plugged
from harness.machine.spec import Disk, Machine, SecurityKey, Tpm
from harness.machine.tpm import Swtpm, powered_tpm
from harness.machine.tpm_decode import summarize
from harness.machine.tpm_log import TpmExchange, replay_pcrs
from harness.machine.tpm_proxy import Proxy, intercepted
from harness.network.connection import Client
from harness.network.namespace import guest_network, isolated
from harness.services.service import Service, endpoints, reached
from harness.temporary import KEEP

_QEMUS = "q"
"""The folder of sockets and logs, which belongs to the user who runs QEMU; its name is short for their sake."""

_CONNECT_SECONDS = 5.0
_NOTICE_SECONDS = 5.0

_Failure = Callable[[], str | None]
"""Tells what is wrong with a part of the rig, if anything is."""


@dataclass(frozen=True)
class Rig:
    """A machine that is on.

    `console` and `journal` must be read: output that is not taken blocks the guest.

    Attributes:
        machine: As it was powered on.
        clock: Seconds since its CPUs started, in its own time.
        console: Connected to the guest's ttyS0, both ways, from before the first byte.
        journal: Connected to the guest's hvc0, likewise.
        client: How its services know it.
        services: What its guest can reach.
        wake_fds: File descriptors that poll(2) finds readable when something happened that `failure` can tell about.
    """

    machine: Machine
    clock: Clock
    console: socket.socket
    journal: socket.socket
    client: Client
    services: tuple[Service, ...]
    wake_fds: tuple[int, ...]
    _host: Host
    _runtime: Runtime
    _hypervisor: Hypervisor
    _virtual: VirtualMachine
    _swtpm: Swtpm | None
    _written: tuple[Path, ...]
    _key: PluggedKey | None = None
    _parts: tuple[_Failure, ...] = ()

    def open_ssh_channel(self) -> socket.socket:
        """A connection to the guest's virtio-serial channel. It takes one at a time, one after the other.

        Raises:
            RigError: QEMU does not answer.
        """
        return _connect(self._runtime.ssh_socket)

    def set_link(self, up: bool) -> None:
        """Plug the network cable in or pull it."""
        self._virtual.set_link(up)

    def move_to(self, site: str) -> None:
        """Take it to another network while it is on: to another place, as its services see it."""
        for service in self.services:
            service.proxy.move(self.client, site)

    def plug(self, disk: Disk) -> None:
        """Put one more disk in while the machine is on; it will be a virtio disk. There is a slot for one."""
        chown_to(disk.path, self._host.user)
        self._virtual.plug(disk)

    def press_power(self) -> None:
        """Press the power button; see `wait_off`."""
        self._virtual.press_power()

    def wait_off(self, deadline: Deadline) -> bool:
        """Wait until the machine is off, and say whether it is."""
        return self._virtual.wait_off(deadline)

    def reset(self) -> None:
        """Press the reset button: the TPM starts anew, memory stays."""
        self._virtual.reset()

    def state(self) -> Power:
        """What the machine is doing."""
        return self._virtual.power()[0]

    def dump_memory(self) -> Path:
        """What the memory of the machine holds now, as an ELF core, in a file that goes with the machine."""
        folder = numbered_folder(self._folder, "memory")
        chown_to(folder, self._host.user)
        self._virtual.dump_memory(folder / "core")
        return folder / "core"

    def failure(self) -> str | None:
        """What is wrong with the rig, or None when nothing is; that the guest turned itself off is no failure.

        Nor is what a scenario did to a server; that a server, a proxy or a recorder of this host broke by itself is.
        """
        asked = (*self._parts, *(service.failure for service in self.services))
        if broken := next(filter(None, (failure() for failure in asked)), None):
            return broken
        off = self._virtual.ending is not None
        if lost := storage.lost(self._written, 0 if off else self._virtual.disk_errors()):
            return lost
        status = self._swtpm.exit_status() if self._swtpm else None
        if status == 0:
            # It goes when QEMU goes, and libvirt takes a moment longer to notice that.
            self._virtual.wait_off(Deadline.after(_NOTICE_SECONDS))
        if ending := self._virtual.ending:
            return None if ending.orderly else f"QEMU: {ending.reason}\n{self._hypervisor.log_tail(self._runtime)}"
        power, reason = self._virtual.power()
        if power is Power.PAUSED:
            return f"the machine stopped: {reason}\n{self._hypervisor.log_tail(self._runtime)}"
        if status is not None and power is Power.RUNNING:
            return f"swtpm ended with status {status} while the machine was on"
        return None

    def tpm_exchanges(self) -> tuple[TpmExchange, ...]:
        """What the TPM was asked and what it answered so far; nothing without a TPM."""
        return self._swtpm.exchanges() if self._swtpm else ()

    def security_key_exchanges(self) -> tuple[CtapExchange, ...]:
        """What the security key was asked and what it answered so far; nothing without one."""
        return self._key.exchanges if self._key else ()

    def require_working(self) -> None:
        """See that what the guest says is said of a machine that works, and whose disks and TPM kept what it wrote.

        Raises:
            RigError: It does not.
        """
        if failure := self.failure():
            raise RigError(failure, hint="this says nothing about the guest")

    @property
    def attach_hints(self) -> str:
        """How a person looks at the machine, and gets rid of one that was kept."""
        return (
            f"console:  socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:{self._runtime.console_socket}   (Ctrl-] leaves)\n"
            f"{self._hypervisor.attach_hints(self._runtime)}; rm -r {self._folder}"
        )

    @property
    def _folder(self) -> Path:
        """The folder around that of sockets and logs, which the user who runs QEMU cannot write to."""
        return self._runtime.folder.parent


@contextmanager
def power_on(
    machine: Machine,
    host: Host,
    evidence: Path,
    services: Iterable[Service] = (),
    *,
    hypervisor: Hypervisor | None = None,
    keep: bool = False,
) -> Iterator[Rig]:
    """Turn a machine on as soon as this host has a slot for it (`machine_slot`), and off at the end of the block.

    What it names and what is not there yet is made: a TPM, an NVRAM file. Files that it writes to are handed over to
    the user that runs it, who must be able to reach them: keep them in a `scratch` folder or the cache.

    Args:
        machine: What to turn on.
        host: Where.
        evidence: The folder for domain.xml, qemu.log, qemu-command.txt, console.log, journal.log, swtpm.log,
            pcrs.json, tpm-bus.txt if the TPM's bus is intercepted, and security-key.log if one is plugged in.
        services: What its guest can reach; there is nothing else on its network.
        hypervisor: What runs it; libvirt by default.
        keep: Leave the machine on if it still is at the end of the block, and when this process dies;
            `Rig.attach_hints` says how to get rid of it. An interceptor on its TPM's bus ends, which cuts the bus.

    Raises:
        UsageError: A file that the machine names is missing, or two services are at the same place.
        HostError: A tool or the hypervisor is missing, no slot came free, or a disk has no room (`machine.storage`).
        RigError: It could not be turned on.
    """
    hypervisor = hypervisor or Libvirt(host)
    require_files(machine)
    reachable = tuple(services)
    places = endpoints(reachable)
    evidence.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(machine_slot(machine.name, host.progress))
        folder = stack.enter_context(scratch(host.user))
        (folder / _QEMUS).mkdir(mode=0o700)
        network = stack.enter_context(guest_network(folder / _QEMUS, places, host.user))
        runtime = Runtime(
            name=f"lab-{uuid.uuid4().hex[:12]}",
            folder=folder / _QEMUS,
            accel=host.accel.name,
            emulator=isolated(host.emulator, host.emulator_version),
            emulator_version=host.emulator_version,
            environment=network.environment,
        )
        needs = storage.needs(machine, folder)
        storage.require_room(needs)
        placed = put_in_place(machine, folder, host.user)
        chown_to(runtime.folder, host.user)
        stack.callback(_keep_logs, evidence, runtime)
        tpm_on = _tpm_on(placed.tpm, host, runtime, evidence, keep) if placed.tpm else nullcontext((None, ()))
        swtpm, of_tpm = stack.enter_context(tpm_on)
        answering = stack.enter_context(ExitStack())  # until the machine is off, and not a moment less
        virtual = stack.enter_context(hypervisor.created(placed, runtime, evidence, outlive=keep))
        client = Client(machine.name, runtime.name)
        answering.enter_context(reached(reachable, network.sockets(), client, machine.site))
        console = stack.enter_context(pumped(stack.enter_context(_connect(runtime.console_socket))))
        log = stack.enter_context(untrusted.opened(runtime.journal_log))
        journal = stack.enter_context(pumped(stack.enter_context(_connect(runtime.journal_socket)), log))
        key = stack.enter_context(_plugged_in(placed.security_key, runtime, evidence)) if placed.security_key else None
        wake_fds = (virtual.wake_fd, swtpm.wake_fd) if swtpm else (virtual.wake_fd,)
        virtual.resume()
        pids = [pid for pid in (virtual.pid, swtpm.pid if swtpm else None) if pid]
        clock = MachineClock(lambda: waited_for_processor(pids))
        try:
            yield Rig(
                placed,
                clock,
                console.end,
                journal.end,
                client,
                reachable,
                wake_fds,
                host,
                runtime,
                hypervisor,
                virtual,
                swtpm,
                tuple(needs),
                key,
                (*of_tpm, console.failure, journal.failure, *([key.failure] if key else [])),
            )
        finally:
            if keep and virtual.ending is None:
                virtual.released = True
                (folder / KEEP).write_text(runtime.name)
                if swtpm:
                    swtpm.released = True


@contextmanager
def _tpm_on(
    tpm: Tpm, host: Host, runtime: Runtime, evidence: Path, outlive: bool
) -> Iterator[tuple[Swtpm, tuple[_Failure, ...]]]:
    """A machine's TPM, behind its interceptor if it has one, for one power cycle; what was said is kept.

    With it comes what tells whether they broke.
    """
    control = runtime.folder / "swtpm.sock" if tpm.interceptor else runtime.tpm_socket
    with ExitStack() as stack:
        swtpm = stack.enter_context(powered_tpm(tpm, control, runtime.tpm_log, user=host.user, outlive=outlive))
        stack.callback(_write_exchanges, evidence, swtpm, tpm.pcr_bank)
        if tpm.interceptor:
            proxy = stack.enter_context(intercepted(tpm.interceptor, runtime.tpm_socket, control, user=host.user))
            stack.callback(_write_traffic, evidence, proxy)
            yield swtpm, (proxy.failure, swtpm.failure)
        else:
            yield swtpm, (swtpm.failure,)


@contextmanager
def _plugged_in(key: SecurityKey, runtime: Runtime, evidence: Path) -> Iterator[PluggedKey]:
    """A machine's security key, while the machine is on; what was said is kept."""
    with _connect(runtime.security_key_socket) as connection, plugged(key.state, connection) as plugged_key:
        try:
            yield plugged_key
        finally:
            _write_key_exchanges(evidence, plugged_key)


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_CONNECT_SECONDS)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise RigError(f"QEMU did not answer on {path.name} within {_CONNECT_SECONDS:.0f} s", str(error)) from error
    connection.settimeout(None)
    return connection


def _keep_logs(evidence: Path, runtime: Runtime) -> None:
    for log in (runtime.console_log, runtime.journal_log):
        with suppress(FileNotFoundError):
            untrusted.copy(log, evidence / log.name)


def _write_exchanges(evidence: Path, swtpm: Swtpm, bank: str) -> None:
    exchanges = swtpm.exchanges()
    (evidence / "swtpm.log").write_text("".join(f"{exchange}\n" for exchange in exchanges))
    (evidence / "pcrs.json").write_text(json.dumps(replay_pcrs(exchanges, bank), indent=1, sort_keys=True) + "\n")


def _write_key_exchanges(evidence: Path, key: PluggedKey) -> None:
    (evidence / "security-key.log").write_text("".join(f"{exchange}\n" for exchange in key.exchanges))


def _write_traffic(evidence: Path, proxy: Proxy) -> None:
    (evidence / "tpm-bus.txt").write_text(summarize(proxy.exchanges))
