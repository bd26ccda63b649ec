"""The rig itself: real firmware on real emulated hardware, and what is left when it, or the harness, dies."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from machines import (
    BOOT_MANAGER,
    SETTLED,
    bare_machine,
    folder_of,
    processes_naming,
    read_until,
    this_host,
    wait_gone,
)

from harness.deadline import Deadline
from harness.errors import HostError, RigError, UsageError
from harness.host.scratch import remove_orphaned, scratch
from harness.host.session import Host
from harness.host.user import chown_to
from harness.housekeeping import turn_off
from harness.lab.laboratory import HYPERVISORS
from harness.machine import libvirt
from harness.machine.disk import blank
from harness.machine.domain_xml import Runtime, domain_xml
from harness.machine.hypervisor import Hypervisor, Power
from harness.machine.libvirt import created_domain
from harness.machine.libvirt_hypervisor import Libvirt, command_line
from harness.machine.rig import Rig, power_on
from harness.machine.spec import Bus, Disk, Machine
from harness.machine.tpm_log import replay_pcrs
from harness.network.connection import Mode
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint
from harness.paths import run_dir
from harness.temporary import KEEP, temporary_folder

GONE_SECONDS = 20.0


@pytest.fixture(scope="module")
def host() -> Host:
    return this_host()


@pytest.fixture(params=HYPERVISORS)
def hypervisor(host: Host, request: pytest.FixtureRequest) -> Hypervisor:
    """What holds for a machine holds under each hypervisor."""
    return HYPERVISORS[request.param](host)


@pytest.fixture
def machine(host: Host) -> Iterator[Machine]:
    with bare_machine(host) as bare:
        yield bare


# Without a machine


def test_the_command_line_is_cut_out_of_libvirts_log() -> None:
    order = """UNLOCK_LAB_NETWORK='{"listen": []}' \\\n"""
    log = f"2026-11-22 03:03:37: starting up\nLC_ALL=C \\\nPATH=/bin \\\n{order}/usr/bin/qemu \\\n-S\nqemu: it broke\n"
    assert command_line(log) == "LC_ALL=C \\\nPATH=/bin \\\n/usr/bin/qemu \\\n-S\n"
    assert command_line("nothing of the kind\n") == ""


def test_a_late_call_of_libvirt_is_an_error_of_the_rig() -> None:
    never = threading.Event()
    with pytest.raises(RigError, match="libvirt did not sleep within 0 s"):
        libvirt._bounded("sleep", never.wait, seconds=0.1)
    never.set()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run folder of this test's own, with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as folder:
        monkeypatch.setenv("UNLOCK_LAB_RUN", folder)
        yield Path(folder)


def test_a_run_folder_too_long_for_sockets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_RUN", str(tmp_path / ("x" * 50)))
    with pytest.raises(HostError, match="too long for sockets"):
        remove_orphaned()


def test_a_build_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    (tmp_path / "unlock-lab-tmp-4242").mkdir(mode=0o700)
    with pytest.raises(UsageError, match="is not ours"), temporary_folder():
        pass
    assert (tmp_path / "unlock-lab-tmp-4242").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("short")
def test_scratch_folders_go_and_kept_ones_stay() -> None:
    with scratch(None) as gone, scratch(None) as kept:
        (gone / "file").touch()
        (kept / KEEP).touch()
        remove_orphaned()
        assert (gone / "file").exists()
    assert not gone.exists()
    assert kept.exists()
    remove_orphaned()
    assert kept.exists()


def test_what_a_power_cut_left_is_swept(short: Path) -> None:
    remove_orphaned()
    orphan = short / "m" / "orphan"
    orphan.mkdir()
    (orphan / "disk").touch()
    remove_orphaned()
    assert not orphan.exists()


@pytest.mark.usefixtures("short")
def test_a_scratch_folder_goes_when_its_owner_is_killed() -> None:
    script = """
import sys
from harness.host.scratch import scratch
with scratch(None) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        folder = Path(child.stdout.readline().strip())
        assert folder.is_dir()
        patience = Deadline.after(10)
        while not (reaper := processes_naming(str(folder))):
            assert not patience.over, "no reaper"  # it has no command line until exec(2) is through
        assert len(reaper) == 1
        child.kill()
    assert wait_gone(lambda: processes_naming(str(folder)), 10.0) == {}
    assert not folder.exists()


