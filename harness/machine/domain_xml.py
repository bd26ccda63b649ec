"""A machine and the facts of one power-on, as libvirt's domain XML (https://libvirt.org/formatdomain.html). Pure."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.contract import SECURITY_KEY_PORT, SHELL_PORT
from harness.machine.spec import Bus, Disk, Machine, SegmentCard, TpmVersion

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
MACHINE_TYPE = "q35"
"""The newest of this QEMU."""

MAC = "52:54:00:6c:61:62"
"""Of the card on the network of its own."""

CX16_IS_BROKEN_BEFORE = (8, 0, 0)  # QEMU 7.2's TCG miscompiles cmpxchg16b: the guest's kernel dies at random
_FSRS_SINCE = (8, 0, 0)  # an older QEMU neither has it nor starts when told to leave it out
_HOT_NODE = "vdz"  # what libvirt calls a disk that was plugged in; the guest names disks as it finds them
FIRST_NVME_SLOT = 0x10  # on pcie.0; libvirt fills it from slot 1 and keeps its own devices below this
FIRST_CARD_SLOT = 0x18
"""On pcie.0, for the cards on segments."""


@dataclass(frozen=True)
class Runtime:
    """What is decided at power-on.

    Attributes:
        name: Of the domain, unique in this libvirt.
        folder: Where sockets and logs go; its path is short.
        accel: ``kvm`` or ``tcg``.
        emulator: QEMU, or the program that gives it a network of its own.
        emulator_version: Of QEMU, as in (10, 0, 2).
        environment: What the emulator finds in its environment.
    """

    name: str
    folder: Path
    accel: str
    emulator: Path
    emulator_version: tuple[int, int, int]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def console_socket(self) -> Path:
        """The guest's ttyS0."""
        return self.folder / "console.sock"

    @property
    def console_log(self) -> Path:
        """What the guest wrote to ttyS0, kept by QEMU."""
        return self.folder / "console.log"

    @property
    def journal_socket(self) -> Path:
        """The guest's hvc0."""
        return self.folder / "journal.sock"

    @property
    def journal_log(self) -> Path:
        """What the guest wrote to hvc0, kept by QEMU."""
        return self.folder / "journal.log"

    @property
    def ssh_socket(self) -> Path:
        """The channel to the guest's shell."""
        return self.folder / "ssh.sock"

    @property
    def security_key_socket(self) -> Path:
        """Where the security key is plugged in."""
        return self.folder / "fido2.sock"

    @property
    def tpm_socket(self) -> Path:
        """Where swtpm takes control commands."""
        return self.folder / "tpm.sock"

    @property
    def tpm_log(self) -> Path:
        """What swtpm read and wrote."""
        return self.folder / "swtpm.raw"


def domain_xml(machine: Machine, runtime: Runtime) -> str:
    """The domain as text."""
    ET.register_namespace("qemu", QEMU_NAMESPACE)
    root = ET.Element("domain", type="kvm" if runtime.accel == "kvm" else "qemu")
    _text(root, "name", runtime.name)
    _text(root, "title", machine.name)
    _text(root, "memory", str(machine.memory_mib), unit="MiB")
    _text(root, "vcpu", str(machine.vcpus))
    _firmware(root, machine)
    _sysinfo(root, machine)
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    ET.SubElement(features, "smm", state="on" if machine.firmware.secure_boot else "off")
    _cpu(root, runtime)
    ET.SubElement(root, "clock", offset="utc")
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    _text(root, "on_crash", "destroy")
    _devices(root, machine, runtime)
    _qemu_alone(root, machine, runtime)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")


def interface_xml(link_up: bool) -> str:
    """The network card alone, for a change of its link state."""
    return ET.tostring(_interface(link_up), encoding="unicode")


