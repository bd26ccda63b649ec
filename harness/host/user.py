"""Running things as, and handing files to, the user that the machines run as. None stands for the caller."""

import os
import pwd
from pathlib import Path

from harness import untrusted
from harness.errors import HostError

LAB_USER = "unlock-lab"
"""Runs the machines of root."""


def as_user(user: str | None, *options: str) -> list[str]:
    """The head of a command that runs as `user`, with all of that user's groups (setpriv(1)); `options` are added."""
    if user is None:
        return ["setpriv", *options, "--"]
    entry = _entry(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups", *options, "--"]


def bound_to_caller(user: str | None) -> list[str]:
    """The head of a command as `as_user` makes it, for a child that the kernel ends with the thread that started it.

    That is prctl(2), PR_SET_PDEATHSIG, which does not notice a caller that dies before it is set: so the child looks
    afterwards whether its parent still is who it was.
    """
    return [*as_user(user, "--pdeathsig=KILL"), "sh", "-c", 'test "$PPID" = "$0" && exec "$@"', str(os.getpid())]


def ended_with_caller(*, makes_namespaces: bool = False) -> list[str]:
    """The head of a command that ends when this process does, and with whose end all ends that it started and mounted.

    Args:
        makes_namespaces: It does so itself when it is not run by root, as mmdebstrap does, and could not inside others.
    """
    own = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    if own and makes_namespaces:
        return ["setpriv", "--pdeathsig=TERM", "--"]
    apart = ["unshare", *own, "--pid", "--mount-proc", "--fork", "--kill-child=KILL"]
    return ["setpriv", "--pdeathsig=KILL", "--", *apart, "--"]


def chown_to(path: Path, user: str | None) -> None:
    """Give a file, or a folder and all in it, to `user`; the caller's own need not be given."""
    if user is None:
        return
    entry = _entry(user)
    untrusted.give(path, entry.pw_uid, entry.pw_gid)


def groups(user: str | None) -> list[int]:
    """The ids that decide what `user` may open: its own, then those of its groups."""
    if user is None:
        return [os.getuid(), *os.getgroups()]
    entry = _entry(user)
    return [entry.pw_uid, *os.getgrouplist(user, entry.pw_gid)]


def home(user: str) -> Path:
    """The home folder of `user`."""
    return Path(_entry(user).pw_dir)


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise HostError(
            f"there is no user {user}, as which machines would run",
            hint=f"useradd --system --user-group --groups kvm --create-home --home-dir /var/lib/{user} "
            f"--shell /usr/sbin/nologin {user}",
        ) from error