def part(failure: str | None) -> Any:
    return SimpleNamespace(failure=lambda: failure)


@pytest.mark.parametrize("broken", ["the console pump broke", "tang has ended by itself", None])
def test_what_breaks_around_a_machine_is_the_rigs_fault(broken: str | None) -> None:
    """Its consoles, its tokens, its TPM's bus, and the servers that its guest was to reach."""
    here: Any = None
    virtual: Any = SimpleNamespace(ending=None, disk_errors=lambda: 0, power=lambda: (Power.RUNNING, ""))
    services, parts = (part(None), part(broken)), (part(None).failure, part(broken).failure)
    for reached, around in (((), parts), (services, ())):
        around_it = (here, here, here, virtual, None, (), None, around)
        rig = Rig(here, here, here, here, here, reached, (), *around_it)
        assert rig.failure() == broken
        with pytest.raises(RigError, match=broken) if broken else nullcontext():
            rig.require_working()


# With one


@pytest.mark.real
@pytest.mark.parametrize("bus", list(Bus))
def test_firmware_comes_up_measures_and_leaves_evidence(
    host: Host, hypervisor: Hypervisor, tmp_path: Path, bus: Bus
) -> None:
    with bare_machine(host, bus=bus) as machine, power_on(machine, host, tmp_path, hypervisor=hypervisor) as rig:
        assert rig.state() is Power.RUNNING
        seen = read_until(rig, BOOT_MANAGER)
        assert rig.failure() is None
        pcrs = replay_pcrs(rig.tpm_exchanges())
        assert set(pcrs) >= {0, 7}
        folder = folder_of(rig)
    assert not folder.exists()
    assert wait_gone(lambda: processes_naming(str(folder)), GONE_SECONDS) == {}
    assert (tmp_path / "console.log").read_bytes().startswith(seen[:20])
    assert "PCR_Extend 7 " in (tmp_path / "swtpm.log").read_text()
    assert json.loads((tmp_path / "pcrs.json").read_text())["7"] == pcrs[7]
    if isinstance(hypervisor, Libvirt):
        assert "<domain" in (tmp_path / "domain.xml").read_text()
        assert "starting up libvirt" in (tmp_path / "qemu.log").read_text()
    assert host.emulator.name in (tmp_path / "qemu-command.txt").read_text()
    assert (tmp_path / "qemu.log").exists()
    assert (tmp_path / "journal.log").exists()


@pytest.mark.real
def test_a_machine_is_in_a_network_of_its_own(
    host: Host, hypervisor: Hypervisor, machine: Machine, tmp_path: Path
) -> None:
    with FaultProxy("service") as proxy:
        service: Any = SimpleNamespace(name="service", endpoint=Endpoint(80), proxy=proxy, failure=proxy.failure)
        proxy.mode = Mode.STALL
        with power_on(machine, host, tmp_path / "one", [service], hypervisor=hypervisor) as rig:
            [qemu] = [pid for pid, name in processes_naming(str(folder_of(rig))).items() if "qemu" in name]
            network = Path(f"/proc/{qemu}/net")
            assert network.with_name("ns").joinpath("net").readlink() != Path("/proc/self/ns/net").readlink()
            assert [line.split(":")[0].strip() for line in (network / "dev").read_text().splitlines()[2:]] == ["lo"]
            assert (network / "route").read_text().splitlines()[1:] == []
            sockets = [line.split() for line in (network / "tcp").read_text().splitlines()[1:]]
            assert [(words[1], words[3]) for words in sockets] == [("0100007F:0050", "0A")]  # 127.0.0.1:80, TCP_LISTEN
            assert (network / "tcp6").read_text().splitlines()[1:] == []
            with pytest.raises(UsageError, match="cannot both be at"):
                power_on(machine, host, tmp_path / "two", [service, service]).__enter__()
    assert wait_gone(lambda: {qemu: "QEMU"} if Path(f"/proc/{qemu}").exists() else {}, GONE_SECONDS) == {}


