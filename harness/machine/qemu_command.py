"""A machine and the facts of one power-on, as the command line of qemu-system-x86_64(1). Pure.

It is what libvirt makes of `domain_xml`, less what only libvirt needs. The PCI addresses are the same: the firmware
measures the hardware and the boot entries that it makes for disks (PCR 1), and keeps those entries in its NVRAM.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from harness.contract import SECURITY_KEY_PORT, SHELL_PORT
from harness.machine.domain_xml import (
    CX16_IS_BROKEN_BEFORE,
    FIRST_NVME_SLOT,
    MAC,
    Runtime,
    emulation_properties,
    segment_cards,
)
from harness.machine.spec import Bus, Disk, Machine, TpmVersion

NETWORK_CARD = "net0"

_NET_PORT, _SCSI_PORT = 1, 2


def qemu_command(machine: Machine, runtime: Runtime, monitor_fd: int) -> list[str]:
    """The command, which starts a machine whose CPUs do not run yet.

    Args:
        machine: What hardware there is.
        runtime: Where sockets and logs go.
        monitor_fd: A connected socket that QEMU inherits and speaks QMP on.
    """
    start = [str(runtime.emulator), "-name", f"guest={runtime.name},debug-threads=on", "-S"]
    start += ["-pidfile", str(pid_file(runtime))]
    start += ["-chardev", f"socket,id=monitor,fd={monitor_fd}", "-mon", "chardev=monitor,mode=control"]
    return [*start, *_options(machine, runtime)]


def pid_file(runtime: Runtime) -> Path:
    """Where QEMU writes its process id."""
    return runtime.folder / "qemu.pid"


def hot_plug_port(machine: Machine) -> str:
    """The root port that is left free for one more disk."""
    return f"pci.{_rng_port(machine) + 1}"


def _serial_port(machine: Machine) -> int:
    """After the controller of SCSI disks, where there is one."""
    return _SCSI_PORT + any(disk.bus is Bus.SCSI for disk in machine.disks)


def _rng_port(machine: Machine) -> int:
    return _serial_port(machine) + 1 + sum(disk.bus is Bus.VIRTIO for disk in machine.disks)


def _options(machine: Machine, runtime: Runtime) -> Iterator[str]:
    yield from ("-no-user-config", "-nodefaults", "-display", "none", "-msg", "timestamp=on")
    yield from _board(machine, runtime)
    yield from _platform_strings(machine)
    yield from _ports(_rng_port(machine) + 1)
    serial = _serial_port(machine)
    if serial > _SCSI_PORT:
        yield from _device(driver="virtio-scsi-pci", id="scsi0", bus=f"pci.{_SCSI_PORT}", addr="0x0")
    yield from _device(driver="virtio-serial-pci", id="virtio-serial0", bus=f"pci.{serial}", addr="0x0")
    yield from _disks(machine)
    yield from ("-netdev", json.dumps({"type": "user", "id": "hostnet0"}))
    yield from _device(
        driver="virtio-net-pci",
        netdev="hostnet0",
        id=NETWORK_CARD,
        mac=MAC,
        bus=f"pci.{_NET_PORT}",
        addr="0x0",
        # Without a boot ROM the firmware does not try the network for two minutes when the disk does not boot.
        romfile="",
    )
    yield from segment_cards(machine)
    yield from _character_devices(machine, runtime)
    if machine.tpm:
        model = "tpm-crb" if machine.tpm.version is TpmVersion.TPM_2_0 else "tpm-tis"
        yield from ("-chardev", f"socket,id=chrtpm,path={_escaped(runtime.tpm_socket)}")
        yield from ("-tpmdev", "emulator,id=tpm-tpm0,chardev=chrtpm")
        yield from _device(driver=model, tpmdev="tpm-tpm0", id="tpm0")
    yield from ("-object", json.dumps({"qom-type": "rng-random", "id": "objrng0", "filename": "/dev/urandom"}))
    yield from _device(driver="virtio-rng-pci", rng="objrng0", id="rng0", bus=f"pci.{_rng_port(machine)}", addr="0x0")
    sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    yield from ("-sandbox", sandbox)


def _board(machine: Machine, runtime: Runtime) -> Iterator[str]:
    secure = machine.firmware.secure_boot
    for number, path, read_only in ((0, machine.firmware.code, True), (1, machine.nvram, False)):
        file = {"driver": "file", "filename": str(path), "discard": "unmap", "auto-read-only": True}
        flash = {"node-name": f"pflash{number}", "driver": "raw", "read-only": read_only, "file": file}
        yield from ("-blockdev", json.dumps(flash))
    yield "-machine"
    yield (
        f"q35,usb=off,smm={'on' if secure else 'off'},dump-guest-core=off,memory-backend=pc.ram,"
        "pflash0=pflash0,pflash1=pflash1"
    )
    yield from ("-accel", runtime.accel)
    if runtime.accel == "kvm":
        yield from ("-cpu", "host,migratable=on")
    else:
        yield from ("-cpu", "max,cx16=off" if runtime.emulator_version < CX16_IS_BROKEN_BEFORE else "max")
    yield from emulation_properties(runtime)
    if secure:
        yield from ("-global", "driver=cfi.pflash01,property=secure,value=on")
    yield from ("-m", str(machine.memory_mib))
    memory = {"qom-type": "memory-backend-ram", "id": "pc.ram", "size": machine.memory_mib * 2**20}
    yield from ("-object", json.dumps(memory))
    yield from ("-smp", f"{machine.vcpus},sockets={machine.vcpus},cores=1,threads=1")
    yield from ("-rtc", "base=utc", "-boot", "strict=on")


def _platform_strings(machine: Machine) -> Iterator[str]:
    if machine.smbios_oem_strings:
        strings = "".join(f",value={_escaped(string)}" for string in machine.smbios_oem_strings)
        yield from ("-smbios", f"type=11{strings}")
    for name, path in machine.fw_cfg:
        yield from ("-fw_cfg", f"name={name},file={_escaped(path)}")


def _ports(count: int) -> Iterator[str]:
    """PCI Express root ports, one a device and one to spare, as functions of slot 1."""
    for number in range(count):
        place = {"addr": f"0x1.{number:#x}"} if number else {"multifunction": True, "addr": "0x1"}
        port = {"port": 8 + number, "chassis": number + 1, "id": f"pci.{number + 1}", "bus": "pcie.0"}
        yield from _device(driver="pcie-root-port", **port, **place)


def _disks(machine: Machine) -> Iterator[str]:
    port, lun = _serial_port(machine) + 1, 0
    for order, disk in enumerate(machine.disks):
        yield from ("-blockdev", json.dumps(block_device(disk, f"lab-disk{order}")))
        about = {"drive": f"lab-disk{order}", "serial": disk.serial, "bootindex": order + 1}
        if disk.bus is Bus.NVME:
            yield from _device(driver="nvme", bus="pcie.0", addr=f"{FIRST_NVME_SLOT + order:#x}", **about)
        elif disk.bus is Bus.SCSI:
            place = {"bus": "scsi0.0", "channel": 0, "scsi-id": 0, "lun": lun, "device_id": disk.serial}
            yield from _device(driver="scsi-hd", **place, **about)
            lun += 1
        else:
            yield from _device(driver="virtio-blk-pci", bus=f"pci.{port}", addr="0x0", **about)
            port += 1


def block_device(disk: Disk, node: str) -> dict[str, object]:
    """A qcow2 image as QEMU's ``blockdev-add`` takes it.

    Host page cache, no fsync: what a machine's disk holds after the host lost power does not matter.
    """
    cache = {"direct": False, "no-flush": True}
    file = {"driver": "file", "filename": str(disk.path), "cache": cache, "discard": "unmap"}
    return {"node-name": node, "driver": "qcow2", "cache": cache, "discard": "unmap", "file": file}


def _character_devices(machine: Machine, runtime: Runtime) -> Iterator[str]:
    channels = [(SHELL_PORT, runtime.ssh_socket)]
    channels += [(SECURITY_KEY_PORT, runtime.security_key_socket)] if machine.security_key else []
    for name, path, log in (
        ("serial0", runtime.console_socket, runtime.console_log),
        *((f"channel{number}", path, None) for number, (_, path) in enumerate(channels)),
        ("console1", runtime.journal_socket, runtime.journal_log),
    ):
        kept = f",logfile={_escaped(log)},logappend=off" if log else ""
        yield from ("-chardev", f"socket,id=char{name},path={_escaped(path)},server=on,wait=off{kept}")
    yield from _device(driver="isa-serial", chardev="charserial0", id="serial0", index=0)
    for number, (port, _) in enumerate(channels):
        about = {"chardev": f"charchannel{number}", "id": f"channel{number}", "name": port}
        yield from _device(driver="virtserialport", bus="virtio-serial0.0", nr=number + 1, **about)
    yield from _device(driver="virtconsole", chardev="charconsole1", id="console1")


def _device(**properties: object) -> Iterator[str]:
    yield from ("-device", json.dumps(properties))


def _escaped(value: object) -> str:
    """In QEMU's options a comma is written twice."""
    return str(value).replace(",", ",,")
