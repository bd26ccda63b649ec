"""Which policy a name means."""

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.lab.policies import bare_root, find_policy, named_policy
from harness.paths import POLICIES
from harness.policy.enrolment import Enrolment
from harness.policy.pins import Tpm2Pin


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
    with pytest.raises(UsageError, match="the root of the image debian-13 is not encrypted"):
        bare_root("debian-13")