def hot_disk_xml(disk: Disk) -> str:
    """A virtio disk to plug in while the machine is on: libvirt puts it into the root port that it leaves free."""
    element = ET.Element("disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
    ET.SubElement(element, "source", file=str(disk.path))
    ET.SubElement(element, "target", dev=_HOT_NODE, bus="virtio")
    _text(element, "serial", disk.serial)
    return ET.tostring(element, encoding="unicode")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _firmware(root: ET.Element, machine: Machine) -> None:
    os_element = ET.SubElement(root, "os")
    _text(os_element, "type", "hvm", arch="x86_64", machine=MACHINE_TYPE)
    secure = {"secure": "yes"} if machine.firmware.secure_boot else {}
    _text(os_element, "loader", str(machine.firmware.code), readonly="yes", type="pflash", **secure)
    _text(os_element, "nvram", str(machine.nvram))
    if machine.smbios_oem_strings:
        ET.SubElement(os_element, "smbios", mode="sysinfo")


def _sysinfo(root: ET.Element, machine: Machine) -> None:
    if machine.smbios_oem_strings:
        strings = ET.SubElement(ET.SubElement(root, "sysinfo", type="smbios"), "oemStrings")
        for string in machine.smbios_oem_strings:
            _text(strings, "entry", string)
    if machine.fw_cfg:
        entries = ET.SubElement(root, "sysinfo", type="fwcfg")
        for name, path in machine.fw_cfg:
            ET.SubElement(entries, "entry", name=name, file=str(path))


def _cpu(root: ET.Element, runtime: Runtime) -> None:
    if runtime.accel == "kvm":
        ET.SubElement(root, "cpu", mode="host-passthrough")
        return
    cpu = ET.SubElement(root, "cpu", mode="maximum")
    if runtime.emulator_version < CX16_IS_BROKEN_BEFORE:
        ET.SubElement(cpu, "feature", policy="disable", name="cx16")


def _devices(root: ET.Element, machine: Machine, runtime: Runtime) -> None:
    devices = ET.SubElement(root, "devices")
    _text(devices, "emulator", str(runtime.emulator))
    named: Counter[Bus] = Counter()
    for order, disk in enumerate(machine.disks):
        if disk.bus is not Bus.NVME:
            devices.append(_disk(disk, order, named[disk.bus]))
            named[disk.bus] += 1
    if named[Bus.SCSI]:
        ET.SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")
    ET.SubElement(devices, "controller", type="usb", model="none")
    devices.append(_interface(machine.link_up))
    serial = _unix_character_device(devices, "serial", runtime.console_socket, runtime.console_log)
    ET.SubElement(serial, "target", type="isa-serial", port="0")
    console = _unix_character_device(devices, "console", runtime.console_socket, runtime.console_log)
    ET.SubElement(console, "target", type="serial", port="0")
    journal = _unix_character_device(devices, "console", runtime.journal_socket, runtime.journal_log)
    ET.SubElement(journal, "target", type="virtio", port="1")
    channel = _unix_character_device(devices, "channel", runtime.ssh_socket, None)
    ET.SubElement(channel, "target", type="virtio", name=SHELL_PORT)
    if machine.security_key:
        port = _unix_character_device(devices, "channel", runtime.security_key_socket, None)
        ET.SubElement(port, "target", type="virtio", name=SECURITY_KEY_PORT)
    if machine.tpm:
        model = "tpm-crb" if machine.tpm.version is TpmVersion.TPM_2_0 else "tpm-tis"
        backend = ET.SubElement(ET.SubElement(devices, "tpm", model=model), "backend", type="external")
        ET.SubElement(backend, "source", type="unix", mode="connect", path=str(runtime.tpm_socket))
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "memballoon", model="none")


