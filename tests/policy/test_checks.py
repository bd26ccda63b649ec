"""The rules about several keys at once, each alone."""

from typing import Any

import pytest
from policy.documents import document, mistakes

from harness.policy.checks import check
from harness.policy.variants import NEWEST, Variant

GUID = "01234567-89ab-cdef-0123-456789ABCDEF"
NO_GUID = "is not of the form 01234567-89ab-cdef-0123-456789abcdef"
ONE_LINE = "a name has no newline and no other control character"
OLDER = {keys: Variant(f"Butane fcos 1.{keys}.0", keys, keys - 1) for keys in range(3, 8)}

Section = dict[str, Any]


def noted(data: Section, variant: Variant = NEWEST) -> list[str]:
    """The mistakes of a file."""
    found = document(data, variant)
    check(found)
    return mistakes(found)


def storage(kind: str, *items: Section, variant: Variant = NEWEST) -> list[str]:
    """The mistakes of a file with such items, the kind left out."""
    head = f"storage.{kind}"
    found = noted({"storage": {kind: list(items)}}, variant)
    assert all(line.startswith(head) for line in found)
    return [line.removeprefix(head) for line in found]


def test_every_section_is_looked_at() -> None:
    found = noted(
        {
            "boot_device": {"layout": "x"},
            "storage": {
                "disks": [{"device": "a"}],
                "raid": [{"name": "a", "level": "9", "devices": []}],
                "luks": [{"name": "a/b", "device": "/dev/a"}],
                "filesystems": [{"device": "b"}],
                "files": [{"path": "c", "contents": {"compression": "xz", "source": "@TANG_URL@"}}],
            },
            "systemd": {"units": [{"name": "a"}]},
            "passwd": {"users": [{"name": "a b"}]},
            "kernel_arguments": {"should_exist": ["a", "a"]},
            "ignition": {"proxy": {"http_proxy": "a"}, "config": {"merge": [{}]}},
        }
    )
    assert [line.partition(": ")[0] for line in found] == [
        "boot_device.layout",
        "storage.disks[0].device",
        "storage.raid[0].level",
        "storage.luks[0].name",
        "storage.filesystems[0].device",
        "storage.files[0].path",
        "systemd.units[0].name",
        "passwd.users[0].name",
        "kernel_arguments.should_exist[1]",
        "ignition.proxy.http_proxy",
        "ignition.config.merge[0]",
        "storage.files[0].contents.compression",
        "storage.files[0].contents.source",
    ]
    assert noted({}) == []


# --- disks


def disks(*partitions: Section) -> list[str]:
    """The mistakes of a disk with such partitions."""
    found = storage("disks", {"device": "/dev/vda", "partitions": list(partitions)})
    assert all(line.startswith("[0].partitions") for line in found)
    return [line.removeprefix("[0].partitions") for line in found]


def test_a_disk_is_there_once_and_has_a_path() -> None:
    assert storage("disks", {"device": "/dev/vda"}, {"device": "/dev/vdb"}) == []
    assert storage("disks", {"device": "/dev/vda"}, {"device": "vda"}, {"device": "/dev/vda"}) == [
        "[2].device: the disk '/dev/vda' is there twice, first on line 1",
        "[1].device: expected an absolute path, found 'vda'",
    ]


def test_numbers_and_labels_are_there_once_on_a_disk() -> None:
    assert disks({"number": 1, "label": "a"}, {"number": 2, "label": "b"}) == []
    assert disks({"number": 0, "label": "a"}, {"number": 0, "label": "b"}) == []
    assert disks({"number": 1, "label": "a"}, {"number": 1, "label": "a"}) == [
        "[1].number: the number 1 is there twice, first on line 1",
        "[1].label: the label 'a' is there twice, first on line 1",
    ]
    part = {"number": 1, "label": "a"}
    one, two = ({"device": f"/dev/vd{letter}", "partitions": [part]} for letter in "ab")
    assert storage("disks", one, two) == []


