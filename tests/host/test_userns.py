"""What forbids user namespaces, read from a tree of settings."""

from pathlib import Path

import pytest

from harness.host.userns import what_to_allow


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
