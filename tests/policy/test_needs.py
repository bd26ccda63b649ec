"""What a config needs of an image, and what lies below its devices."""

from pathlib import Path

import pytest

from harness.policy.butane import read_policy
from harness.policy.needs import Need, array, lies_on, mapping, needs, new_root

MIRROR = {
    "raid": [{"name": "md-root", "devices": ["/dev/disk/by-partlabel/root-1", "/dev/disk/by-partlabel/root-2"]}],
    "luks": [{"name": "root", "device": "/dev/md/md-root"}],
    "filesystems": [{"device": "/dev/mapper/root", "label": "root", "wipeFilesystem": True}],
}


@pytest.mark.parametrize("device", ["/dev/mapper/root", "/dev/disk/by-id/dm-name-root", "/dev/md/md-root"])
def test_a_volume_on_an_array_lies_on_its_partitions(device: str) -> None:
    assert lies_on(device, MIRROR) == ("/dev/disk/by-partlabel/root-1", "/dev/disk/by-partlabel/root-2")


def test_what_lies_on_itself_is_no_endless_loop() -> None:
    storage = {"luks": [{"name": "a", "device": "/dev/mapper/b"}, {"name": "b", "device": "/dev/mapper/a"}]}
    assert lies_on("/dev/mapper/a", storage)


def test_what_it_does_not_make_lies_on_itself() -> None:
    assert lies_on("/dev/mapper/other", MIRROR) == ("/dev/mapper/other",)


def test_a_root_is_made_anew_if_it_is_wiped() -> None:
    kept = {"filesystems": [{"device": "/dev/disk/by-partlabel/root", "label": "root"}]}
    assert new_root(MIRROR) and new_root(kept) is None


def flatcar(label: str = "ROOT", device: str = "/dev/mapper/r", *, wiped: bool = True) -> dict[str, object]:
    """A root of Flatcar's label on a volume; the file system itself is not wiped."""
    return {
        "luks": [{"name": "other"}, {"name": "r", "wipeVolume": wiped}],
        "filesystems": [{"device": "/dev/sda1"}, {"device": device, "label": label}],
    }


@pytest.mark.parametrize(
    ("storage", "made"),
    [
        (flatcar(), True),
        (flatcar(device="/dev/disk/by-id/dm-name-r"), True),
        (flatcar(wiped=False), False),
        (flatcar(device="/dev/mapper/other"), False),
        (flatcar(device="/dev/disk/by-label/ROOT"), False),
        (flatcar(label="root"), False),
        ({"filesystems": [{"device": "/dev/disk/by-label/ROOT", "label": "ROOT"}]}, False),
        ({"filesystems": [{"device": "/dev/disk/by-label/ROOT", "label": "ROOT", "wipeFilesystem": True}]}, True),
        ({"filesystems": [{"device": "/dev/sda1", "label": "var", "wipeFilesystem": True}]}, False),
        ({}, False),
    ],
)
def test_a_root_of_flatcar_is_made_anew_if_it_or_its_volume_is_wiped(storage: dict[str, object], made: bool) -> None:
    assert (new_root(storage) is not None) is made


def test_a_device_path_leads_to_a_mapping_or_to_an_array() -> None:
    assert [mapping(f"/dev/{path}") for path in ("mapper/a", "disk/by-id/dm-name-a", "md/a")] == ["a", "a", ""]
    assert [array(f"/dev/{path}") for path in ("md/a", "mapper/a", "sda")] == ["a", "", ""]


def test_what_lies_beside_a_volume_stays_beside_it() -> None:
    storage = {
        "luks": [{"name": "a", "device": "/dev/sda"}],
        "raid": [{"name": "m", "devices": ["/dev/mapper/a", "/dev/sdb"]}, {"name": "empty"}],
    }
    assert lies_on("/dev/md/m", storage) == ("/dev/sda", "/dev/sdb")
    for device in ("/dev/md/empty", "/dev/md/other", "/dev/mapper/other"):
        assert lies_on(device, storage) == (device,)
        assert lies_on(device, {}) == (device,)


def test_the_needs_of_a_mirrored_root_on_scsi_disks() -> None:
    assert needs({"storage": MIRROR}) == {Need.RAID1, Need.ROOT}
    assert needs({"storage": {"disks": [{"device": "/dev/sda"}]}}) == {Need.SCSI}
    assert needs({}) == frozenset()


ROOT = "variant: fcos\nversion: 1.5.0\nboot_device: {luks: {tpm2: true}}\n"


@pytest.mark.parametrize(
    ("key", "passphrase"),
    [
        ("", None),
        ("storage: {luks: [{name: root, device: /dev/disk/by-partlabel/root, key_file: {inline: pw}}]}", "pw"),
    ],
)
def test_a_root_by_boot_device_has_a_passphrase_if_the_file_gives_it_one(
    tmp_path: Path, key: str, passphrase: str | None
) -> None:
    (tmp_path / "mine.bu").write_text(ROOT + key)
    policy = read_policy(tmp_path / "mine.bu")
    (root,) = policy.volumes
    assert (root.name, root.mount_point, root.passphrase, root.key_file) == ("root", "/", passphrase, False)
    assert policy.needs == {Need.ROOT}
    assert policy.obstacles == ()


def test_the_key_of_a_root_without_pins_lies_on_that_root(tmp_path: Path) -> None:
    volume = "{name: r, device: /dev/disk/by-partlabel/root, wipe_volume: true, key_file: {inline: pw}}"
    root = "{device: /dev/disk/by-id/dm-name-r, format: ext4, label: root, wipe_filesystem: true}"
    (tmp_path / "mine.bu").write_text(
        f"variant: fcos\nversion: 1.5.0\nstorage: {{luks: [{volume}], filesystems: [{root}]}}"
    )
    (found,) = read_policy(tmp_path / "mine.bu").volumes
    assert (found.mount_point, found.key_file, found.passphrase) == ("/", False, "pw")
