"""What forbids user namespaces, read from a tree of settings, and who may have other ids in one."""

import os
import pwd
from pathlib import Path

import pytest

from harness.host.userns import has_subordinate_ids, subordinate_ids, what_to_allow


@pytest.mark.parametrize(
    ("name", "value", "allowing"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("kernel/unprivileged_userns_clone", "1", ""),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        ("user/max_net_namespaces", "0", "user.max_net_namespaces=15000"),
        ("user/max_user_namespaces", "96365", ""),
    ],
)
def test_the_setting_that_forbids_is_named(tmp_path: Path, name: str, value: str, allowing: str) -> None:
    setting = tmp_path / name
    setting.parent.mkdir()
    setting.write_text(f"{value}\n")
    said = what_to_allow(tmp_path)
    assert allowing in said
    assert bool(said) == bool(allowing)


@pytest.mark.parametrize("owner", ["{0.pw_name}", "{0.pw_uid}"])
def test_subordinate_ids_are_had_by_name_or_by_number(tmp_path: Path, owner: str) -> None:
    """subuid(5) has both; who looks for a name alone sends people to a set-up that has nothing to do."""
    me, table = pwd.getpwuid(os.getuid()), tmp_path / "subuid"
    assert not has_subordinate_ids(me, table)
    table.write_text("somebody:100000:65536\nno row\n")
    assert not has_subordinate_ids(me, table)
    with table.open("a") as file:
        file.write(f"{owner.format(me)}:165536:65536\n")
    assert has_subordinate_ids(me, table)
    assert subordinate_ids(table) == [("somebody", 100000, 65536), (owner.format(me), 165536, 65536)]
