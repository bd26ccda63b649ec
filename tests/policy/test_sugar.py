"""What Butane writes for a user, section by section (tests/policy/test_corpus.py holds whole files to the real one)."""

import shutil
import subprocess
from typing import Any

import pytest

from harness.policy import urls
from harness.policy.sugar import boot_device, grub, mount_units, systemd_escape_path

PARTLABEL = "/dev/disk/by-partlabel"
BIOS = "21686148-6449-6E6F-744E-656564454649"
PREP = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"
RESERVED = "8DA63339-0007-60C0-C436-083AC8230908"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


def filesystem(device: str, form: str, label: str) -> dict[str, Any]:
    return {"device": device, "format": form, "label": label, "wipeFilesystem": True}


def luks(device: str, **more: Any) -> dict[str, Any]:
    return {"device": device, "label": "luks-root", "name": "root", "wipeVolume": True, **more}


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"layout": "x86_64"},
        {"luks": {}},
        {"luks": {"tpm2": False, "threshold": 1, "cex": {"enabled": False}}},
        {"luks": {"tang": [], "cex": {}}},
        {"mirror": {}},
    ],
)
def test_a_boot_device_that_asks_for_nothing_makes_nothing(section: dict[str, Any]) -> None:
    assert boot_device(section) == {}


TANG = [{"url": "http://a"}]


@pytest.mark.parametrize(
    ("section", "volume"),
    [
        ({"luks": {"tpm2": True}}, luks(f"{PARTLABEL}/root", clevis={"tpm2": True})),
        ({"luks": {"tang": TANG}}, luks(f"{PARTLABEL}/root", clevis={"tang": TANG})),
        (
            {"luks": {"tpm2": True, "tang": TANG, "threshold": 2, "discard": False}},
            luks(f"{PARTLABEL}/root", clevis={"tpm2": True, "tang": TANG, "threshold": 2}, discard=False),
        ),
        (
            {"layout": "s390x-eckd", "luks": {"device": "/dev/dasda", "cex": {"enabled": True}, "discard": True}},
            luks("/dev/dasda2", cex={"enabled": True}, discard=True),
        ),
        (
            {"layout": "s390x-zfcp", "luks": {"device": "/dev/sda", "tpm2": True}},
            luks("/dev/sda4", clevis={"tpm2": True}),
        ),
        # Without a device the file is wrong, and told so.
        ({"layout": "s390x-zfcp", "luks": {"tpm2": True}}, luks("4", clevis={"tpm2": True})),
    ],
)
def test_an_encrypted_root(section: dict[str, Any], volume: dict[str, Any]) -> None:
    root = filesystem("/dev/mapper/root", "xfs", "root")
    assert boot_device(section) == {"storage": {"luks": [volume], "filesystems": [root]}}


def made(label: str, mib: int | None = None, guid: str | None = None) -> dict[str, Any]:
    return {"label": label} | ({"sizeMiB": mib} if mib else {}) | ({"typeGuid": guid} if guid else {})


@pytest.mark.parametrize(
    ("layout", "first", "second"),
    [
        (None, ("bios", 1, BIOS), ("esp", 127, ESP)),
        ("x86_64", ("bios", 1, BIOS), ("esp", 127, ESP)),
        ("aarch64", ("reserved", 1, RESERVED), ("esp", 127, ESP)),
        ("ppc64le", ("prep", 4, PREP), ("reserved", 1, RESERVED)),
    ],
)
def test_a_mirrored_root(layout: str | None, first: tuple[str, int, str], second: tuple[str, int, str]) -> None:
    section = {"mirror": {"devices": ["/dev/vda", "/dev/vdb"]}} | ({"layout": layout} if layout else {})
    storage = boot_device(section)["storage"]
    assert storage["disks"] == [
        {
            "device": device,
            "wipeTable": True,
            "partitions": [
                *(made(f"{label}-{number}", mib, guid) for label, mib, guid in (first, second)),
                made(f"boot-{number}", 384),
                made(f"root-{number}"),
            ],
        }
        for number, device in ((1, "/dev/vda"), (2, "/dev/vdb"))
    ]
    assert storage["raid"] == [
        {
            "devices": [f"{PARTLABEL}/boot-1", f"{PARTLABEL}/boot-2"],
            "level": "raid1",
            "name": "md-boot",
            "options": ["--metadata=1.0"],
        },
        {"devices": [f"{PARTLABEL}/root-1", f"{PARTLABEL}/root-2"], "level": "raid1", "name": "md-root"},
    ]
    esps = [filesystem(f"{PARTLABEL}/esp-{number}", "vfat", f"esp-{number}") for number in (1, 2)]
    assert storage["filesystems"] == [
        *(esps if layout != "ppc64le" else []),
        filesystem("/dev/md/md-boot", "ext4", "boot"),
        filesystem("/dev/md/md-root", "xfs", "root"),
    ]
    assert "luks" not in storage


def test_a_mirrored_root_that_is_encrypted() -> None:
    storage = boot_device({"mirror": {"devices": ["/dev/vda", "/dev/vdb"]}, "luks": {"tpm2": True}})["storage"]
    assert storage["luks"] == [luks("/dev/md/md-root", clevis={"tpm2": True})]
    assert storage["filesystems"][-1] == filesystem("/dev/mapper/root", "xfs", "root")


