"""Where machines run on this host: which libvirt, as which user, under which accelerator.

An ordinary user has ``qemu:///session``, which starts its daemon on demand. Root has no working session, and a system
libvirt needs set-up, so root's machines run in a private session daemon of the unprivileged user `LAB_USER`, started
on demand, which ends by itself some time after its last client.
"""

import os
import pwd
import re
import shutil
import socket
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from harness import process
from harness.errors import HostError, UsageError
from harness.host.accel import Accel, choose_accel
from harness.host.scratch import remove_orphaned
from harness.host.user import LAB_USER, as_user, chown_to, home
from harness.ownership import claimed_run_dir
from harness.paths import DOCTOR, run_dir
from harness.progress import Progress

_IDLE_SECONDS = 30
_DAEMON_SECONDS = 30.0
_VIRSH_SECONDS = 60.0  # the first question makes libvirt probe every emulator, 4 s each in emulation
_EMULATORS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm")


@dataclass(frozen=True)
class PrivateSession:
    """A libvirt session daemon of its own, for root.

    Attributes:
        user: Runs the daemon, QEMU and swtpm.
        folder: Its sockets and configuration.
    """

    user: str
    folder: Path

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return self.folder / "run" / "libvirt" / "libvirt-sock"

    @property
    def uri(self) -> str:
        """How a client reaches it."""
        return f"qemu+unix:///session?socket={self.socket}"

    def wake(self) -> None:
        """Start the daemon unless it answers.

        Raises:
            HostError: It did not start.
        """
        claimed_run_dir()
        with FileLock(self.folder.with_suffix(".lock")):
            if self._answers():
                return
            self.folder.mkdir(mode=0o700, exist_ok=True)
            chown_to(self.folder, self.user)
            # From here on as that user, who could have put links there. Without the line in qemu.conf QEMU's output
            # would go through virtlogd, one more daemon to look after. Without that in libvirtd.conf a client which the
            # host's load keeps from answering for 25 s would be hung up on, and its machines be gone.
            script = 'mkdir -p run "$1" && cd "$1" && echo "$2" > qemu.conf && echo "$3" > libvirtd.conf'
            written = ("config/libvirt", 'stdio_handler = "file"', "keepalive_interval = -1")
            process.run(
                [*as_user(self.user), "sh", "-c", script, "sh", *written],
                timeout=_DAEMON_SECONDS,
                cwd=self.folder,
            )
            env = {
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": str(home(self.user)),
                "XDG_RUNTIME_DIR": str(self.folder / "run"),
                "XDG_CONFIG_HOME": str(self.folder / "config"),
            }
            # libvirtd -d returns when it listens, so there is nothing to wait for.
            process.run(
                [*as_user(self.user), "libvirtd", "-d", "--timeout", str(_IDLE_SECONDS)],
                timeout=_DAEMON_SECONDS,
                cwd=Path("/"),
                env=env,
            )

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0


@dataclass(frozen=True)
class Host:
    """What a machine needs to know about where it runs.

    Attributes:
        libvirt_uri: Which libvirt to connect to.
        session: The daemon to wake before connecting, or None when libvirt sees to itself.
        user: Who runs QEMU and swtpm, and so must be able to open their files; None when it is the caller.
        accel: KVM or emulation.
        emulator: QEMU.
        emulator_version: Of QEMU, as in (10, 0, 2).
        qemu_logs: The folder where libvirt keeps QEMU's command lines and complaints.
        progress: Where to say what takes long.
    """

    libvirt_uri: str
    session: PrivateSession | None
    user: str | None
    accel: Accel
    emulator: Path
    emulator_version: tuple[int, int, int]
    qemu_logs: Path
    progress: Progress


