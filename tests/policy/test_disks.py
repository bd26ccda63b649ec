"""The disks that a config names, in what order a machine has them, how large they are, and where a device lies."""

from typing import Any

import pytest

from harness.policy.disks import (
    IMAGE_END_MIB,
    DevicePlace,
    WantedDisk,
    disk_names,
    disk_of,
    link_name,
    own_node,
    place_of,
    wanted_disks,
)

BY_ID = "/dev/disk/by-id"
BY_PARTLABEL = "/dev/disk/by-partlabel"
GUID = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
COREOS = f"{BY_ID}/coreos-boot-disk"

Part = dict[str, Any]


def disk(device: str, *partitions: Part) -> dict[str, Any]:
    return {"device": device, "partitions": list(partitions)}


def luks(*devices: str) -> list[dict[str, str]]:
    return [{"name": f"v{number}", "device": device} for number, device in enumerate(devices)]


def wanted(*disks: dict[str, Any], **storage: Any) -> tuple[WantedDisk, ...]:
    return wanted_disks({"storage": {"disks": list(disks), **storage}})


def names(*disks: dict[str, Any], **storage: Any) -> list[tuple[str, str]]:
    return [(found.node, found.name) for found in wanted(*disks, **storage)]


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("/dev/sdb", ("/dev/sdb", 0)),
        ("/dev/sda12", ("/dev/sda", 12)),
        ("/dev/vdc7", ("/dev/vdc", 7)),
        ("/dev/nvme25n1", ("/dev/nvme25n1", 0)),
        ("/dev/nvme26n1", ("", 0)),
        ("/dev/nvme0n1p5", ("/dev/nvme0n1", 5)),
        ("/dev/nvme0n15", ("", 0)),
        (f"{BY_ID}/ata-Disk-part_1", (f"{BY_ID}/ata-Disk-part_1", 0)),
        (f"{BY_ID}/ata-Disk-part10", (f"{BY_ID}/ata-Disk", 10)),
        (f"{BY_ID}/dm-name-var", ("", 0)),
        ("/dev/mapper/var", ("", 0)),
        ("", ("", 0)),
    ],
)
def test_the_disk_and_the_number_of_the_partition_that_a_path_leads_to(device: str, found: tuple[str, int]) -> None:
    assert disk_of(device) == found


def test_disks_are_named_by_the_table_of_disks_first_and_by_what_lies_on_them() -> None:
    assert disk_names({}) == []
    assert disk_names(
        {
            "luks": [*luks("/dev/vdb1", "/dev/vdc", f"{BY_PARTLABEL}/var"), {"name": "nowhere"}],
            "filesystems": [{"device": "/dev/vdc"}, {"device": "/dev/vdd4"}],
            "raid": [{"name": "empty"}, {"name": "r", "devices": ["/dev/vde1", "/dev/vdf"]}],
            "disks": [{"device": "/dev/vdg"}, {"device": "/dev/vdb"}],
        }
    ) == [f"/dev/vd{letter}" for letter in "gbcdef"]


@pytest.mark.parametrize(
    ("config", "boot"),
    [
        ({}, "/dev/nvme0n1"),
        ({"storage": {}}, "/dev/nvme0n1"),
        # Fedora CoreOS's own name, before a partition called root.
        ({"disks": [disk("/dev/vdb", {"label": "root"})], "luks": luks(COREOS)}, COREOS),
        # The one with the partition of the system, by number or by label, of a mirror too.
        ({"disks": [disk("/dev/vda", {"label": "a"}), disk("/dev/vdb", {"number": 4})]}, "/dev/vdb"),
        ({"disks": [disk("/dev/vda", {"number": 5}), disk("/dev/sdb", {"label": "root"})]}, "/dev/sdb"),
        ({"disks": [disk("/dev/vda", {"number": 5}), disk("/dev/sdb", {"label": "root-1"})]}, "/dev/sdb"),
        # The first disk of a kind that has partitions, or is named first.
        ({"disks": [disk("/dev/vda"), disk("/dev/sda", {"number": 5})]}, "/dev/sda"),
        ({"luks": luks("/dev/sda5"), "filesystems": [{"device": "/dev/vda"}]}, "/dev/sda"),
        ({"luks": luks("/dev/vdb", "/dev/sda5")}, "/dev/sda"),
        # Others are named, so it is the first of their kind.
        ({"luks": luks(f"{BY_ID}/ata-A", "/dev/sdc")}, "/dev/sda"),
        ({"disks": [disk("/dev/vdc", {"number": 5})]}, "/dev/vda"),
        ({"luks": luks(f"{BY_ID}/ata-A")}, "/dev/nvme0n1"),
        ({"luks": luks(f"{BY_ID}/ata-A", f"{BY_ID}/virtio-b")}, "/dev/vda"),
    ],
)
def test_which_disk_is_the_one_with_the_system(config: dict[str, Any], boot: str) -> None:
    first = wanted_disks(config if "storage" in config else {"storage": config})[0]
    assert first.name == boot


