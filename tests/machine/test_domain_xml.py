"""The libvirt XML of a machine, which no machine is needed to check."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from harness.contract import SHELL_PORT
from harness.machine.domain_xml import QEMU_NAMESPACE, Runtime, domain_xml, hot_disk_xml, interface_xml
from harness.machine.spec import Bus, Disk, Firmware, Machine, SegmentCard, Tpm, TpmVersion

MACHINE = Machine(
    name="home server",
    firmware=Firmware("trixie", Path("/fw/code.fd"), Path("/fw/vars.fd"), secure_boot=False),
    nvram=Path("/m/nvram.fd"),
    disks=(Disk(Path("/m/disk.qcow2")),),
    tpm=Tpm(Path("/m/tpm")),
)
RUNTIME = Runtime("lab-1", Path("/run/m/x"), "tcg", Path("/usr/bin/qemu-system-x86_64"), (10, 0, 2))


def parsed(machine: Machine = MACHINE, runtime: Runtime = RUNTIME) -> ET.Element:
    return ET.fromstring(domain_xml(machine, runtime))


def only(root: ET.Element, path: str) -> ET.Element:
    found = root.findall(path)
    assert len(found) == 1, f"{len(found)} of {path}"
    return found[0]


def pairs(root: ET.Element) -> list[tuple[str, str]]:
    """What is passed to QEMU as it is: options and their values."""
    words = [arg.attrib["value"] for arg in root.iterfind(f"{{{QEMU_NAMESPACE}}}commandline/{{{QEMU_NAMESPACE}}}arg")]
    return list(zip(words[::2], words[1::2], strict=True))


def arguments(root: ET.Element) -> list[str]:
    """The same less `properties`."""
    return [word for option, value in pairs(root) if option != "-global" for word in (option, value)]


def properties(root: ET.Element) -> list[str]:
    return [value for option, value in pairs(root) if option == "-global"]


def test_it_is_a_q35_with_the_memory_and_cpus_asked_for() -> None:
    root = parsed(replace(MACHINE, memory_mib=3072, vcpus=4))
    assert only(root, "os/type").attrib["machine"] == "q35"
    memory = only(root, "memory")
    assert (memory.text, memory.attrib["unit"]) == ("3072", "MiB")
    assert only(root, "vcpu").text == "4"
    assert only(root, "name").text == "lab-1"
    assert only(root, "title").text == "home server"


def test_firmware_is_read_only_flash_with_nvram_of_its_own() -> None:
    root = parsed()
    loader = only(root, "os/loader")
    assert loader.text == "/fw/code.fd"
    assert loader.attrib == {"readonly": "yes", "type": "pflash"}
    assert only(root, "os/nvram").text == "/m/nvram.fd"
    assert only(root, "features/smm").attrib["state"] == "off"


def test_secure_boot_firmware_gets_smm_and_secure_flash() -> None:
    root = parsed(replace(MACHINE, firmware=replace(MACHINE.firmware, secure_boot=True)))
    assert only(root, "os/loader").attrib["secure"] == "yes"
    assert only(root, "features/smm").attrib["state"] == "on"


@pytest.mark.parametrize(
    ("accel", "version", "mode", "disabled"),
    [
        ("kvm", (10, 0, 2), "host-passthrough", []),
        ("kvm", (7, 2, 22), "host-passthrough", []),
        ("tcg", (10, 0, 2), "maximum", []),
        ("tcg", (8, 0, 0), "maximum", []),
        ("tcg", (7, 2, 22), "maximum", ["cx16"]),
    ],
)
def test_cpu_avoids_what_old_emulators_corrupt(
    accel: str, version: tuple[int, int, int], mode: str, disabled: list[str]
) -> None:
    root = parsed(runtime=replace(RUNTIME, accel=accel, emulator_version=version))
    assert root.attrib["type"] == ("kvm" if accel == "kvm" else "qemu")
    assert only(root, "cpu").attrib["mode"] == mode
    assert [feature.attrib["name"] for feature in root.iterfind("cpu/feature")] == disabled


@pytest.mark.parametrize(
    ("accel", "version", "without"),
    [
        ("kvm", (10, 0, 2), []),
        ("tcg", (10, 0, 2), ["erms", "fsrm", "fsrs", "la57"]),
        ("tcg", (8, 0, 0), ["erms", "fsrm", "fsrs", "la57"]),
        ("tcg", (7, 2, 22), ["erms", "la57"]),
    ],
)
def test_an_emulated_cpu_does_not_say_that_it_is_fast_at_what_it_is_slow_at(
    accel: str, version: tuple[int, int, int], without: list[str]
) -> None:
    said = properties(parsed(runtime=replace(RUNTIME, accel=accel, emulator_version=version)))
    assert said == [f"max-x86_64-cpu.{name}=off" for name in without]


def test_nvme_disks_go_round_libvirt_and_boot_in_order() -> None:
    disks = (Disk(Path("/m/a,b.qcow2"), serial="own"), Disk(Path("/m/loot.qcow2"), serial="loot"))
    root = parsed(replace(MACHINE, disks=disks))
    assert not root.findall("devices/disk")
    _, first, _, first_device, _, second, _, second_device = arguments(root)
    assert first.endswith("file=/m/a,,b.qcow2")  # QEMU's way to write a comma
    assert "serial=own,bootindex=1," in first_device
    assert second.endswith("file=/m/loot.qcow2")
    assert "serial=loot,bootindex=2," in second_device
    assert first_device.split("addr=")[1] != second_device.split("addr=")[1]


def test_scsi_disks_hang_from_one_controller_and_are_named_by_their_order() -> None:
    disks = (Disk(Path("/m/a.qcow2"), Bus.SCSI), Disk(Path("/m/v"), Bus.VIRTIO, "v"), Disk(Path("/m/b"), Bus.SCSI, "b"))
    root = parsed(replace(MACHINE, disks=disks))
    targets = [(found.get("dev"), found.get("bus")) for found in root.iterfind("devices/disk/target")]
    assert targets == [("sda", "scsi"), ("vda", "virtio"), ("sdb", "scsi")]
    assert only(root, "devices/controller[@type='scsi']").attrib["model"] == "virtio-scsi"


def test_virtio_disks_are_libvirts() -> None:
    disks = (Disk(Path("/m/a.qcow2"), Bus.VIRTIO, "own"), Disk(Path("/m/b.qcow2"), Bus.VIRTIO, "loot"))
    root = parsed(replace(MACHINE, disks=disks))
    assert arguments(root) == []
    assert [disk.findtext("serial") for disk in root.iterfind("devices/disk")] == ["own", "loot"]
    assert [target.attrib["dev"] for target in root.iterfind("devices/disk/target")] == ["vda", "vdb"]
    assert [boot.attrib["order"] for boot in root.iterfind("devices/disk/boot")] == ["1", "2"]


def test_mixed_disks_keep_the_order_of_the_machine() -> None:
    root = parsed(replace(MACHINE, disks=(Disk(Path("/m/a")), Disk(Path("/m/b"), Bus.VIRTIO, "b"))))
    assert only(root, "devices/disk/boot").attrib["order"] == "2"
    assert "bootindex=1" in arguments(root)[3]


@pytest.mark.parametrize(("version", "model"), [(TpmVersion.TPM_2_0, "tpm-crb"), (TpmVersion.TPM_1_2, "tpm-tis")])
def test_the_tpm_is_the_harnesss_own(version: TpmVersion, model: str) -> None:
    root = parsed(replace(MACHINE, tpm=Tpm(Path("/m/tpm"), version)))
    assert only(root, "devices/tpm").attrib["model"] == model
    assert only(root, "devices/tpm/backend").attrib["type"] == "external"
    assert only(root, "devices/tpm/backend/source").attrib["path"] == "/run/m/x/tpm.sock"


def test_no_tpm_is_no_device() -> None:
    assert not parsed(replace(MACHINE, tpm=None)).findall("devices/tpm")


@pytest.mark.parametrize(("up", "state"), [(True, "up"), (False, "down")])
def test_the_cable_is_in_or_out(up: bool, state: str) -> None:
    interface = only(parsed(replace(MACHINE, link_up=up)), "devices/interface")
    assert only(interface, "link").attrib["state"] == state
    assert interface.attrib["type"] == "user"
    assert only(interface, "rom").attrib["enabled"] == "no"
    # libvirt finds the card to change by comparing the whole element.
    assert ET.canonicalize(interface_xml(up), strip_text=True) == ET.canonicalize(
        ET.tostring(interface, encoding="unicode"), strip_text=True
    )


def test_consoles_have_sockets_and_logs() -> None:
    root = parsed()
    serial = only(root, "devices/serial")
    assert only(serial, "source").attrib == {"mode": "bind", "path": "/run/m/x/console.sock"}
    assert only(serial, "log").attrib["file"] == "/run/m/x/console.log"
    journal = only(root, "devices/console/target[@type='virtio']/..")
    assert only(journal, "source").attrib == {"mode": "bind", "path": "/run/m/x/journal.sock"}
    assert only(journal, "log").attrib["file"] == "/run/m/x/journal.log"
    channel = only(root, "devices/channel")
    assert only(channel, "target").attrib == {"type": "virtio", "name": SHELL_PORT}
    assert only(channel, "source").attrib["path"] == "/run/m/x/ssh.sock"


def test_fw_cfg_and_oem_strings_appear_only_when_asked_for() -> None:
    assert not parsed().findall("sysinfo")
    assert not parsed().findall("os/smbios")
    root = parsed(
        replace(MACHINE, fw_cfg=(("opt/com.coreos/config", Path("/m/x.ign")),), smbios_oem_strings=("a=<b>", "c"))
    )
    assert only(root, "os/smbios").attrib["mode"] == "sysinfo"
    assert [entry.text for entry in root.iterfind("sysinfo[@type='smbios']/oemStrings/entry")] == ["a=<b>", "c"]
    entry = only(root, "sysinfo[@type='fwcfg']/entry")
    assert entry.attrib == {"name": "opt/com.coreos/config", "file": "/m/x.ign"}


def test_nothing_that_no_scenario_needs() -> None:
    root = parsed()
    assert only(root, "devices/controller[@type='usb']").attrib["model"] == "none"
    assert only(root, "devices/memballoon").attrib["model"] == "none"
    for absent in ("graphics", "video", "input", "sound"):
        assert not root.findall(f"devices/{absent}")


def test_a_guest_may_reboot_but_a_crash_ends_it() -> None:
    root = parsed()
    assert only(root, "on_reboot").text == "restart"
    assert only(root, "on_crash").text == "destroy"


def test_a_disk_that_comes_late_names_no_slot_and_no_boot_order() -> None:
    late = ET.fromstring(hot_disk_xml(Disk(Path("/late.qcow2"), serial="late")))
    assert only(late, "source").attrib["file"] == "/late.qcow2"
    assert only(late, "target").attrib["bus"] == "virtio"
    assert late.findtext("serial") == "late"
    assert late.find("address") is None
    assert late.find("boot") is None


def test_a_card_on_a_segment_is_beside_the_machines_own_network() -> None:
    cards = (SegmentCard(Path("/s,1.sock"), "52:54:00:00:00:01"), SegmentCard(Path("/s2.sock"), "52:54:00:00:00:02"))
    root = parsed(replace(MACHINE, cards=cards))
    assert only(root, "devices/interface").attrib["type"] == "user"
    given = arguments(root)
    assert "stream,id=lab-segment0,server=off,addr.type=unix,addr.path=/s,,1.sock" in given
    card = "virtio-net-pci,netdev=lab-segment1,mac=52:54:00:00:00:02,romfile=,bus=pcie.0,addr=0x19"
    assert given[given.index("stream,id=lab-segment1,server=off,addr.type=unix,addr.path=/s2.sock") + 2] == card


def test_the_emulator_finds_its_order_in_its_environment() -> None:
    root = parsed(runtime=replace(RUNTIME, environment={"ORDER": '{"a": 1}'}))
    found = only(root, f"{{{QEMU_NAMESPACE}}}commandline/{{{QEMU_NAMESPACE}}}env")
    assert found.attrib == {"name": "ORDER", "value": '{"a": 1}'}