def prepare_host(
    firmware: Path, *, accel: str = "auto", libvirt_uri: str | None = None, progress: Progress | None = None
) -> Host:
    """Find out how machines run here, and remove what dead processes left.

    Args:
        firmware: Read-only flash image of an OVMF build without Secure Boot, for the probe of KVM.
        accel: One of `ACCELERATORS`.
        libvirt_uri: Another libvirt than the one that this module picks.
        progress: Where to say what takes long.

    Raises:
        HostError: QEMU, libvirt or the user that machines run as is missing.
        UsageError: `accel` is not a known one, or that libvirt cannot run machines (`require_local`).
    """
    if libvirt_uri is not None:
        require_local(libvirt_uri)
    remove_orphaned()
    emulator, text, version = find_emulator()
    session: PrivateSession | None = None
    user: str | None
    if libvirt_uri is None and os.geteuid() == 0:
        session = private_session()
        uri, user = session.uri, session.user
    else:
        uri = libvirt_uri or "qemu:///session"
        user = _runs_qemu(uri)
    progress = progress or Progress()
    return Host(
        libvirt_uri=uri,
        session=session,
        user=user,
        accel=choose_accel(accel, emulator, text, firmware, user),
        emulator=emulator,
        emulator_version=version,
        qemu_logs=_qemu_logs(uri, session),
        progress=progress,
    )


def require_local(uri: str) -> None:
    """Refuse a libvirt whose machines we could not reach.

    Their consoles are UNIX sockets, their TPMs are processes of ours, and their disks are files of this host.

    Raises:
        UsageError: It is no QEMU driver (https://libvirt.org/uri.html), or not of this host, or has no daemon; with
            which of them.
    """
    if why := _why_not(uri):
        raise UsageError(
            f"machines cannot run under the libvirt at {uri or 'an empty URI'}",
            why,
            "leave the URI out, or give qemu:///session, qemu:///system, or qemu+unix:///session?socket=PATH",
        )


def _why_not(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        return str(error)
    driver, _, transport = parts.scheme.partition("+")
    if driver != "qemu":
        return "its driver is not qemu, which alone has what these machines need"
    if parts.netloc or transport not in ("", "unix"):
        return "machines on another host have consoles, TPMs and disks that cannot be reached from here"
    if parts.path not in ("/session", "/system"):
        return (
            "it must be the daemon of a session or of the system, which ends the machines of a harness that was killed"
        )
    return ""


def find_emulator() -> tuple[Path, str, tuple[int, int, int]]:
    """QEMU, what it calls itself, and its version as numbers.

    Raises:
        HostError: There is none.
    """
    found = next((path for name in _EMULATORS if (path := shutil.which(name))), None)
    if found is None:
        raise HostError("QEMU is not installed", hint=f"{DOCTOR} says what is missing")
    text = process.run([found, "--version"], timeout=20).splitlines()[0]
    numbers = re.search(r"version (\d+)\.(\d+)\.(\d+)", text)
    if numbers is None:
        raise HostError(f"{found} does not say which version it is", text)
    major, minor, micro = (int(number) for number in numbers.groups())
    return Path(found), text, (major, minor, micro)


def private_session() -> PrivateSession:
    """Root's libvirt session.

    Raises:
        HostError: The user that it runs as does not exist.
    """
    home(LAB_USER)
    return PrivateSession(LAB_USER, run_dir() / "session")


def _runs_qemu(uri: str) -> str | None:
    """The user that QEMU will run as, from libvirt's capabilities; only root can chown files, so only root asks."""
    if os.geteuid() != 0:
        return None
    capabilities = ET.fromstring(process.run(["virsh", "-q", "-c", uri, "capabilities"], timeout=_VIRSH_SECONDS))
    for model in capabilities.iterfind("host/secmodel"):
        label = model.findtext("baselabel[@type='kvm']", "")
        if model.findtext("model") == "dac" and label.startswith("+"):
            return pwd.getpwuid(int(label[1:].split(":")[0])).pw_name
    return None


def _qemu_logs(uri: str, session: PrivateSession | None) -> Path:
    """Where libvirt writes domain logs: libvirtd(8), FILES."""
    if session:
        return home(session.user) / ".cache/libvirt/qemu/log"
    if uri.partition("?")[0].endswith("/system"):
        return Path("/var/log/libvirt/qemu")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "libvirt/qemu/log"
