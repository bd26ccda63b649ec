"""Each rule about what a file asks of a machine, alone: what no machine could do, and what this guest cannot have."""

from typing import Any

import pytest
from policy.documents import document, mistakes

from harness.policy.before_boot import check, obstacles
from harness.policy.pins import Pin, Sss, TangPin, Tpm2Pin
from harness.policy.variants import Variant

BY_ID = "/dev/disk/by-id"
BY_PARTLABEL = "/dev/disk/by-partlabel"
BY_PARTUUID = "/dev/disk/by-partuuid"
COREOS = f"{BY_ID}/coreos-boot-disk"
GUID = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

OWN = "is one of the system's own partitions: 1 BIOS-BOOT, 2 EFI-SYSTEM, 3 boot, 4 root"
NO_PARTITION = "storage.disks makes no such partition"
NO_LABEL = "storage.disks makes no partition of this label"
NO_DISK = "no disk that a machine can have: /dev/sda, /dev/vda, /dev/nvme0n1, by-id"
WHOLE = "is the whole disk that the machine starts from, the system with it"
NOT_WIPED = "is missing: the partition has the system's file system, and Ignition stops at what it is not told to wipe"
BLANK = (
    "no such device: the laboratory's disks are blank, but for what the file makes (/dev/sda, by-id, by-partlabel, …)"
)
MOVED = "the first boot keeps the system for a file system with label: {} and wipe_filesystem: true, else it is gone"

WIPED = "wipe_table: would take the system away: this is the disk that the machine starts"
TOO_LARGE = "partitions: needs a disk of {} TiB; here one has 2 at most"
SHRUNK = "size_mib: the system's root has 1024 MiB and does not shrink"
TOO_EARLY = "start_mib: starts inside the system's partitions, which end at 1218"
ELSEWHERE = "root is moved to where it was, or to a mirror by boot_device.mirror, and to no other place"

Section = dict[str, Any]


def luks(device: str, **more: Any) -> Section:
    return {"name": "v", "device": device, "wipeVolume": True, **more}


def disk(device: str, *partitions: Section, **more: Any) -> Section:
    return {"device": device, "partitions": list(partitions), **more}


def told(storage: Section, **data: Any) -> list[str]:
    """The mistakes of a file with that storage, and whatever else it has."""
    found = document({"storage": storage, **data})
    check(found, {"storage": storage})
    return mistakes(found)


def told_of(device: str, kind: str, *disks: Section, **storage: Any) -> str:
    """The one mistake about a device of a volume or a file system, or nothing."""
    found = told({"disks": list(disks), kind: [luks(device)], **storage})
    head = f"storage.{kind}[0].device: "
    assert all(one.startswith(head) for one in found)
    return " | ".join(one.removeprefix(head) for one in found)


def test_a_machine_has_as_many_disks_as_there_are_letters() -> None:
    def named(count: int) -> Section:
        return {"luks": [luks(f"{BY_ID}/ata-{number}", name=str(number)) for number in range(count)]}

    assert told(named(25)) == []
    assert told(named(26)) == ["storage: names 26 disks; a machine here has 25 beside the system's"]
    assert told(named(1000)) == ["storage: names 1,000 disks; a machine here has 25 beside the system's"]
    assert told({}) == []