def test_a_disk_has_room_for_128_partitions() -> None:
    many = [{"number": number % 128 + 1, "label": str(number)} for number in range(129)]
    assert disks(*many[:128]) == []
    overlapping = {"device": "/dev/vdb", "partitions": [{"number": n, "start_mib": 1, "size_mib": 1} for n in (1, 2)]}
    assert storage("disks", {"device": "/dev/vda", "partitions": many}, overlapping) == [
        "[0].partitions[128].number: the number 1 is there twice, first on line 1",
        "[0].partitions: a disk has at most 128 partitions",
        "[1].partitions[1]: overlaps an earlier partition",
    ]


@pytest.mark.parametrize(
    ("one", "two", "overlap"),
    [
        ((1, 9), (9, 1), True),
        ((9, 1), (1, 9), True),
        ((1, 8), (9, 1), False),
        ((9, 1), (1, 8), False),
        ((1, 1), (2, 1), False),
        ((5, 0), (5, 0), True),
        ((1, 99), (20, 1), True),
        ((1, 9), (5, 99), True),
        ((5, 99), (1, 9), True),
        ((0, 9), (5, 9), False),
        ((5, 9), (0, 9), False),
        ((5, None), (5, 9), False),
        ((5, 9), (5, None), False),
        ((None, 9), (1, 9), False),
    ],
)
def test_partitions_that_overlap(
    one: tuple[int | None, int | None], two: tuple[int | None, int | None], overlap: bool
) -> None:
    parts = [
        {"number": number}
        | ({} if start is None else {"start_mib": start})
        | ({} if size is None else {"size_mib": size})
        for number, (start, size) in enumerate((one, two), 1)
    ]
    assert disks(*parts) == (["[1]: overlaps an earlier partition"] if overlap else [])


def test_a_partition_that_is_removed_needs_numbers_on_its_disk() -> None:
    gone = {"number": 2, "should_exist": False}
    assert disks({"number": 1}, gone) == disks({"label": "a"}, {"number": 2, "should_exist": True}) == []
    assert disks({"label": "a"}, gone, {"number": 3, "should_exist": False}) == [
        "[1]: should_exist: false needs a number on every partition of the disk"
    ]


@pytest.mark.parametrize(
    ("partition", "why"),
    [
        ({"number": 1}, ""),
        ({"label": ""}, ""),
        ({}, ": a partition needs a number or a label"),
        ({"number": 0}, ": a partition needs a number or a label"),
        ({"number": 128}, ""),
        ({"number": 129}, ".number: a partition number is 1 to 128, or 0 for the next one"),
        ({"number": -1}, ".number: a partition number is 1 to 128, or 0 for the next one"),
        ({"number": 1, "size_mib": 0, "start_mib": 0}, ""),
        ({"number": 1, "size_mib": -1}, ".size_mib: cannot be negative; 0 means what is left"),
        ({"number": 1, "start_mib": -1}, ".start_mib: cannot be negative; 0 means what is left"),
        *(
            ({"number": 1, "should_exist": False, key: value}, f".{key}: cannot stand beside should_exist: false")
            for key, value in (
                *(("label", "a"), ("label", ""), ("type_guid", GUID), ("guid", GUID)),
                *(("start_mib", 0), ("size_mib", 0), ("size_mib", 9)),
            )
        ),
        ({"number": 1, "should_exist": False, "type_guid": "", "guid": ""}, ""),
        ({"number": 1, "should_exist": True, "label": "a", "size_mib": 9}, ""),
        ({"label": "a" * 36}, ""),
        ({"label": "é" * 18}, ""),
        ({"label": "é" * 18 + "a"}, ".label: a partition label has at most 36 characters and no colon"),
        ({"label": "a:b"}, ".label: a partition label has at most 36 characters and no colon"),
        ({"label": "a\nb"}, f".label: {ONE_LINE}"),
        ({"number": 1, "guid": GUID, "type_guid": GUID.lower()}, ""),
        ({"number": 1, "guid": ""}, ""),
        ({"number": 1, "guid": GUID[1:]}, f".guid: {GUID[1:]!r} {NO_GUID}"),
        ({"number": 1, "type_guid": "12"}, f".type_guid: '12' {NO_GUID}"),
    ],
)  # fmt: skip
def test_a_partition(partition: Section, why: str) -> None:
    assert disks({"number": 9}, partition) == ([f"[1]{why}"] if why else [])