@pytest.mark.real
def test_the_firmware_measures_the_same_hardware_under_each_hypervisor(
    host: Host, machine: Machine, tmp_path: Path
) -> None:
    """A machine that was sealed under one would not open under another if PCR 1 told them apart."""
    found = []
    for number, name in enumerate(("libvirt", "libvirt", "qemu", "libvirt")):
        with power_on(machine, host, tmp_path / str(number), hypervisor=HYPERVISORS[name](host)) as rig:
            read_until(rig, BOOT_MANAGER)
            pcrs = replay_pcrs(rig.tpm_exchanges())
            found.append({pcr: pcrs[pcr] for pcr in SETTLED})
    assert found[1] == found[2] == found[3]  # the first one also writes the variables that it finds missing


@pytest.mark.real
def test_secure_boot_firmware_comes_up(host: Host, tmp_path: Path) -> None:
    with bare_machine(host, "trixie") as machine, power_on(machine, host, tmp_path) as rig:
        read_until(rig, BOOT_MANAGER)
    assert "smm=on" in (tmp_path / "qemu-command.txt").read_text()


@pytest.mark.real
def test_a_machine_without_a_tpm_has_none(host: Host, machine: Machine, tmp_path: Path) -> None:
    with power_on(replace(machine, tpm=None), host, tmp_path) as rig:
        read_until(rig, BOOT_MANAGER)
        assert rig.tpm_exchanges() == ()
    assert not (tmp_path / "swtpm.log").exists()


@pytest.mark.real
def test_power_cycles_keep_the_tpm_and_the_nvram(host: Host, machine: Machine, tmp_path: Path) -> None:
    found = []
    for cycle in ("one", "two", "three"):
        with power_on(machine, host, tmp_path / cycle) as rig:
            read_until(rig, BOOT_MANAGER)
            pcrs = replay_pcrs(rig.tpm_exchanges())
            found.append({pcr: pcrs[pcr] for pcr in SETTLED})
    assert found[1] == found[2]  # the first one also writes the variables that it finds missing


@pytest.mark.real
def test_buttons_and_cable(host: Host, hypervisor: Hypervisor, machine: Machine, tmp_path: Path) -> None:
    with power_on(machine, host, tmp_path, hypervisor=hypervisor) as rig:
        read_until(rig, b"Shell>")  # the last that this build says
        rig.set_link(False)
        rig.set_link(True)
        starts = [exchange.command for exchange in rig.tpm_exchanges()].count("Startup")
        rig.reset()
        read_until(rig, BOOT_MANAGER)
        assert [exchange.command for exchange in rig.tpm_exchanges()].count("Startup") == starts + 1
        with rig.open_ssh_channel():
            pass
        with rig.open_ssh_channel() as again:
            assert isinstance(again, socket.socket)
        rig.press_power()
        assert not rig.wait_off(Deadline.after(0.1)), "no guest was there to heed the button"
        rig._virtual.destroy()  # type: ignore[attr-defined]
        assert rig.wait_off(Deadline.after(5.0))
        assert rig.state() is Power.OFF
        assert rig.failure() is None


@pytest.mark.real
def test_a_disk_is_plugged_in_late(host: Host, hypervisor: Hypervisor, machine: Machine, tmp_path: Path) -> None:
    late = Disk(blank(machine.nvram.parent / "late.qcow2", 1 << 20), serial="late")
    with power_on(machine, host, tmp_path, hypervisor=hypervisor) as rig:
        read_until(rig, BOOT_MANAGER)
        rig.plug(late)
        assert rig.failure() is None
        with pytest.raises(RigError, match="could not plug the disk in"):
            rig.plug(late)


@pytest.mark.real
def test_a_disk_whose_file_cannot_be_read_is_the_rigs_fault(
    host: Host, hypervisor: Hypervisor, machine: Machine, tmp_path: Path
) -> None:
    """QEMU tells the guest of an NVMe disk's error, and nobody else."""
    with machine.disks[0].path.open("r+b") as file:
        file.seek(40)  # the offset of the table of the first level; QEMU, docs/interop/qcow2.rst
        file.seek(int.from_bytes(file.read(8)))
        file.write((1 << 63 | 0x1234).to_bytes(8))  # no multiple of a cluster
    with (
        pytest.raises(RigError, match=r"the host failed \d+ reads and writes"),
        power_on(machine, host, tmp_path, hypervisor=hypervisor) as rig,
    ):
        read_until(rig, BOOT_MANAGER)
        rig.require_working()


