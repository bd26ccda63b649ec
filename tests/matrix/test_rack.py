"""A rack: many policies in one machine, each with a volume of its own."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.matrix.command import machine_plans
from harness.matrix.conditions import all_conditions
from harness.matrix.machines import table_machine
from harness.matrix.rack import PolicyRow, rack, rack_in_initrd
from harness.paths import IMAGES, POLICIES
from harness.policy.butane import read_policy
from harness.policy.enrolment import root_policy


@pytest.mark.parametrize("name", ["by-butane", "by-hand"])
def test_every_row_has_a_volume_with_the_pins_of_its_policy(name: str) -> None:
    policy = rack(name, table_machine(name).policies)
    assert policy.name == name
    assert [volume.name for volume in policy.volumes] == [row.name for row in table_machine(name).policies]
    for row, volume in zip(table_machine(name).policies, policy.volumes, strict=True):
        if row.enrolment is None:
            assert volume.pins == read_policy(row.file).volumes[0].pins
        assert volume.device == f"/dev/disk/by-partlabel/{row.name}"
        assert volume.mount_point == f"/var/rack/{row.name}"


def test_what_is_done_by_hand_is_done_to_the_row_s_own_volume() -> None:
    policy = rack("by-hand", table_machine("by-hand").policies)
    volumes = {volume.name: volume for volume in policy.volumes}
    assert volumes["key-file"].key_file
    assert not volumes["passphrase-alone"].key_file
    assert "device=$(readlink -f /dev/disk/by-partlabel/cryptenroll-pcr7)" in policy.enrolment


def test_no_volume_opens_by_another_s_passphrase() -> None:
    policy = rack("by-butane", table_machine("by-butane").policies)
    assert len({volume.passphrase for volume in policy.volumes}) == len(policy.volumes)


def test_no_volume_tries_another_s_passphrase(tmp_path: Path) -> None:
    edit = rack("by-butane", table_machine("by-butane").policies).enrolment[0]
    crypttab = tmp_path / "crypttab"
    crypttab.write_text("one UUID=x none luks,_netdev\ntwo UUID=y /etc/luks/two luks\n")
    subprocess.run(["sh", "-c", edit.replace("/etc/crypttab", str(crypttab))], check=True)
    assert crypttab.read_text() == (
        "one UUID=x none luks,_netdev,password-cache=no\ntwo UUID=y /etc/luks/two luks,password-cache=no\n"
    )


BARE = root_policy("debian-13-initramfs", "unlock-lab", "/dev/disk/by-uuid/x")


def test_beside_an_encrypted_root_every_row_has_a_volume_that_the_initrd_opens(tmp_path: Path) -> None:
    names = [row.name for row in table_machine("in-dracut").policies]
    policy = rack_in_initrd("mine", BARE, table_machine("in-dracut").policies)
    root, *volumes = policy.volumes
    assert (root.name, root.pins) == ("root", None)
    assert [volume.name for volume in volumes] == names
    assert len({volume.mount_point for volume in policy.volumes}) == len(policy.volumes)
    assert policy.enrolment[-1] == f"/usr/lib/unlock-lab/open-in-initrd {' '.join(names)}"
    for row, volume in zip(table_machine("in-dracut").policies, volumes, strict=True):
        if row.enrolment is None:
            assert volume.pins == read_policy(row.file).volumes[0].pins


def test_more_rows_than_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mine: 20 rows, and there is room for 11"):
        rack_in_initrd("mine", BARE, [PolicyRow("tang", POLICIES / "tang.bu")] * 20)


def test_the_initrd_is_told_of_its_volumes_and_of_no_other(tmp_path: Path) -> None:
    crypttab, log = tmp_path / "crypttab", tmp_path / "log"
    crypttab.write_text("root UUID=x none luks,initramfs\ntang /dev/a none luks\ntang2 /dev/b none luks\n")
    for name in ("mount", "umount", "update-initramfs"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\n')
        (tmp_path / name).chmod(0o755)
    tool = (IMAGES / "debian-13-initramfs/root/usr/lib/unlock-lab/open-in-initrd").read_text()
    script = tool.replace("/etc/crypttab", str(crypttab))
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", script, "open-in-initrd", "tang"], check=True, env=path)
    assert crypttab.read_text().splitlines()[1:] == ["tang /dev/a none luks,initramfs", "tang2 /dev/b none luks"]
    assert log.read_text().splitlines() == ["mount /boot", "update-initramfs -u", "umount /boot"]


def test_dracut_is_told_of_these_volumes_by_arguments_and_of_root(tmp_path: Path) -> None:
    crypttab = tmp_path / "crypttab"
    crypttab.write_text("root UUID=r none luks\ntang /dev/a none luks\ntang2 /dev/b none luks\n")
    for name, does in (
        ("findfs", 'echo "${1#UUID=}"'),
        ("cryptsetup", 'echo "uuid-of-${2##*/}"'),
        ("tell", 'echo "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    tool = (IMAGES / "debian-13-root/root/usr/lib/unlock-lab/open-in-initrd").read_text()
    script = tool.replace("/etc/crypttab", str(crypttab)).replace("/usr/lib/unlock-lab/kernel-arguments", "tell")
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "-c", script, "open-in-initrd", "tang"]
    told = subprocess.run(command, check=True, env=path, capture_output=True, text=True).stdout.split()
    assert [word for word in told if word.startswith("rd.luks.name=")] == [
        "rd.luks.name=uuid-of-r=root",
        "rd.luks.name=uuid-of-a=tang",
    ]


def test_every_machine_can_be_put_through_each_of_its_columns(tmp_path: Path) -> None:
    conditions = {condition.name: condition for condition in all_conditions()}
    for plan in machine_plans([], [], [], tmp_path, "auto"):
        for column in plan.columns:
            assert conditions[column].becomes(plan.policy.volumes)


def test_a_table_without_a_cell_is_refused_and_is_not_as_predicted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="headless: no cell under tang-silent"):
        machine_plans([], ["tang-silent"], ["headless"], tmp_path, "auto")
    assert machine_plans([], ["tang-silent"], [], tmp_path, "auto")


def test_a_row_is_about_one_volume(tmp_path: Path) -> None:
    path = tmp_path / "none.bu"
    path.write_text("variant: fcos\nversion: 1.6.0\n")
    with pytest.raises(UsageError, match=r"none\.bu: 0 encrypted volumes"):
        rack("mine", [PolicyRow(path.stem, path)])


def test_a_user_s_own_file_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "home-server.bu"
    path.write_text((POLICIES / "tpm2-and-tang.bu").read_text())
    policy = rack("own", [PolicyRow(path.stem, path)])
    assert [volume.name for volume in policy.volumes] == ["home-server"]