# --- arrays


LEVELS = ("linear", "raid0", "0", "stripe", "raid1", "1", "mirror", "raid4", "4", "raid5", "5", "raid6", "6", "raid10")


def raid(**said: Any) -> Section:
    return {"name": "r", "level": "raid1", "devices": ["/dev/vda", "/dev/vdb"], **said}


@pytest.mark.parametrize("level", [*LEVELS, "10"])
def test_the_levels_that_mdadm_makes(level: str) -> None:
    assert storage("raid", raid(level=level, spares=0)) == []
    without = level in LEVELS[:4]
    assert storage("raid", raid(level=level, spares=1)) == ([f"[0].spares: {level} has no spares"] if without else [])


def test_an_array() -> None:
    assert storage("raid", raid(), raid(name="s")) == []
    assert storage("raid", raid(), raid()) == ["[1].name: the name 'r' is there twice, first on line 1"]
    assert storage("raid", raid(), raid(name="a\tb")) == [f"[1].name: {ONE_LINE}"]
    assert storage("raid", raid(), raid(name="s", level="raid9", spares=1)) == [
        "[1].level: 'raid9' is no level that mdadm makes: raid0, raid1, …"
    ]
    assert storage("raid", raid(), raid(name="s", devices=["/dev/vda", "vdb", "/dev/vda"])) == [
        "[1].devices[2]: the device '/dev/vda' is there twice, first on line 1",
        "[1].devices[1]: expected an absolute path, found 'vdb'",
    ]


# --- volumes


def luks(**said: Any) -> Section:
    return {"name": "a", "device": "/dev/vda", **said}


EMPTY_KEY = ".key_file: the key is empty, and cryptsetup takes none of no bytes"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, ""),
        ({"name": "b"}, ".name: the name 'b' is there twice, first on line 1"),
        ({"device": "/dev/vdb"}, ".device: the device '/dev/vdb' is there twice, first on line 1"),
        ({"name": "a/b"}, ".name: a name under /dev/mapper has no slash"),
        ({"name": "!~" + "a" * 125}, ""),
        *(
            ({"name": name}, ".name: a name under /dev/mapper has no blank and 127 ASCII characters at most")
            for name in ("a" * 128, "a b", "é", "a\x7f")
        ),
        ({"label": "a" * 47}, ""),
        ({"label": "é" * 23 + "aa"}, ".label: a LUKS label has at most 47 characters"),
        ({"device": "vda"}, ".device: expected an absolute path, found 'vda'"),
        ({"uuid": GUID}, ""),
        ({"uuid": "1"}, f".uuid: '1' {NO_GUID}"),
        ({"open_options": ["a", "b"], "options": ["a", "a"]}, ""),
        ({"open_options": ["a", "b", "a"]}, ".open_options[2]: the option 'a' is there twice, first on line 1"),
        ({"clevis": {"tang": [{"url": "http://a", "advertisement": "x"}]}},
         ".clevis.tang[0].advertisement: not JSON: Expecting value: line 1 column 1 (char 0)"),
        ({"cex": {"enabled": True}}, ""),
        ({"cex": {"enabled": True}, "clevis": {}, "key_file": {"compression": ""}}, ""),
        ({"cex": {"enabled": False}, "clevis": {"tpm2": True}, "key_file": {"inline": "a"}}, ""),
        ({"cex": {"enabled": True}, "clevis": {"tpm2": True}}, ".cex: cannot stand beside clevis"),
        *(
            ({"cex": {"enabled": True}, "key_file": {key: "data:,a"}}, ".cex: cannot stand beside key_file")
            for key in ("inline", "local", "source")
        ),
        ({"key_file": {"inline": "a"}}, ""),
        ({"key_file": {"source": "data:,a"}}, ""),
        ({"key_file": {"inline": ""}}, EMPTY_KEY),
        ({"key_file": {"source": "data:,"}}, EMPTY_KEY),
    ],
)  # fmt: skip
def test_a_volume(said: Section, why: str) -> None:
    other = luks(name="b", device="/dev/vdb")
    assert storage("luks", other, luks(**said)) == ([f"[1]{why}"] if why else [])


