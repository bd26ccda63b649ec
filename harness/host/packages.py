"""Installs what `requirements.toml` names and this host lacks: by apt on Debian; elsewhere it says what is needed."""

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.errors import HostError
from harness.host.commands import output, run, say
from harness.host.requirement import Requirement

BACKPORTS = "bookworm-backports"
BACKPORTS_FILE = Path("/etc/apt/sources.list.d/unlock-lab-backports.sources")
BACKPORTS_SOURCE = f"""\
Types: deb
URIs: http://deb.debian.org/debian
Suites: {BACKPORTS}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def package_list(wanted: Sequence[Requirement]) -> str:
    """The needs as a text that a person can read, with the packages of Debian and of Fedora."""
    rows = [f"  {n.name}: {n.why}\n    Debian  {' '.join(n.debian)}\n    Fedora  {' '.join(n.fedora)}" for n in wanted]
    return "\n".join(rows)


def install_packages(wanted: Sequence[Requirement], *, first_time: bool, beside: Callable[[], None]) -> None:
    """Install what is missing.

    Args:
        wanted: All needs.
        first_time: Also replace, on Debian 12, a QEMU that is there and older than 8.
        beside: What wants the needs of the .venv alone; it is done while the others are installed.

    Raises:
        HostError: Not Debian on amd64, or apt failed.
    """
    missing = [need for need in wanted if need.missing]
    distribution, codename = read_os_release() if missing or first_time else ("", "")
    if missing and (distribution != "debian" or os.uname().machine != "x86_64"):
        raise HostError(
            "this set-up installs on Debian 12 and 13, amd64, only; please install these and run it again",
            package_list(missing),
        )
    newer = _from_backports(wanted, first_time=first_time) if codename == "bookworm" else []
    todo = [*newer, *(need for need in missing if need not in newer)]
    for need in todo:
        say(f"{need.name} ({need.why}): {'missing ' + ', '.join(need.missing) if need.missing else 'too old'}")
    backported = bool(newer) and _have_backports()
    if todo and not newer:
        _apt("update")
    _install(need for need in missing if need.venv)
    with ThreadPoolExecutor(max_workers=1) as pool:
        other = pool.submit(beside)
        if backported:
            _apt_install(f"{package}/{BACKPORTS}" for need in newer for package in need.backports)
        _install(need for need in missing if need.missing)
    other.result()
    if still := [need for need in missing if need.missing]:
        what = "; ".join(f"{need.name}: {', '.join(need.missing)}" for need in still)
        raise HostError("apt succeeded, but these are still missing", what, "unlock-lab setup --list")


def _from_backports(wanted: Sequence[Requirement], *, first_time: bool) -> list[Requirement]:
    """What Debian 12 is to take from its backports: what is missing, or too old."""
    old = first_time and old_qemu()
    return [need for need in wanted if need.backports and (need.missing or old)]


def _install(needs: Iterable[Requirement]) -> None:
    """What is there stays as it is: upgrading it is its owner's business, and might restart a daemon that is in use."""
    _apt_install((package for need in needs for package in need.debian), "--no-upgrade")


def _apt_install(packages: Iterable[str], *options: str) -> None:
    if named := list(packages):
        _apt("install", "--yes", "--no-install-recommends", *options, *named)


def read_os_release() -> tuple[str, str]:
    """ID and VERSION_CODENAME of this host."""
    path = Path("/etc/os-release")
    return os_release(path.read_text() if path.exists() else "")


def os_release(text: str) -> tuple[str, str]:
    """ID and VERSION_CODENAME of an os-release(5) file; empty when it has none."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return pairs.get("ID", "").strip("\"'"), pairs.get("VERSION_CODENAME", "").strip("\"'")


def old_qemu() -> bool:
    """Whether dpkg knows a QEMU older than 8."""
    major = output("dpkg-query", "-W", "-f", "${Version}", "qemu-system-x86").partition(":")[2].partition(".")[0]
    return major.isdigit() and int(major) < 8


def _have_backports() -> bool:
    """Make bookworm-backports known to apt; False when its QEMU cannot be had."""
    releases = output("apt-get", "indextargets", "--format", "$(RELEASE)").split()
    added = BACKPORTS not in releases
    if added:
        say(f"adding {BACKPORTS_FILE}, for QEMU")
        run("tee", str(BACKPORTS_FILE), root=True, stdin=BACKPORTS_SOURCE)
    with contextlib.suppress(HostError):
        _apt("update")
        if BACKPORTS in output("apt-cache", "madison", "qemu-system-x86"):
            return True
    say(
        f"{BACKPORTS} cannot be had: taking QEMU 7.2 of Debian 12 itself, on which machines without KVM are slower "
        "and unlock about four times as slowly"
    )
    if added:
        run("rm", str(BACKPORTS_FILE), root=True)
        _apt("update")
    return False


def _apt(*arguments: str) -> None:
    run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", *arguments, root=True)