@pytest.mark.parametrize(
    ("device", "disks", "why"),
    [
        (f"{BY_PARTLABEL}/a", [disk("/dev/vda", {"label": "a"})], ""),
        (f"{BY_PARTLABEL}/a", [disk("/dev/vda", {"number": 5}), disk("/dev/vdb", {"label": "a"})], ""),
        (f"{BY_PARTLABEL}/a", [], NO_LABEL),
        (f"{BY_PARTLABEL}/a", [disk("/dev/vda", {"number": 5}, {"label": "b"}, {"label": "c"})],
         f"{NO_LABEL}; it makes b, c"),
        (f"{BY_PARTLABEL}/a", [disk("/dev/vda", {"label": "a", "shouldExist": False})], NO_LABEL),
        (f"{BY_PARTLABEL}/a", [disk("/dev/vda", {"label": "a", "shouldExist": True})], ""),
        (f"{BY_PARTLABEL}/a b", [disk("/dev/vda", {"label": "a b"})], r"is called a\x20b there"),
        (rf"{BY_PARTLABEL}/a\x20b", [disk("/dev/vda", {"label": "a b"})], ""),
        (f"{BY_PARTLABEL}/root", [], ""),
        (f"{BY_PARTLABEL}/ROOT", [], ""),
        (f"{BY_PARTLABEL}/boot", [], OWN),
        (f"{BY_PARTUUID}/{GUID.lower()}", [disk("/dev/vda", {"number": 5}, {"number": 6, "guid": GUID})], ""),
        (f"{BY_PARTUUID}/{GUID}", [disk("/dev/vda", {"number": 6, "guid": GUID.lower()})], ""),
        (f"{BY_PARTUUID}/{GUID}", [disk("/dev/vda", {"number": 6})], NO_PARTITION),
        ("/dev/md/r", [], "storage.raid makes no such array"),
        ("/dev/mapper/other", [], "storage.luks has no volume of this name"),
        ("/dev/disk/by-label/any", [], ""),
        ("/dev/vda", [], WHOLE),
        (COREOS, [disk("/dev/vdb")], WHOLE),
        ("/dev/vdb", [], ""),
        ("/dev/vdb", [disk("/dev/vdb")], ""),
        ("/dev/vdb", [disk("/dev/vdb", {"label": "a"})], "has partitions, and cannot be taken as a whole"),
        ("/dev/vda3", [], OWN),
        ("/dev/vda1", [], OWN),
        ("/dev/vda2", [], OWN),
        ("/dev/vda4", [], ""),
        ("/dev/vda5", [], NO_PARTITION),
        ("/dev/vda5", [disk("/dev/vda", {"label": "a"})], ""),
        ("/dev/vdb1", [disk("/dev/vdb", {"label": "a"})], ""),
        ("/dev/vdb4", [disk("/dev/vdb", {"label": "a"})], NO_PARTITION),
        (f"{BY_ID}/ata-A-part1", [disk("/dev/vda", {"number": 5}), disk(f"{BY_ID}/ata-A", {"number": 1})], ""),
        (f"{BY_ID}/ata-A-part2", [disk("/dev/vda", {"number": 5}), disk(f"{BY_ID}/ata-A", {"number": 1})],
         NO_PARTITION),
        ("/dev/vda5", [disk(COREOS, {"number": 5}), disk("/dev/vdb")], ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["luks", "filesystems"])
def test_what_a_volume_or_a_file_system_can_lie_on(kind: str, device: str, disks: list[Section], why: str) -> None:
    assert told_of(device, kind, *disks) == why


def test_the_systems_own_partitions_may_be_made_anew_with_another_file_system_and_not_be_encrypted() -> None:
    made = disk("/dev/vdb", {"label": "EFI-SYSTEM"})
    assert told_of(f"{BY_PARTLABEL}/EFI-SYSTEM", "filesystems", made) == ""
    assert told_of(f"{BY_PARTLABEL}/EFI-SYSTEM", "luks", made) == OWN


def test_what_the_file_itself_makes_is_there() -> None:
    raid = [{"name": "r", "devices": [f"{BY_PARTLABEL}/a"]}]
    made = disk("/dev/vda", {"label": "a"})
    assert told_of("/dev/md/r", "luks", made, raid=raid) == ""
    assert told_of("/dev/mapper/other", "filesystems", made, luks=[luks(f"{BY_PARTLABEL}/a", name="other")]) == ""


def test_the_members_of_an_array_are_looked_at() -> None:
    raid = [
        {"name": "none", "devices": []},
        {"name": "r", "devices": [f"{BY_PARTLABEL}/boot", f"{BY_PARTLABEL}/a", "/dev/vda5"]},
    ]
    made = disk("/dev/vda", {"label": "a", "number": 6}, {"label": "boot", "number": 3})
    found = told({"disks": [made], "raid": raid})
    assert found == [
        f"storage.disks[0].partitions[1]: {OWN}",
        f"storage.raid[1].devices[0]: {OWN}",
        f"storage.raid[1].devices[2]: {NO_PARTITION}",
    ]


@pytest.mark.parametrize(
    "device",
    [
        *("/dev/vda4", "/dev/sda4", "/dev/nvme0n1p4", f"{COREOS}-part4"),
        *(f"{by}/{root}" for by in (BY_PARTLABEL, "/dev/disk/by-label") for root in ("root", "ROOT")),
    ],
)
def test_ignition_has_to_be_told_to_wipe_the_systems_root(device: str) -> None:
    assert told({"luks": [luks(device, wipeVolume=False)]}) == [f"storage.luks[0].wipe_volume: {NOT_WIPED}"]
    assert told({"luks": [luks(device)]}) == []


@pytest.mark.parametrize("device", ["/dev/vda5", "/dev/vdb4", f"{BY_PARTLABEL}/a"])
def test_another_partition_has_nothing_to_wipe(device: str) -> None:
    disks = [disk("/dev/vda", {"number": 5, "label": "a"}), disk("/dev/vdb", {"number": 4})]
    assert told({"disks": disks[::-1], "luks": [luks(device, wipeVolume=False)]}) == []


@pytest.mark.parametrize(
    ("found", "mistake"),
    [
        (disk("/dev/vdb", {"size": 1}), ""),
        (disk(f"{BY_ID}/ata-A"), ""),
        (disk("/dev/disk/by-path/pci-1"), f"device: {NO_DISK}"),
        (disk("/dev/hda"), f"device: {NO_DISK}"),
        (disk("/dev/vda", wipeTable=True), WIPED),
        (disk("/dev/vda", wipeTable=False), ""),
        (disk("/dev/vdb", wipeTable=True), ""),
        (disk("/dev/vdb", {"number": 1, "sizeMiB": 2**21 - 2}), ""),
        (disk("/dev/vdb", {"number": 1, "sizeMiB": 2**21 - 1}), TOO_LARGE.format(2.0)),
        (disk("/dev/vdb", {"number": 1, "sizeMiB": 5 * 2**19 + 2**21}), TOO_LARGE.format(4.5)),
        # Those of the system.
        *((disk("/dev/vda", {"number": number}), f"partitions[0]: {OWN}") for number in (1, 2, 3)),
        (disk("/dev/vda", {"number": 5}, {"label": "boot"}), f"partitions[1]: {OWN}"),
        (disk("/dev/vda", {"label": "root"}), ""),
        (disk("/dev/vda", {"number": 4}), ""),
        (disk("/dev/vdb", {"number": 1, "label": "boot", "startMiB": 1}), ""),
        # Where a partition begins.
        (disk("/dev/vda", {"number": 5, "startMiB": 1217}), f"partitions[0].{TOO_EARLY}"),
        (disk("/dev/vda", {"label": "a", "startMiB": 1}), f"partitions[0].{TOO_EARLY}"),
        (disk("/dev/vda", {"number": 5, "startMiB": 1218}), ""),
        (disk("/dev/vda", {"number": 5, "startMiB": 0}), ""),
        (disk("/dev/vda", {"number": 4, "startMiB": 200}), ""),
        # The size of the root.
        (disk("/dev/vda", {"number": 4, "sizeMiB": 1023}), f"partitions[0].{SHRUNK}"),
        (disk("/dev/vda", {"label": "root", "sizeMiB": 1}), f"partitions[0].{SHRUNK}"),
        (disk("/dev/vda", {"number": 4, "sizeMiB": 1024}), ""),
        (disk("/dev/vda", {"number": 4, "sizeMiB": 0}), ""),
        (disk("/dev/vda", {"number": 5, "sizeMiB": 10}), ""),
    ],
)  # fmt: skip
def test_a_disk_and_its_partitions(found: Section, mistake: str) -> None:
    assert told({"disks": [found]}) == ([f"storage.disks[0].{mistake}"] if mistake else [])


def test_a_mirror_makes_the_systems_partitions_anew() -> None:
    devices = ["/dev/vda", "/dev/vdb"]
    parts: list[Section] = [
        {"label": "esp-1", "number": 2},
        {"label": "root-1", "sizeMiB": 512, "number": 4},
        {"number": 5},
    ]
    disks = [disk(device, *parts, wipeTable=True) for device in devices]
    assert told({"disks": disks}, boot_device={"mirror": {"devices": devices}}) == []
    assert told({"disks": disks}) == [
        f"storage.disks[0].{WIPED}",
        f"storage.disks[0].partitions[0]: {OWN}",
        f"storage.disks[0].partitions[1].{SHRUNK}",
    ]


def test_what_the_file_does_not_say_itself_is_told_where_it_comes_from() -> None:
    config = {"storage": {"luks": [luks("/dev/vda")]}}
    for data, place in (
        ({"boot_device": {"luks": {}}}, "boot_device"),
        ({"storage": {"luks": [luks("/dev/vdb")]}}, "ignition.config.storage.luks[/dev/vda]"),
        ({}, "ignition.config.storage.luks[/dev/vda]"),
    ):
        found = document(data)
        check(found, config)
        assert mistakes(found) == [f"{place}.device: {WHOLE}"]


def hindered(
    storage: Section, *trees: Pin | None, ignition: Section | None = None, variant: Variant | None = None, **data: Any
) -> list[str]:
    """What the guest cannot have of a file with that storage."""
    found = document({"storage": storage, **data}, *([variant] if variant else []))
    config = {"storage": storage, "ignition": ignition or {}}
    each = obstacles(found, config, trees or [None for _ in storage.get("luks", [])])
    head = "mine.bu:1: "
    assert all(one.startswith(head) for one in each)
    return [one.removeprefix(head) for one in each]


ROOT = {"device": "/dev/mapper/v", "format": "xfs", "label": "root", "wipeFilesystem": True}
FLATCAR = Variant("Butane flatcar 1.1.0", 5, 4)


@pytest.mark.parametrize(
    ("device", "hindrance"),
    [
        ("/dev/vda5", ""),
        (f"{BY_ID}/virtio-a", ""),
        ("/dev/mapper/a", ""),
        ("/dev/md/a", ""),
        (f"{BY_PARTLABEL}/a", ""),
        (f"{BY_PARTUUID}/{GUID}", ""),
        ("/dev/vg0/a", BLANK),
        ("/dev/disk/by-label/boot", ""),
        ("/dev/disk/by-label/of-v", ""),
        ("/dev/disk/by-label/of-fs", ""),
        ("/dev/disk/by-label/other", BLANK),
        ("/dev/disk/by-uuid/1", ""),
        ("/dev/disk/by-uuid/2", ""),
        ("/dev/disk/by-uuid/3", BLANK),
        ("/dev/disk/by-path/1", BLANK),
    ],
)
@pytest.mark.parametrize("kind", ["luks", "filesystems"])
def test_a_device_that_the_guest_has_or_the_file_makes(kind: str, device: str, hindrance: str) -> None:
    storage: Section = {
        "luks": [luks("/dev/vdb", label="of-v", uuid="1")],
        "filesystems": [{"device": "/dev/vdc", "label": "of-fs", "uuid": "2"}],
    }
    storage[kind].append({"name": "w", "device": device, "label": "other", "uuid": "3"})
    assert hindered(storage) == ([f"storage.{kind}[1].device: {hindrance}"] if hindrance else [])


@pytest.mark.parametrize(
    ("storage", "hindrances"),
    [
        ({}, []),
        ({"disks": [disk("/dev/sdb", {"number": 4})]},
         ["storage.disks[0].device: the disk with the system is the first of its kind here"]),
        ({"disks": [disk("/dev/nvme0n1", {"number": 4})]}, []),
        ({"disks": [disk("/dev/nvme1n1", {"number": 4})]},
         ["storage.disks[0].device: the disk with the system is the first of its kind here"]),
        ({"raid": [{"name": "r", "level": "raid1", "devices": []}, {"name": "s", "level": "raid0", "devices": []}]},
         ["storage.raid[1].level: the guest makes arrays of the level raid1 alone"]),
        ({"luks": [luks("/dev/vdb", cex={"enabled": True})]},
         ["storage.luks[0]: cex needs the crypto card of an s390x machine"]),
        ({"luks": [luks("/dev/vdb", cex={"enabled": False})]}, []),
        *(
            ({"luks": [luks("/dev/vdb", options=options)]},
             ["storage.luks[0].options: a LUKS1 header: the laboratory reads those of LUKS2 alone"])
            for options in (["--type", "luks1"], ["--type=luks1"], ["-M", "luks1"], ["-q", "-Mluks1"])
        ),
        ({"luks": [luks("/dev/vdb", options=["--type", "luks2"])]}, []),
        # Root, which the first boot moves for a file system that says so.
        ({"luks": [luks("/dev/vda4")]}, [f"storage.luks[0]: root is not moved into it: {MOVED.format('root')}"]),
        ({"luks": [luks("/dev/vda4")], "filesystems": [ROOT]}, []),
        ({"luks": [luks("/dev/vda4")], "filesystems": [ROOT | {"device": "/dev/mapper/w"}]},
         [f"storage.luks[0]: root is not moved into it: {MOVED.format('root')}",
          f"storage.filesystems[0]: {ELSEWHERE}"]),
        ({"luks": [luks("/dev/vdb")], "filesystems": [ROOT]},
         [f"storage.filesystems[0]: {ELSEWHERE}"]),
        ({"luks": [luks("/dev/md/r")], "raid": [{"name": "r", "level": "raid1", "devices": ["/dev/vda4", "/dev/vdb"]}],
          "filesystems": [ROOT]},
         [f"storage.filesystems[0]: {ELSEWHERE}"]),
        ({"filesystems": [ROOT | {"device": "/dev/vda4"}]}, []),
        ({"filesystems": [ROOT | {"device": "/dev/vda4", "format": "vfat"}]},
         ["storage.filesystems[0].format: the guest's root is one of ext4, xfs"]),
        ({"filesystems": [{"device": "/dev/vda4", "format": "xfs", "wipeFilesystem": True}]},
         [f"storage.filesystems[0]: root is not moved to it: {MOVED.format('root')}"]),
        ({"filesystems": [{"device": "/dev/vda4", "format": "xfs"}]}, []),
        ({"filesystems": [{"device": "/dev/vdb", "format": "xfs", "wipeFilesystem": True}]}, []),
        # Formats.
        *(({"filesystems": [{"device": "/dev/vdb", "format": form}]}, [])
          for form in ("ext4", "xfs", "vfat", "swap", "none", "", None)),
        ({"filesystems": [{"device": "/dev/vdb", "format": "btrfs"}]},
         ["storage.filesystems[0].format: the guest has neither tools nor a module for btrfs"]),
    ],
)  # fmt: skip
def test_what_the_guest_cannot_have(storage: Section, hindrances: list[str]) -> None:
    assert hindered(storage) == hindrances


def test_a_mirror_of_boot_device_may_hold_root() -> None:
    storage = {"luks": [luks("/dev/vdb")], "filesystems": [ROOT]}
    assert hindered(storage, boot_device={"mirror": {"devices": ["/dev/vda", "/dev/vdb"]}}) == []


def test_flatcars_root_has_another_name() -> None:
    moved = f"storage.luks[0]: root is not moved into it: {MOVED.format('ROOT')}"
    assert hindered({"luks": [luks("/dev/vda4")]}, variant=FLATCAR) == [moved]


NOT_RUN = "no guest trusts a certificate of the laboratory"
NO_CA_KEY = (
    "the file brings its CA's certificate, not the key that would sign one for a server here; "
    "and clevis asks by curl, which takes no CA from ignition.security.tls"
)
RUN = "write @TANG_URL@ in its place, and the laboratory runs it"
HTTPS = TangPin("https://a", "https://a", "t")


@pytest.mark.parametrize(
    ("tree", "ignition", "hindrance"),
    [
        (None, {}, ""),
        (Tpm2Pin(), {}, ""),
        (TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@"), {}, ""),
        (TangPin("tang", "http://10.0.2.2:7500", "@TANG_THUMBPRINT@"), {}, ""),
        (Sss(1, (Tpm2Pin(), HTTPS)), {}, f"no guest reaches https://a: {NOT_RUN}; {RUN}"),
        (HTTPS, {"security": {"tls": {"certificateAuthorities": [{"source": "data:,a"}]}}},
         f"no guest reaches https://a: {NO_CA_KEY}; {RUN}"),
        (HTTPS, {"security": {"tls": {"certificateAuthorities": []}}}, f"no guest reaches https://a: {NOT_RUN}; {RUN}"),
    ],
)  # fmt: skip
def test_a_server_that_no_guest_reaches(tree: Pin | None, ignition: Section, hindrance: str) -> None:
    storage = {"luks": [luks("/dev/vdb", name="other"), luks("/dev/vdc")]}
    found = hindered(storage, None, tree, ignition=ignition)
    assert found == ([f"storage.luks[1]: {hindrance}"] if hindrance else [])


def test_what_would_be_fetched_from_elsewhere() -> None:
    storage = {"luks": [luks("/dev/vdb", keyFile={"source": "https://a/k"}), luks("/dev/vdc", name="w", keyFile={})]}
    named = {"config": {"merge": [{"source": "https://a/b.ign"}]}}
    key = "storage.luks[0].key_file: no guest reaches https://a/k; put the key into a file beside this one: local"
    beside = (
        "ignition.config: no guest reaches https://a/b.ign; save that config beside this file, and name it with local"
    )
    assert hindered(storage, ignition=named) == [key, beside]
    written = "write what it says into this file, or give it as a data URL"
    (found,) = hindered({}, ignition=named, variant=Variant("Ignition 3.3.0", 3, 3, is_ignition=True))
    assert found == f"ignition.config: no guest reaches https://a/b.ign; {written}"
