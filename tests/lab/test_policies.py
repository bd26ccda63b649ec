"""Which policy a name means."""

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.images.recipe import guest_recipe
from harness.lab.policies import bare_root, find_policy, image_for, named_policy, require_installable
from harness.paths import POLICIES
from harness.policy.enrolment import Enrolment
from harness.policy.pins import CryptenrollPin, Tpm2Pin


def test_a_policy_beside_the_scenario_wins(tmp_path: Path) -> None:
    assert find_policy("tang", tmp_path) == POLICIES / "tang.bu"
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "tang.bu").touch()
    assert find_policy("tang", tmp_path) == tmp_path / "policies" / "tang.bu"
    (tmp_path / "tang.bu").touch()
    assert find_policy("tang.bu", tmp_path) == tmp_path / "tang.bu"


def test_a_policy_that_is_not_there_names_each_place_once() -> None:
    with pytest.raises(UsageError, match="there is no policy 'no-such'") as raised:
        find_policy("no-such", POLICIES)
    assert raised.value.detail.splitlines() == [
        f"looked for {POLICIES}/no-such.bu",
        f"looked for {POLICIES}/policies/no-such.bu",
    ]


def test_what_is_done_by_hand_is_done_to_a_butane_file_or_to_the_encrypted_root() -> None:
    by_hand = Enrolment("mine", (Tpm2Pin(),))
    on_var, on_root = named_policy(by_hand, "debian-13"), named_policy(by_hand, "debian-13-root")
    assert [volume.mount_point for volume in on_var.volumes] == ["/var"]
    assert [volume.mount_point for volume in on_root.volumes] == ["/"]
    assert on_var.volumes[0].pins == on_root.volumes[0].pins == Tpm2Pin()


def test_a_policy_itself_is_what_it_is_and_an_image_without_an_encrypted_root_has_none() -> None:
    policy = named_policy("tang", "debian-13")
    assert named_policy(policy, "debian-13") is policy
    assert bare_root("debian-13") is None


def test_what_is_done_by_hand_has_a_name_which_a_file_takes_precedence_over(tmp_path: Path) -> None:
    assert named_policy("cryptenroll-pcr7", "debian-13").volumes[0].pins == CryptenrollPin((7,))
    assert named_policy("root-pcr7", "debian-13-root").volumes[0].mount_point == "/"
    (tmp_path / "cryptenroll-pcr7.bu").write_text((POLICIES / "tang.bu").read_text())
    assert named_policy("cryptenroll-pcr7", "debian-13", tmp_path).tang_servers == ("tang",)


def test_a_policy_needs_an_image_that_declares_what_it_takes() -> None:
    on_var, on_root = named_policy("tang", "debian-13"), named_policy("root-pcr7", "debian-13-root")
    require_installable(on_var, guest_recipe("debian-13"))
    require_installable(on_root, guest_recipe("debian-13-root"))
    with pytest.raises(UsageError, match="tang is a config for Ignition, which the image debian-13-root does not have"):
        require_installable(on_var, guest_recipe("debian-13-root"))
    with pytest.raises(UsageError, match="root-pcr7 is for an encrypted root, which the image debian-13 does not have"):
        require_installable(on_root, guest_recipe("debian-13"))


@pytest.mark.parametrize(
    ("text", "image", "asked"),
    [
        ("storage: {files: []}", "debian-13", ""),
        ("storage: {disks: [{device: /dev/sda}]}", "debian-13-scsi", r"names SCSI disks \(/dev/sda\)"),
        ("boot_device: {luks: {tpm2: true}}", "debian-13-storage", "makes the root file system anew"),
        (
            "boot_device: {mirror: {devices: [/dev/sda, /dev/sdb]}}",
            "debian-13-storage",
            r"makes RAID arrays and makes the root file system anew and names SCSI disks \(/dev/sda\)",
        ),
    ],
)
def test_what_a_file_needs_decides_its_image(tmp_path: Path, text: str, image: str, asked: str) -> None:
    (tmp_path / "mine.bu").write_text(f"variant: fcos\nversion: 1.5.0\n{text}\n")
    policy = named_policy("mine", "debian-13", tmp_path)
    assert image_for(policy) == image
    if asked:
        with pytest.raises(UsageError, match=f"policy mine {asked}, for which the image debian-13 is not") as raised:
            require_installable(policy, guest_recipe("debian-13"))
        assert raised.value.hint == f"take the image {image}: --lab-image {image}"


def test_what_no_image_offers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.bu").write_text("variant: fcos\nversion: 1.5.0\nstorage: {disks: [{device: /dev/sda}]}\n")
    monkeypatch.setattr("harness.lab.policies.guest_names", lambda: ("debian-13", "debian-13-root"))
    with pytest.raises(UsageError, match="no image offers what policy mine needs: scsi"):
        image_for(named_policy("mine", "debian-13", tmp_path))