@pytest.mark.parametrize(
    ("storage", "found"),
    [
        # Fedora CoreOS's own name and the node of the same disk are one; the node of another is another.
        (
            {"disks": [disk(COREOS, {"label": "a"}), disk("/dev/vda", {"label": "b"})], "luks": luks("/dev/vda4")},
            [("/dev/vda", COREOS)],
        ),
        ({"luks": luks(f"{COREOS}-part4", "/dev/vdb")}, [("/dev/vda", COREOS), ("/dev/vdb", "/dev/vdb")]),
        # Of any other name it is not known that it is that of the node: they are two.
        (
            {"disks": [disk(f"{BY_ID}/ata-A", {"label": "root"})], "luks": luks("/dev/nvme0n1")},
            [("/dev/vda", f"{BY_ID}/ata-A"), ("/dev/nvme0n1", "/dev/nvme0n1")],
        ),
        # Where the file names the first of every kind, it gets none of its own.
        (
            {
                "disks": [disk(f"{BY_ID}/ata-A", {"label": "root"})],
                "luks": luks("/dev/nvme0n1", "/dev/sda", "/dev/vda"),
            },
            [
                ("/dev/nvme0n1", f"{BY_ID}/ata-A"),
                *((node, node) for node in ("/dev/nvme0n1", "/dev/sda", "/dev/vda")),
            ],
        ),
        # A name by id becomes the next node that is free, of the kind of the others or of its own.
        (
            {"luks": luks("/dev/nvme1n1", f"{BY_ID}/ata-A", f"{BY_ID}/ata-B")},
            [
                ("/dev/nvme0n1", "/dev/nvme0n1"),
                ("/dev/nvme1n1", "/dev/nvme1n1"),
                ("/dev/nvme2n1", f"{BY_ID}/ata-A"),
                ("/dev/nvme3n1", f"{BY_ID}/ata-B"),
            ],
        ),
        (
            {"luks": luks(f"{BY_ID}/virtio-b", f"{BY_ID}/ata-A"), "disks": [disk("/dev/sda", {"number": 5})]},
            [("/dev/sda", "/dev/sda"), ("/dev/sdb", f"{BY_ID}/ata-A"), ("/dev/vda", f"{BY_ID}/virtio-b")],
        ),
        # The disk with the system has the kind of the first that is named by its node.
        ({"luks": luks(COREOS, "/dev/sdb")}, [("/dev/sda", COREOS), ("/dev/sdb", "/dev/sdb")]),
        ({"disks": [disk("/dev/vdb", {"number": 4})]}, [("/dev/vdb", "/dev/vdb")]),
        ({"luks": luks(COREOS)}, [("/dev/nvme0n1", COREOS)]),
        ({"luks": luks(COREOS, f"{BY_ID}/virtio-b")}, [("/dev/vda", COREOS), ("/dev/vdb", f"{BY_ID}/virtio-b")]),
        # In the order in which a kernel finds them: not that of their letters.
        (
            {"luks": luks("/dev/nvme10n1")},
            [(f"/dev/nvme{number}n1", f"/dev/nvme{number}n1") for number in range(11)],
        ),
        # In the order of their nodes, whatever that of the file; what a kernel must find before one is there, once.
        (
            {"luks": luks("/dev/vdd", "/dev/vdc", "/dev/sdb"), "disks": [disk("/dev/nvme0n1", {"number": 5})]},
            [
                (node, node)
                for node in ("/dev/nvme0n1", "/dev/sda", "/dev/sdb", "/dev/vda", "/dev/vdb", "/dev/vdc", "/dev/vdd")
            ],
        ),
    ],
)
def test_the_machines_disks_and_what_the_file_calls_them(storage: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert names(**storage) == found


def test_a_disk_has_the_partitions_that_the_file_makes_on_it() -> None:
    own, other = {"label": "a", "number": 5, "sizeMiB": 100}, {"label": "b", "sizeMiB": 200}
    boot, second, third = wanted(disk("/dev/vda", own), disk("/dev/vdc", other))
    assert (boot.partitions, second.partitions, third.partitions) == ((own,), (), (other,))
    assert (boot.mib, second.mib, third.mib) == (IMAGE_END_MIB + 101, 0, 202)
    assert [each.partitions for each in wanted(disk(COREOS, own), disk("/dev/vda", other))] == [(own, other)]
    assert wanted({"device": "/dev/vda"})[0].partitions == wanted(luks=luks("/dev/vda4"))[0].partitions == ()


@pytest.mark.parametrize(
    ("boot", "partitions", "mib"),
    [
        (True, [], IMAGE_END_MIB),
        (False, [], 1),
        (False, [{"sizeMiB": 300}, {"sizeMiB": 200}], 1 + 500),
        # What begins behind a gap ends behind it; what the file lets begin early follows what is there.
        (False, [{"sizeMiB": 300, "startMiB": 1000}, {"sizeMiB": 5, "startMiB": 7}], 1000 + 300 + 5),
        # One that takes what is left has room, one that is removed needs none.
        (False, [{"sizeMiB": 0}], 1 + 4096),
        (False, [{"sizeMiB": 10}, {}, {"sizeMiB": 20, "shouldExist": True}], 1 + 30 + 4096),
        (False, [{"shouldExist": True}], 1 + 4096),
        (False, [{"shouldExist": False}], 1),
        # The system's root has 1024 MiB already, and begins before the end of the image.
        (True, [{"number": 4, "sizeMiB": 2024}, {"label": "a", "sizeMiB": 100}], IMAGE_END_MIB + 1000 + 100),
        (True, [{"sizeMiB": 100}, {"label": "root", "sizeMiB": 1025}], IMAGE_END_MIB + 100 + 1),
        (True, [{"number": 4, "sizeMiB": 512}], IMAGE_END_MIB),
        (False, [{"number": 4, "label": "root", "sizeMiB": 2048}], 1 + 2048),
    ],
)
def test_the_mib_that_partitions_need(boot: bool, partitions: list[Part], mib: int) -> None:
    first, second = wanted(disk(COREOS, *partitions if boot else ()), disk("/dev/vdb", *() if boot else partitions))
    assert (first.mib, second.mib) == ((mib + 1, 2) if boot else (IMAGE_END_MIB + 1, mib + 1))


def numbers(*partitions: Part, boot: bool) -> dict[int, str]:
    found = WantedDisk("/dev/vda", "/dev/vda", partitions=partitions).numbers(boot=boot)
    return {number: part["label"] for number, part in found.items()}


def test_partitions_without_a_number_get_the_next_that_is_free_or_that_of_the_image() -> None:
    parts = ({"label": "a"}, {"number": 2, "label": "b"}, {"label": "c", "number": 0}, {"label": "root"})
    assert numbers(*parts, boot=False) == {1: "a", 2: "b", 3: "c", 4: "root"}
    assert numbers(*parts, boot=True) == {2: "b", 4: "root", 5: "a", 6: "c"}


def test_a_partition_that_is_removed_has_no_number() -> None:
    gone = {"label": "gone", "number": 5, "shouldExist": False}
    assert numbers(gone, {"label": "kept", "shouldExist": True}, boot=True) == {5: "kept"}


@pytest.mark.parametrize(
    ("device", "place"),
    [
        ("/dev/vda", DevicePlace(0, 0)),
        (f"{COREOS}-part4", DevicePlace(0, 4)),
        ("/dev/vdb3", DevicePlace(1, 3)),
        (f"{BY_ID}/virtio-c-part2", DevicePlace(2, 2)),
        ("/dev/vdc2", DevicePlace(2, 2)),
        (f"{BY_PARTLABEL}/first", DevicePlace(0, "first")),
        (f"{BY_PARTLABEL}/second", DevicePlace(1, "second")),
        (rf"{BY_PARTLABEL}/of\x20two", DevicePlace(1, "of two")),
        (f"/dev/disk/by-partuuid/{GUID.lower()}", DevicePlace(1, 3)),
        (f"/dev/disk/by-partuuid/{GUID}", DevicePlace(1, 3)),
        (f"/dev/disk/by-partuuid/{GUID[::-1]}", DevicePlace(0, 8)),
        # What no disk of the file has is a label of the image, on the first.
        (f"{BY_PARTLABEL}/root", DevicePlace(0, "root")),
        ("/dev/sdz", DevicePlace(0, "sdz")),
    ],
)
def test_where_a_device_lies(device: str, place: DevicePlace) -> None:
    disks = (
        WantedDisk(
            "/dev/vda", COREOS, partitions=({"number": 5}, {"label": "first"}, {"label": "vdb3"}, {"guid": GUID[::-1]})
        ),
        WantedDisk("/dev/vdb", "/dev/vdb", partitions=({"label": "second"}, {"label": "of two"}, {"guid": GUID})),
        WantedDisk("/dev/vdc", f"{BY_ID}/virtio-c"),
    )
    assert place_of(device, disks) == place


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("a b/c", r"a\x20b\x2fc"),
        ("A-z_0.#+:=@", "A-z_0.#+:=@"),
        ("größe–2", "größe–2"),
        ("\x7f\x80", "\\x7f\x80"),
        ("\t", r"\x09"),
    ],
)
def test_the_name_of_the_link_to_a_label(label: str, name: str) -> None:
    """As udev names them (systemd, src/basic/device-nodes.c: encode_devnode_name)."""
    assert link_name(label) == name


