"""Makes this host ready: ``unlock-lab setup``, or ``python3 -m harness.host.setup`` as the Makefile runs it first.

Idempotent, and over in an instant when nothing is to be done. It prints what it does and every command that changes
something. Standard library only, since it runs before there is a venv.

1. Packages that `requirements.toml` names and whose probe fails: by apt on Debian; elsewhere it prints the list and
   stops.
2. Meanwhile, in a clone, ``.venv`` with the dependencies that pyproject.toml names, all pinned by constraints.txt.
3. As root, the user ``unlock-lab`` that the machines run as.
4. With ``--start``: a Docker daemon when none runs; access to it and to KVM for the user that needs it.
"""

import argparse
import contextlib
import fcntl
import grp
import hashlib
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import HarnessError, HostError
from harness.host.commands import run, say
from harness.host.user import LAB_USER
from harness.host.userns import has_subordinate_ids, subordinate_ids, what_to_allow
from harness.paths import CHECKOUT, PACKAGE

try:
    from harness.host.docker_address import docker_address, rootless_socket
    from harness.host.packages import install_packages, package_list
    from harness.host.requirement import requirements
except ModuleNotFoundError as error:
    if error.name != "tomllib":
        raise
    raise SystemExit(
        f"set-up: Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.11"
    ) from None

LAB_HOME = "/var/lib/unlock-lab"
VENV = CHECKOUT / ".venv" if CHECKOUT else Path(sys.prefix)
STAMP = VENV / ".unlock-lab-set-up"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 when the host is ready, 1 when a person must do something."""
    parser = argparse.ArgumentParser(prog="unlock-lab setup", description="Makes this host ready.")
    parser.add_argument("--start", action="store_true", help="also start what must run: Docker")
    parser.add_argument("--list", action="store_true", help="only print what is needed, for Debian and for Fedora")
    options = parser.parse_args(argv)
    if options.list:
        print(package_list(requirements()))
        return 0
    try:
        with _alone():
            install_packages(requirements(), first_time=not STAMP.exists(), beside=make_venv)
            if os.geteuid() == 0:
                make_user()
            else:
                allow_user_namespaces()
            if options.start:
                start()
    except HarnessError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


# The venv


def make_venv(clone: Path | None = CHECKOUT) -> None:
    """Make or refresh the venv of a clone; there is nothing to do without one.

    Raises:
        HostError: pip failed.
    """
    if clone is None:
        return
    state = f"{clone}\n{stamp(clone)}\n"
    python = VENV / "bin" / "python"
    old = STAMP.read_text() if STAMP.exists() else ""
    if python.exists() and old == state:
        return
    moved = bool(old) and old.splitlines()[0] != str(clone)
    renewed = VENV.exists() and (moved or not python.exists() or _version(VENV) != sys.version_info[:2])
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    say("making .venv" if renewed or not VENV.exists() else "refreshing .venv")
    run(str(base if base.exists() else sys.executable), "-m", "venv", *(["--clear"] if renewed else []), str(VENV))
    STAMP.unlink(missing_ok=True)
    constraints = str(clone / "constraints.txt")
    # The variables reach the isolated environments that packages are built in: pip before 25.3 reads the first, newer
    # ones the second. Each is a list that blanks divide, so a path that may have some is an address.
    address = (clone / "constraints.txt").as_uri()
    pins = (f"PIP_CONSTRAINT={address}", f"PIP_BUILD_CONSTRAINT={address}")
    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run("env", *pins, *pip, "--constraint", constraints, "--editable", f"{clone}[dev]")
    STAMP.write_text(state)


def stamp(repository: Path) -> str:
    """The hash of all that decides what is in the venv."""
    total = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        total.update((repository / name).read_bytes() + b"\0")
    return total.hexdigest()


def _version(venv: Path) -> tuple[int, ...] | None:
    for line in (venv / "pyvenv.cfg").read_text().splitlines() if (venv / "pyvenv.cfg").exists() else ():
        key, _, value = line.partition("=")
        if key.strip() == "version":
            return tuple(int(part) for part in value.strip().split(".")[:2])
    return None


# Users


def make_user() -> None:
    """Make the user that root's machines run as, in the group that may use KVM where there is one."""
    try:
        pwd.getpwnam(LAB_USER)
    except KeyError:
        say(f"making the user {LAB_USER}, which the machines run as")
        home = ("--create-home", "--home-dir", LAB_HOME, "--shell", "/usr/sbin/nologin")
        run("useradd", "--system", "--user-group", *home, LAB_USER, root=True)
    with contextlib.suppress(KeyError):  # no such group
        if grp.getgrnam("kvm").gr_gid not in os.getgrouplist(LAB_USER, pwd.getpwnam(LAB_USER).pw_gid):
            run("usermod", "--append", "--groups", "kvm", LAB_USER, root=True)


def allow_user_namespaces() -> None:
    """Give this user the subordinate ids that mmdebstrap needs to build an image without root, subuid(5)."""
    user = pwd.getpwuid(os.geteuid())
    if has_subordinate_ids(user):
        return
    first = max([100_000, *(start + count for _, start, count in subordinate_ids())])
    ids = f"{first}-{first + 65_535}"
    run("usermod", "--add-subuids", ids, "--add-subgids", ids, user.pw_name, root=True)


# What must run


def start() -> None:
    """Start a Docker daemon when none runs; let whoever needs them at it and at KVM; say what cannot be done."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    if (path := docker_socket()) is not None:
        _let_in(me, path, "use Docker")
        if not answers(path):
            with _or_say("no Docker daemon: no service can be started"):
                run(str(VENV / "bin" / "python"), "-m", "harness", "start", root=True)
            _let_in(me, path, "use Docker")
    _let_in(LAB_USER if os.geteuid() == 0 else me, Path("/dev/kvm"), "use KVM")
    if allowing := what_to_allow():
        say(f"this host forbids user namespaces, in which guests have their networks; to allow them:\n{allowing}")


def docker_socket() -> Path | None:
    """Where a daemon that we may start listens; None when the user has one elsewhere (DOCKER_HOST, rootless)."""
    kind, _, path = docker_address().partition("://")
    return Path(path) if kind == "unix" and Path(path) != rootless_socket() else None


def answers(path: Path) -> bool:
    """Whether a server listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        return probe.connect_ex(str(path)) == 0


def _let_in(user: str, path: Path, purpose: str) -> None:
    """Give a user access until the next boot, by an access list: a group would hold only after a new login."""
    if not path.exists() or _may_write(user, path):
        return
    say(f"letting {user} {purpose}, until the next boot of this host")
    with _or_say(f"{path} stays closed to {user}"):
        run("setfacl", "--modify", f"user:{user}:rw", str(path), root=True)


def _may_write(user: str, path: Path) -> bool:
    if pwd.getpwnam(user).pw_uid == os.geteuid():
        return os.access(path, os.R_OK | os.W_OK)
    as_user = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--")
    return subprocess.run([*as_user, "test", "-w", str(path)], check=False).returncode == 0


@contextlib.contextmanager
def _or_say(consequence: str) -> Iterator[None]:
    try:
        yield
    except HostError as error:
        say(f"{consequence}\n{error}")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One set-up of this installation at a time."""
    folder = os.open(PACKAGE, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--list | head` ends it, as it ends any command
    sys.exit(main())