# --- file systems


FORMATS = {"ext4": 16, "btrfs": 256, "xfs": 12, "swap": 15, "vfat": 11, "none": 256}


@pytest.mark.parametrize(("form", "limit"), FORMATS.items())
def test_a_format_and_how_long_its_labels_are(form: str, limit: int) -> None:
    fs = {"device": "/dev/vda", "format": form}
    assert storage("filesystems", fs | {"label": "é" * (limit // 2) + "a" * (limit % 2)}) == []
    assert storage("filesystems", {"device": "/dev/vdb"}, fs | {"label": "a" * (limit + 1)}) == [
        f"[1].label: a label of {form} has at most {limit} bytes"
    ]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, []),
        ({"format": "", "with_mount_unit": False, "label": "", "wipe_filesystem": False}, []),
        ({"format": "ext5"}, [".format: 'ext5' is not one of ext4, btrfs, xfs, swap, vfat, none"]),
        ({"path": "/var"}, [": format is missing"]),
        ({"wipe_filesystem": True}, [": format is missing"]),
        ({"label": "a" * 257}, [": format is missing", ".label: a label of a file system has at most 256 bytes"]),
        ({"format": "xfs", "device": "vdb"}, [".device: expected an absolute path, found 'vdb'"]),
        ({"format": "xfs", "path": "var"}, [".path: expected an absolute path, found 'var'"]),
        ({"format": "xfs", "path": ""}, []),
        ({"format": "xfs", "label": "a\n"}, [f".label: {ONE_LINE}"]),
        ({"format": "xfs", "uuid": "12"}, [f".uuid: '12' {NO_GUID}"]),
        ({"format": "xfs", "uuid": GUID}, []),
        ({"format": "vfat", "uuid": "ABCD-EF01"}, []),
        ({"with_mount_unit": True}, [".with_mount_unit: needs a format"]),
        ({"format": "xfs", "with_mount_unit": True}, [".with_mount_unit: needs a path"]),
        ({"format": "swap", "with_mount_unit": True}, []),
        *(({"format": "xfs", "with_mount_unit": True, "path": path}, []) for path in ("/etc", "/var/a", "/etc/b")),
        *(({"format": "xfs", "path": path}, []) for path in ("/srv", "/")),
        *(
            ({"format": "xfs", "with_mount_unit": True, "path": path},
             [".path: must be under /etc or /var beside with_mount_unit, since Butane fcos 1.6.0"])
            for path in ("/srv", "/", "/variable", "/usr/var")
        ),
        ({"format": "swap", "with_mount_unit": True, "path": "/srv"},
         [".path: must be under /etc or /var beside with_mount_unit, since Butane fcos 1.6.0"]),
    ],
)  # fmt: skip
def test_a_file_system(said: Section, why: list[str]) -> None:
    assert storage("filesystems", {"device": "/dev/vda"}, {"device": "/dev/vdb", **said}) == [
        f"[1]{one}" for one in why
    ]


def test_a_device_has_one_file_system() -> None:
    assert storage("filesystems", {"device": "/dev/vda"}, {"device": "/dev/vda"}) == [
        "[1].device: the device '/dev/vda' is there twice, first on line 1"
    ]


@pytest.mark.parametrize(
    ("said", "keys", "why"),
    [
        ({"format": "none"}, 4, ""),
        ({"format": "none"}, 3, ".format: none came with Ignition spec 3.3.0; this file is Butane fcos 1.3.0"),
        ({"format": "swap", "with_mount_unit": True}, 4, ""),
        ({"format": "swap", "with_mount_unit": True}, 3,
         ".with_mount_unit: for swap it came with Butane fcos 1.4.0; this file is Butane fcos 1.3.0"),
        ({"format": "xfs", "with_mount_unit": True, "path": "/srv"}, 5, ""),
        ({"format": "xfs", "with_mount_unit": True, "path": "/srv"}, 6,
         ".path: must be under /etc or /var beside with_mount_unit, since Butane fcos 1.6.0"),
        ({"format": "xfs", "with_mount_unit": True}, 3, ".with_mount_unit: needs a path"),
    ],
)  # fmt: skip
def test_what_came_with_a_later_version(said: Section, keys: int, why: str) -> None:
    found = storage("filesystems", {"device": "/dev/vda", **said}, variant=OLDER[keys])
    assert found == ([f"[0]{why}"] if why else [])