def _disk(disk: Disk, order: int, number: int) -> ET.Element:
    """A virtio or SCSI disk, started as the `order`-th, and the `number`-th of its bus."""
    element = ET.Element("disk", type="file", device="disk")
    # Host page cache, no fsync: what a machine's disk holds after the host lost power is nobody's question.
    ET.SubElement(element, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
    ET.SubElement(element, "source", file=str(disk.path))
    node = "vd" if disk.bus is Bus.VIRTIO else "sd"
    ET.SubElement(element, "target", dev=f"{node}{chr(ord('a') + number)}", bus=disk.bus.value)
    _text(element, "serial", disk.serial)
    ET.SubElement(element, "boot", order=str(order + 1))
    return element


def _interface(link_up: bool) -> ET.Element:
    element = ET.Element("interface", type="user")
    ET.SubElement(element, "mac", address=MAC)
    ET.SubElement(element, "model", type="virtio")
    ET.SubElement(element, "link", state="up" if link_up else "down")
    # Without a boot ROM the firmware does not try the network for two minutes when the disk does not boot.
    ET.SubElement(element, "rom", enabled="no")
    return element


def _unix_character_device(devices: ET.Element, tag: str, path: Path, log: Path | None) -> ET.Element:
    device = ET.SubElement(devices, tag, type="unix")
    ET.SubElement(device, "source", mode="bind", path=str(path))
    if log:
        ET.SubElement(device, "log", file=str(log), append="off")
    return device


def emulation_properties(runtime: Runtime) -> list[str]:
    """What the processor does without in emulation, as arguments of QEMU's (qemu(1), ``-global``).

    The promise that ``rep movsb`` and ``rep stosb`` are fast: TCG runs them byte by byte, where a guest that is not
    told so copies and clears memory by larger words (docs/explanation/time.md has both in figures). And the fifth level
    of page tables, one more step at each miss of the TLB, which is emptied at each switch of processes. The firmware
    measures neither, so a sealed machine stays what it is.
    """
    if runtime.accel == "kvm":
        return []
    known = ("erms", "fsrm", "fsrs", "la57") if runtime.emulator_version >= _FSRS_SINCE else ("erms", "la57")
    return [word for feature in known for word in ("-global", f"max-x86_64-cpu.{feature}=off")]


def segment_cards(machine: Machine) -> list[str]:
    """The cards on segments, as arguments of QEMU's."""
    arguments: list[str] = []
    for number, card in enumerate(machine.cards):
        device = f"virtio-net-pci,netdev=lab-segment{number},mac={card.mac},romfile="
        arguments += ["-netdev", stream_netdev(card, f"lab-segment{number}")]
        arguments += ["-device", f"{device},bus=pcie.0,addr={FIRST_CARD_SLOT + number:#x}"]
    return arguments


def stream_netdev(card: SegmentCard, name: str) -> str:
    """The connection of a card to its segment, as QEMU's option (qemu(1), ``-netdev stream``, from 7.2 on)."""
    path = str(card.segment).replace(",", ",,")
    return f"stream,id={name},server=off,addr.type=unix,addr.path={path}"


def _qemu_alone(root: ET.Element, machine: Machine, runtime: Runtime) -> None:
    """What libvirt passes to QEMU as it is: NVMe disks, which it knows only from 11.5 on, segments, the environment.

    Processor features too: libvirt 9.0 does not know FSRS.
    """
    arguments = emulation_properties(runtime)
    for order, disk in enumerate(machine.disks):
        if disk.bus is Bus.NVME:
            drive = f"lab-disk{order}"
            path = str(disk.path).replace(",", ",,")
            arguments += ["-drive", f"if=none,id={drive},format=qcow2,cache=unsafe,discard=unmap,file={path}"]
            slot = FIRST_NVME_SLOT + order
            device = f"nvme,drive={drive},serial={disk.serial},bootindex={order + 1},bus=pcie.0,addr={slot:#x}"
            arguments += ["-device", device]
    arguments += segment_cards(machine)
    if arguments or runtime.environment:
        commandline = ET.SubElement(root, f"{{{QEMU_NAMESPACE}}}commandline")
        for argument in arguments:
            ET.SubElement(commandline, f"{{{QEMU_NAMESPACE}}}arg", value=argument)
        for name, value in runtime.environment.items():
            ET.SubElement(commandline, f"{{{QEMU_NAMESPACE}}}env", name=name, value=value)