@pytest.mark.parametrize(
    ("device", "own"),
    [
        (f"{BY_ID}/ata-A", "/dev/nvme1n1"),
        (f"{BY_ID}/ata-A-part3", "/dev/nvme1n1p3"),
        (f"{COREOS}-part4", "/dev/sda4"),
        (COREOS, "/dev/sda"),
        # A disk of virtio-blk has the serial number that the file says, and a node is its own name.
        (f"{BY_ID}/virtio-c-part1", f"{BY_ID}/virtio-c-part1"),
        ("/dev/sdb2", "/dev/sdb2"),
        (f"{BY_PARTLABEL}/ROOT", f"{BY_PARTLABEL}/root"),
        ("/dev/disk/by-label/ROOT", "/dev/disk/by-label/root"),
        (f"{BY_PARTLABEL}/data", f"{BY_PARTLABEL}/data"),
    ],
)
def test_what_a_device_is_called_in_the_machine(device: str, own: str) -> None:
    disks = (
        WantedDisk("/dev/sda", COREOS, partitions=({"number": 5}, {"label": "data"})),
        WantedDisk("/dev/sdb", "/dev/sdb"),
        WantedDisk("/dev/vda", f"{BY_ID}/virtio-c"),
        WantedDisk("/dev/nvme1n1", f"{BY_ID}/ata-A"),
    )
    assert own_node(device, disks) == own


def test_a_partition_called_root_as_flatcars_is_not_the_images() -> None:
    device = f"{BY_PARTLABEL}/ROOT"
    assert own_node(device, (WantedDisk("/dev/vda", "/dev/vda", partitions=({"label": "ROOT"},)),)) == device


def test_a_serial_number_is_that_of_a_name_by_virtio() -> None:
    assert [found.serial for found in wanted(luks=luks("/dev/vdb", f"{BY_ID}/virtio-c"))] == ["", "", "c"]
