"""What this host says about user namespaces: machines have their networks in them, and images are built in them.

Standard library only: the set-up asks before there is a venv.
"""

from pathlib import Path
from pwd import struct_passwd

SETTINGS = Path("/proc/sys")
SUBUID = Path("/etc/subuid")

_FORBID = {
    "kernel/unprivileged_userns_clone": ("0", "kernel.unprivileged_userns_clone=1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    "user/max_user_namespaces": ("0", "user.max_user_namespaces=15000"),
    "user/max_net_namespaces": ("0", "user.max_net_namespaces=15000"),
}
"""The file of a setting, the value of it that forbids them, and what to set (user_namespaces(7), Debian's and Ubuntu's
kernels)."""


def subordinate_ids(table: Path = SUBUID) -> list[tuple[str, int, int]]:
    """The rows of subuid(5): a user's name or number, the first of its ids, how many there are."""
    rows = [line.split(":") for line in table.read_text().splitlines()] if table.exists() else []
    return [(row[0], int(row[1]), int(row[2])) for row in rows if len(row) == 3]


def has_subordinate_ids(user: struct_passwd, table: Path = SUBUID) -> bool:
    """Whether a user may have other ids in a namespace, without which mmdebstrap builds no image."""
    return any(owner in (user.pw_name, str(user.pw_uid)) for owner, _, _ in subordinate_ids(table))


def what_to_allow(settings: Path = SETTINGS) -> str:
    """The command that allows user namespaces, where a setting forbids them; else nothing.

    Args:
        settings: Where the kernel's settings are.
    """
    for name, (forbidding, wanted) in _FORBID.items():
        setting = settings / name
        if setting.exists() and setting.read_text().strip() == forbidding:
            return f"sudo sysctl -w {wanted}    # and, to keep it: echo {wanted} >/etc/sysctl.d/90-unlock-lab.conf"
    return ""
