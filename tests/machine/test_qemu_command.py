"""The command line of bare QEMU: the hardware that libvirt makes of the same machine."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.machine.domain_xml import Runtime, emulation_properties
from harness.machine.qemu_command import hot_plug_port, pid_file, qemu_command
from harness.machine.spec import Bus, Disk, Firmware, Machine, SecurityKey, SegmentCard, Tpm, TpmVersion

RUNTIME = Runtime("lab-1", Path("/run/m"), "tcg", Path("/usr/bin/qemu-system-x86_64"), (10, 0, 2))
MACHINE = Machine(
    "bare",
    Firmware("plain", Path("/code.fd"), Path("/vars.fd"), secure_boot=False),
    Path("/nvram.fd"),
    (Disk(Path("/disk.qcow2")),),
    Tpm(Path("/tpm")),
)


def options(machine: Machine = MACHINE, runtime: Runtime = RUNTIME) -> list[tuple[str, str]]:
    """The options that take a value, in order."""
    words = qemu_command(machine, runtime, 7)
    return [(word, value) for word, value in pairwise(words) if word.startswith("-")]


def values(option: str, machine: Machine = MACHINE, runtime: Runtime = RUNTIME) -> list[str]:
    return [value for name, value in options(machine, runtime) if name == option]


def addresses(machine: Machine) -> dict[str, tuple[str, str]]:
    """Where each PCI device sits: bus and address by driver, with the serial number of a disk."""
    devices = [json.loads(value) for value in values("-device", machine)]
    return {
        each.get("serial", each["driver"]): (each["bus"], each["addr"])
        for each in devices
        if "addr" in each and each["driver"] != "pcie-root-port"
    }


NETWORK_AND_SERIAL = {"virtio-net-pci": ("pci.1", "0x0"), "virtio-serial-pci": ("pci.2", "0x0")}
"""Taken, with those below, from what libvirt 9.0 logged of the same machines."""


def test_an_nvme_machine_has_its_devices_where_libvirt_puts_them() -> None:
    assert addresses(MACHINE) == NETWORK_AND_SERIAL | {"lab0": ("pcie.0", "0x10"), "virtio-rng-pci": ("pci.3", "0x0")}
    assert hot_plug_port(MACHINE) == "pci.4"


def test_a_virtio_disk_comes_before_the_random_numbers() -> None:
    two = replace(MACHINE, disks=(Disk(Path("/own"), Bus.NVME, "own"), Disk(Path("/d"), Bus.VIRTIO, "second")))
    expected = {"own": ("pcie.0", "0x10"), "second": ("pci.3", "0x0"), "virtio-rng-pci": ("pci.4", "0x0")}
    assert addresses(two) == NETWORK_AND_SERIAL | expected
    assert hot_plug_port(two) == "pci.5"
    assert [json.loads(v).get("bootindex") for v in values("-device", two) if "bootindex" in v] == [1, 2]


def test_the_controller_of_scsi_disks_comes_before_the_serial_ports() -> None:
    """As libvirt puts it, in the log of the same machine."""
    scsi = replace(MACHINE, disks=(Disk(Path("/own"), Bus.SCSI, "lab0"), Disk(Path("/two"), Bus.SCSI, "lab1")))
    placed = [json.loads(value) for value in values("-device", scsi)]
    ports = {each["driver"]: each["bus"] for each in placed if each.get("bus", "").startswith("pci.")}
    assert ports == {
        "virtio-scsi-pci": "pci.2",
        "virtio-serial-pci": "pci.3",
        "virtio-net-pci": "pci.1",
        "virtio-rng-pci": "pci.4",
    }
    assert [(each["lun"], each["serial"]) for each in placed if each["driver"] == "scsi-hd"] == [
        (0, "lab0"),
        (1, "lab1"),
    ]


def test_there_is_a_root_port_for_each_device_and_one_to_spare() -> None:
    ports = [json.loads(value) for value in values("-device") if "pcie-root-port" in value]
    assert [(port["id"], port["addr"], port["chassis"], port["port"]) for port in ports] == [
        ("pci.1", "0x1", 1, 8),
        ("pci.2", "0x1.0x1", 2, 9),
        ("pci.3", "0x1.0x2", 3, 10),
        ("pci.4", "0x1.0x3", 4, 11),
    ]
    assert [port.get("multifunction") for port in ports] == [True, None, None, None]


def test_its_cpus_wait_and_its_monitor_is_ours() -> None:
    words = qemu_command(MACHINE, RUNTIME, 7)
    assert words[0] == "/usr/bin/qemu-system-x86_64"
    assert "-S" in words
    assert "socket,id=monitor,fd=7" in words
    assert values("-pidfile") == [str(pid_file(RUNTIME))]


def test_the_consoles_are_where_the_rig_looks_for_them() -> None:
    sockets = [value for value in values("-chardev") if "path=" in value]
    assert sockets == [
        "socket,id=charserial0,path=/run/m/console.sock,server=on,wait=off,logfile=/run/m/console.log,logappend=off",
        "socket,id=charchannel0,path=/run/m/ssh.sock,server=on,wait=off",
        "socket,id=charconsole1,path=/run/m/journal.sock,server=on,wait=off,logfile=/run/m/journal.log,logappend=off",
        "socket,id=chrtpm,path=/run/m/tpm.sock",
    ]


def test_a_card_on_a_segment_is_where_libvirts_machine_has_it() -> None:
    machine = replace(MACHINE, cards=(SegmentCard(Path("/s.sock"), "52:54:00:00:00:01"),))
    assert "stream,id=lab-segment0,server=off,addr.type=unix,addr.path=/s.sock" in values("-netdev", machine)
    card = "virtio-net-pci,netdev=lab-segment0,mac=52:54:00:00:00:01,romfile=,bus=pcie.0,addr=0x18"
    assert card in values("-device", machine)


def test_a_security_key_has_a_port_of_its_own() -> None:
    keyed = replace(MACHINE, security_key=SecurityKey(Path("/key")))
    assert "socket,id=charchannel1,path=/run/m/fido2.sock,server=on,wait=off" in values("-chardev", keyed)
    ports = [json.loads(value) for value in values("-device", keyed) if "virtserialport" in value]
    assert [(port["nr"], port["name"]) for port in ports] == [(1, "org.unlock-lab.ssh"), (2, "org.unlock-lab.fido2")]


def test_the_processor_is_that_of_libvirts_machine() -> None:
    assert values("-global") == emulation_properties(RUNTIME)[1::2] != []


def test_secure_boot_needs_smm_and_a_flash_that_only_smm_writes_to() -> None:
    enforcing = replace(MACHINE, firmware=replace(MACHINE.firmware, secure_boot=True))
    assert "smm=on" in values("-machine", enforcing)[0]
    assert "smm=off" in values("-machine")[0]
    secure = "driver=cfi.pflash01,property=secure,value=on"
    assert set(values("-global", enforcing)) - set(values("-global")) == {secure}


@pytest.mark.parametrize(
    ("tpm", "model"),
    [
        (Tpm(Path("/tpm")), ["tpm-crb"]),
        (Tpm(Path("/tpm"), TpmVersion.TPM_1_2), ["tpm-tis"]),
        (None, []),
    ],
)
def test_the_model_of_the_tpm_follows_its_version(tpm: Tpm | None, model: list[str]) -> None:
    devices = [json.loads(value)["driver"] for value in values("-device", replace(MACHINE, tpm=tpm))]
    assert [driver for driver in devices if driver.startswith("tpm")] == model


@pytest.mark.parametrize(
    ("accel", "version", "cpu"),
    [("tcg", (10, 0, 2), "max"), ("tcg", (7, 2, 22), "max,cx16=off"), ("kvm", (7, 2, 22), "host,migratable=on")],
)
def test_the_cpu_is_one_that_works(accel: str, version: tuple[int, int, int], cpu: str) -> None:
    assert values("-cpu", runtime=replace(RUNTIME, accel=accel, emulator_version=version)) == [cpu]


def test_a_comma_in_a_value_is_no_end_of_it() -> None:
    said = replace(MACHINE, smbios_oem_strings=("a=b,c", "d"), fw_cfg=(("opt/x", Path("/a,b")),))
    assert values("-smbios", said) == ["type=11,value=a=b,,c,value=d"]
    assert values("-fw_cfg", said) == ["name=opt/x,file=/a,,b"]