def test_the_users_of_grub() -> None:
    assert grub([]) == {}
    storage = grub([{"name": "root", "password_hash": "a"}, {"name": "b", "password_hash": "c"}])["storage"]
    assert storage["filesystems"] == [{"device": "/dev/disk/by-label/boot", "format": "ext4", "path": "/boot"}]
    (file,) = storage["files"]
    (part,) = file.pop("append")
    assert file == {"path": "/boot/grub2/user.cfg"}
    assert part["compression"] == ""
    assert urls.decode(part["source"]) == (
        b'# Generated by Butane\n\nset superusers="root b"\npassword_pbkdf2 root a\npassword_pbkdf2 b c\n'
    )
    assert (
        grub([{"name": "a" * 999, "password_hash": "b"}])["storage"]["files"][0]["append"][0]["compression"] == "gzip"
    )


def mount(device: str, path: str, form: str, where: str, *options: str) -> dict[str, Any]:
    lines = [
        "# Generated by Butane",
        "[Unit]",
        f"Requires=systemd-fsck@dev-{device}.service",
        f"After=systemd-fsck@dev-{device}.service",
        "",
        "[Mount]",
        f"Where={path}",
        f"What=/dev/{device.replace('-', '/')}",
        f"Type={form}",
        *options,
        "",
        "[Install]",
        f"RequiredBy={where}-fs.target",
    ]
    name = path.strip("/").replace("/", "-") or "-"
    return {"name": f"{name}.mount", "enabled": True, "contents": "\n".join(lines)}


VDB = {"device": "/dev/vdb", "with_mount_unit": True}


@pytest.mark.parametrize(
    ("asked", "unit"),
    [
        (VDB | {"format": "xfs", "path": "/var/lib"}, mount("vdb", "/var/lib", "xfs", "local")),
        (
            VDB | {"format": "xfs", "path": "/srv", "mount_options": ["a", "b"]},
            mount("vdb", "/srv", "xfs", "local", "Options=a,b"),
        ),
        (
            VDB | {"device": "/dev/mapper/a", "format": "xfs", "path": "/srv", "mount_options": ["b"]},
            mount("mapper-a", "/srv", "xfs", "remote", "Options=b,_netdev"),
        ),
        (
            VDB | {"device": "/dev/mapper/b", "format": "xfs", "path": "/srv"},
            mount("mapper-b", "/srv", "xfs", "local"),
        ),
        # Without format and path the file is wrong, and told so.
        (VDB, mount("vdb", "", "", "local")),
    ],
)
def test_a_mount_unit(asked: dict[str, Any], unit: dict[str, Any]) -> None:
    volumes = [{"name": "c"}, {"name": "a", "clevis": {"tang": TANG}}, {"name": "b", "clevis": {"tpm2": True}}]
    quiet = {"device": "/dev/vdc", "format": "xfs", "path": "/mnt"}
    storage = {"luks": volumes, "filesystems": [quiet, asked, quiet | {"with_mount_unit": False}]}
    assert mount_units(storage) == {"systemd": {"units": [unit]}}


def test_a_volume_behind_tang_is_remote_by_its_other_name_too() -> None:
    asked = VDB | {"device": "/dev/disk/by-id/dm-name-a", "format": "xfs", "path": "/srv"}
    storage = {"luks": [{"name": "a", "clevis": {"tang": TANG}}], "filesystems": [asked]}
    assert "RequiredBy=remote-fs.target" in mount_units(storage)["systemd"]["units"][0]["contents"]


@pytest.mark.parametrize(
    ("options", "lines"), [({}, ""), ({"mount_options": ["pri=1", "nofail"]}, "Options=pri=1,nofail\n")]
)
def test_a_swap_unit(options: dict[str, Any], lines: str) -> None:
    (unit,) = mount_units({"filesystems": [VDB | {"format": "swap", **options}]})["systemd"]["units"]
    text = f"# Generated by Butane\n[Swap]\nWhat=/dev/vdb\n{lines}\n[Install]\nRequiredBy=swap.target"
    assert unit == {"name": "dev-vdb.swap", "enabled": True, "contents": text}


def test_no_units_where_none_are_asked_for() -> None:
    assert mount_units({}) == {}
    assert mount_units({"filesystems": [{"device": "/dev/vdb", "with_mount_unit": False}]}) == {}


@pytest.mark.parametrize(
    ("path", "escaped"),
    [
        ("/", "-"),
        ("/var", "var"),
        ("//var//lib/", "var-lib"),
        ("/var/.hidden-dir", r"var-.hidden\x2ddir"),
        ("/.a", r"\x2ea"),
        ("/dev/disk/by-partlabel/a b", r"dev-disk-by\x2dpartlabel-a\x20b"),
        ("/opt/A_b:Z9", "opt-A_b:Z9"),
        ("/dev/mapper/é", r"dev-mapper-\xc3\xa9"),
    ],
)
def test_unit_names_are_escaped_as_systemd_does(path: str, escaped: str) -> None:
    assert systemd_escape_path(path) == escaped
    if shutil.which("systemd-escape"):
        said = subprocess.run(["systemd-escape", "--path", path], capture_output=True, text=True, check=True)
        assert said.stdout.strip() == escaped