def test_flatcar_mounts_where_it_likes() -> None:
    fs = {"device": "/dev/vda", "format": "xfs", "with_mount_unit": True, "path": "/srv"}
    assert storage("filesystems", fs, variant=Variant("Butane flatcar 1.2.0-experimental", 7, 6)) == []


# --- users, arguments, proxies, other configs


@pytest.mark.parametrize("kind", ["users", "groups"])
def test_names_of_users_and_groups(kind: str) -> None:
    def named(*names: str) -> list[str]:
        return noted({"passwd": {kind: [{"name": name} for name in names]}})

    assert named("a", "b-c.d$", "ä" * 32) == []
    assert named("b", "a", "b") == [f"passwd.{kind}[2].name: the name 'b' is there twice, first on line 1"]
    for wrong in ("a b", "a:b", "a/b", "a,b", "a\x1f", "a" * 33):
        assert named("a", wrong) == [f"passwd.{kind}[1].name: no name that useradd(8) would take"]
    for key in ("ssh_authorized_keys", "groups"):
        items = [{"name": "a", key: ["k", "l"]}, {"name": "b", key: ["k", "l", "k"]}]
        (found,) = noted({"passwd": {kind: items}})
        assert found == f"passwd.{kind}[1].{key}[2]: the entry 'k' is there twice, first on line 1"


def test_kernel_arguments_are_there_once() -> None:
    assert noted({"kernel_arguments": {"should_exist": ["a", "b"], "should_not_exist": ["c"]}}) == []
    assert noted({"kernel_arguments": {"should_exist": ["a"], "should_not_exist": ["b", "a"]}}) == [
        "kernel_arguments.should_not_exist[1]: the argument 'a' is there twice, first on line 1"
    ]


def test_proxies_are_asked_by_http() -> None:
    fine = {"http_proxy": "https://p", "https_proxy": "http://p", "no_proxy": ["x"]}
    assert noted({"ignition": {"proxy": fine}}) == []
    assert set(noted({"ignition": {"proxy": {"http_proxy": "p", "https_proxy": "ftp://p"}}})) == {
        "ignition.proxy.http_proxy: expected an http or https url, found 'p'",
        "ignition.proxy.https_proxy: expected an http or https url, found 'ftp://p'",
    }


def test_a_config_that_is_merged_is_given_somehow() -> None:
    given = [{"inline": ""}, {"local": "a"}, {"source": "http://a"}]
    assert noted({"ignition": {"config": {"merge": given}}}) == []
    assert noted({"ignition": {"config": {"merge": [*given, {"source": ""}, {"compression": ""}]}}}) == [
        f"ignition.config.merge[{index}]: needs inline, local or source" for index in (3, 4)
    ]


def test_a_placeholder_is_filled_in_a_clevis_section_alone() -> None:
    pin = {"tang": [{"url": "@TANG_URL@", "thumbprint": "@TANG_THUMBPRINT@"}]}
    fine = {
        "storage": {"luks": [luks(clevis=pin)]},
        "boot_device": {"luks": pin},
        "ignition": {"config": {"merge": [{"inline": "@TANG_URL@"}]}},
        "kernel_arguments": {"should_exist": ["@TANG_OTHER@"]},
    }
    assert noted(fine) == []
    assert noted({"kernel_arguments": {"should_exist": ["a", "b=@TANG_URL:two@"]}}) == [
        "kernel_arguments.should_exist[1]: @TANG_URL:two@ is filled only in a clevis section, "
        "not in kernel_arguments.should_exist[1]"
    ]
    (found,) = noted({"boot_device": {"layout": "x86_64", "mirror": {"devices": ["/dev/vda", "/dev/@TANG_URL@"]}}})
    assert found.endswith("not in boot_device.mirror.devices[1]")
