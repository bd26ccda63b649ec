"""What this host's kernel settings say about user namespaces, in which machines have their networks.

Standard library only: the set-up asks before there is a venv.
"""

from pathlib import Path

SETTINGS = Path("/proc/sys")

_FORBID = {
    "kernel/unprivileged_userns_clone": ("0", "kernel.unprivileged_userns_clone=1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    "user/max_user_namespaces": ("0", "user.max_user_namespaces=15000"),
    "user/max_net_namespaces": ("0", "user.max_net_namespaces=15000"),
}
"""The file of a setting, the value of it that forbids them, and what to set (user_namespaces(7), Debian's and Ubuntu's
kernels)."""


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
