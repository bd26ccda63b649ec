"""A rack: many policies in one machine, each with a volume of its own."""

import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.matrix.rack import rack
from harness.matrix.rows import RACKS, own_row
from harness.paths import POLICIES
from harness.policy.butane import read_policy


@pytest.mark.parametrize("name", RACKS)
def test_every_row_has_a_volume_with_the_pins_of_its_policy(name: str) -> None:
    policy = rack(name, RACKS[name])
    assert policy.name == name
    assert [volume.name for volume in policy.volumes] == [row.name for row in RACKS[name]]
    for row, volume in zip(RACKS[name], policy.volumes, strict=True):
        if row.enrolment is None:
            assert volume.pins == read_policy(row.file).volumes[0].pins
        assert volume.device == f"/dev/disk/by-partlabel/{row.name}"
        assert volume.mount_point == f"/var/rack/{row.name}"


def test_what_is_done_by_hand_is_done_to_the_row_s_own_volume() -> None:
    policy = rack("by-hand", RACKS["by-hand"])
    volumes = {volume.name: volume for volume in policy.volumes}
    assert volumes["key-file"].key_file
    assert not volumes["passphrase-alone"].key_file
    assert "device=$(readlink -f /dev/disk/by-partlabel/cryptenroll-pcr7)" in policy.enrolment


def test_no_volume_opens_by_another_s_passphrase() -> None:
    policy = rack("by-butane", RACKS["by-butane"])
    assert len({volume.passphrase for volume in policy.volumes}) == len(policy.volumes)


def test_no_volume_tries_another_s_passphrase(tmp_path: Path) -> None:
    edit = rack("by-butane", RACKS["by-butane"]).enrolment[0]
    crypttab = tmp_path / "crypttab"
    crypttab.write_text("one UUID=x none luks,_netdev\ntwo UUID=y /etc/luks/two luks\n")
    subprocess.run(["sh", "-c", edit.replace("/etc/crypttab", str(crypttab))], check=True)
    assert crypttab.read_text() == (
        "one UUID=x none luks,_netdev,password-cache=no\ntwo UUID=y /etc/luks/two luks,password-cache=no\n"
    )


def test_a_row_is_about_one_volume(tmp_path: Path) -> None:
    path = tmp_path / "none.bu"
    path.write_text("variant: fcos\nversion: 1.6.0\n")
    with pytest.raises(UsageError, match=r"none\.bu: 0 encrypted volumes"):
        rack("mine", [own_row(path)])


def test_a_user_s_own_file_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "home-server.bu"
    path.write_text((POLICIES / "tpm2-and-tang.bu").read_text())
    policy = rack("own", [own_row(path)])
    assert [volume.name for volume in policy.volumes] == ["home-server"]