@pytest.mark.real
def test_a_host_without_room_is_told_before_and_after(
    host: Host, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with power_on(machine, host, tmp_path) as rig:
        rig.require_working()
        monkeypatch.setattr("harness.machine.storage.LEAST", 1 << 60)
        with pytest.raises(RigError, match="no room left"):
            rig.require_working()
    monkeypatch.setattr("harness.machine.storage.FOR_LOGS", 1 << 60)
    with pytest.raises(HostError, match="no room to run a machine"), power_on(machine, host, tmp_path):
        pass


@pytest.mark.real
def test_memory_is_dumped_and_goes_with_the_machine(
    host: Host, hypervisor: Hypervisor, machine: Machine, tmp_path: Path
) -> None:
    with power_on(machine, host, tmp_path, hypervisor=hypervisor) as rig:
        read_until(rig, BOOT_MANAGER)
        first, second = rig.dump_memory(), rig.dump_memory()
        assert first != second
        assert first.read_bytes()[:4] == b"\x7fELF"
        assert first.stat().st_size >= (machine.memory_mib - 1) << 20  # all but the hole of the old video memory
        assert rig.failure() is None
    assert not first.exists()


@pytest.mark.real
@pytest.mark.parametrize("victim", ["qemu-system-x86_64", "swtpm"])
def test_a_part_that_dies_is_noticed_at_once(
    host: Host, hypervisor: Hypervisor, machine: Machine, tmp_path: Path, victim: str
) -> None:
    with power_on(machine, host, tmp_path, hypervisor=hypervisor) as rig:
        read_until(rig, BOOT_MANAGER)
        (pid,) = [pid for pid, name in processes_naming(part_of(rig, machine, victim)).items() if name == victim]
        os.kill(pid, signal.SIGKILL)
        poll = select.poll()
        for wake_fd in rig.wake_fds:
            poll.register(wake_fd, select.POLLIN)
        assert poll.poll(GONE_SECONDS * 1000), "nobody rang"
        failure = rig.failure()
        assert failure
        assert ("QEMU" if victim.startswith("qemu") else victim) in failure


def part_of(rig: Rig, machine: Machine, victim: str) -> str:
    assert machine.tpm
    return str(machine.tpm.state) if victim == "swtpm" else str(folder_of(rig))


@pytest.mark.real
def test_two_machines_run_side_by_side(host: Host, tmp_path: Path) -> None:
    def boot(name: str) -> bytes:
        with bare_machine(host) as machine, power_on(machine, host, tmp_path / name) as rig:
            return read_until(rig, BOOT_MANAGER, 120.0)

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(boot, ("one", "two")))


@pytest.mark.real
def test_a_half_done_power_on_unwinds(host: Host, machine: Machine, tmp_path: Path) -> None:
    before = set((run_dir() / "m").iterdir())
    host_folder = machine.nvram.parent
    (host_folder / "broken").write_bytes(b"no disk image")
    cases: list[tuple[type[Exception], str, Machine]] = [
        (UsageError, "does not exist", replace(machine, disks=(Disk(tmp_path / "absent"),))),
        (UsageError, "does not exist", replace(machine, nvram=tmp_path / "absent" / "nvram.fd")),
        (UsageError, "does not exist", replace(machine, fw_cfg=(("opt/x", tmp_path / "absent"),))),
        (RigError, "could not create the machine", replace(machine, disks=(Disk(host_folder / "broken"),))),
    ]
    for error, what, faulty in cases:
        with pytest.raises(error, match=what), power_on(faulty, host, tmp_path / "evidence"):
            pytest.fail("it came up")
    assert "not in qcow2 format" in (tmp_path / "evidence" / "qemu.log").read_text()
    assert set((run_dir() / "m").iterdir()) <= before
    assert set(processes_naming(str(host_folder)).values()) <= {"sh"}  # its own reaper


