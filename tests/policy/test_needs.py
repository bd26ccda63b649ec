"""What a config needs of an image, and what lies below its devices."""

from pathlib import Path

import pytest

from harness.policy.butane import read_policy
from harness.policy.needs import Need, lies_on, needs, new_root

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