@pytest.mark.real
def test_a_tpm_that_does_not_answer_is_given_up_on(
    host: Host, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt, "_CREATE_SECONDS", 3.0)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch(host.user))
        chown_to(folder, host.user)
        runtime = Runtime("lab-mute-tpm", folder, host.accel.name, host.emulator, host.emulator_version)
        mute = stack.enter_context(socket.socket(socket.AF_UNIX))
        mute.bind(str(runtime.tpm_socket))
        runtime.tpm_socket.chmod(0o777)
        mute.listen(1)
        for path in (machine.nvram, machine.disks[0].path):
            path.touch()
            path.chmod(0o666)
        machine.nvram.write_bytes(machine.firmware.nvram_template.read_bytes())
        with (
            pytest.raises(RigError, match="did not create the machine within 3 s"),
            created_domain(host, runtime.name, domain_xml(machine, runtime)),
        ):
            pytest.fail("it came up")
    assert wait_gone(lambda: processes_naming(str(folder)), GONE_SECONDS) == {}


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from machines import bare_machine, folder_of, this_host
from harness.lab.laboratory import HYPERVISORS
from harness.machine.rig import power_on
host = this_host()
hypervisor = HYPERVISORS[sys.argv[3]](host)
with bare_machine(host) as machine, power_on(machine, host, Path(sys.argv[2]), hypervisor=hypervisor) as rig:
    print(folder_of(rig).parent, machine.nvram.parent, flush=True)
    sys.stdin.read()
"""


@pytest.mark.real
@pytest.mark.parametrize("hypervisor", HYPERVISORS)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_harness_that_is(tmp_path: Path, how: signal.Signals, hypervisor: str) -> None:
    """Killed, or interrupted from the keyboard, which reaches the whole process group."""
    command = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-c",
        CHILD,
        str(Path(__file__).parents[1]),
        str(tmp_path),
        hypervisor,
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as child:
        assert child.stdout
        folders = [Path(word) for word in child.stdout.readline().split()]
        assert len(folders) == 2, child.communicate()[1]
        running = [set(processes_naming(str(folder)).values()) for folder in folders]
        assert {"qemu-system-x86_64", "sh"} <= running[0]
        assert "swtpm" in running[1]
        os.killpg(child.pid, how)
        child.communicate(timeout=GONE_SECONDS)
    for folder in folders:
        assert wait_gone(lambda folder=folder: processes_naming(str(folder)), GONE_SECONDS) == {}  # type: ignore[misc]
        assert not folder.exists()


@pytest.mark.real
def test_a_machine_that_is_kept_stays_until_it_is_destroyed(
    host: Host, hypervisor: Hypervisor, machine: Machine, tmp_path: Path
) -> None:
    with power_on(machine, host, tmp_path, hypervisor=hypervisor, keep=True) as rig:
        read_until(rig, BOOT_MANAGER)
        folder = folder_of(rig)
        hints = rig.attach_hints
    running = set(processes_naming(str(folder)).values()) | set(processes_naming(str(machine.nvram.parent)).values())
    assert {"qemu-system-x86_64", "swtpm"} <= running
    assert str(folder / "console.sock") in hints
    remove_orphaned()
    assert folder.exists()
    clean_up = hints.rpartition("clean up: ")[2]
    subprocess.run(["sh", "-c", clean_up], check=True, timeout=30, capture_output=True)
    assert wait_gone(lambda: processes_naming(str(folder)), GONE_SECONDS) == {}
    assert not folder.exists()
    assert wait_gone(lambda: swtpms_of(machine), GONE_SECONDS) == {}


@pytest.mark.real
def test_clean_turns_off_a_machine_that_was_kept(
    host: Host, hypervisor: Hypervisor, machine: Machine, tmp_path: Path
) -> None:
    with power_on(machine, host, tmp_path, hypervisor=hypervisor, keep=True) as rig:
        read_until(rig, BOOT_MANAGER)
        sockets = folder_of(rig)
    assert "qemu-system-x86_64" in processes_naming(str(sockets)).values()
    turn_off(sockets.parent)
    assert wait_gone(lambda: processes_naming(str(sockets)), GONE_SECONDS) == {}
    assert wait_gone(lambda: swtpms_of(machine), GONE_SECONDS) == {}
    shutil.rmtree(sockets.parent)


def swtpms_of(machine: Machine) -> dict[int, str]:
    assert machine.tpm
    return {pid: name for pid, name in processes_naming(str(machine.tpm.state)).items() if name == "swtpm"}
