"""TPMs: swtpm processes over folders of state.

`manufacture` makes the state (keys, seeds, endorsement certificates by a certificate authority of the harness's own),
`clone` copies it, `powered_tpm` runs it for one power cycle of a machine, `listening_tpm` for programs that speak to a
socket. Either ends with the thread that called, SIGKILL included (prctl(2), PR_SET_PDEATHSIG). swtpm holds a lock in
the folder, so copy it only when the machine is off.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.x509 import Certificate, load_pem_x509_certificate
from filelock import FileLock

from harness import cache, process, untrusted
from harness.errors import HostError, RigError
from harness.files import whole_folder, write_whole
from harness.host.user import as_user, bound_to_caller, chown_to, ended_with_caller
from harness.machine.spec import Tpm, TpmVersion
from harness.machine.tpm_log import TpmExchange, decode_log, in_failure_mode, torn
from harness.paths import DOCTOR, cache_dir

_MANUFACTURE_SECONDS = 300.0  # a second's work, which took over a minute at load 18 (seen)
_EXIT_SECONDS = 5.0
_LOG_LEVEL = 2  # the lowest that dumps commands and responses; 1 says nothing


def manufacture(tpm: Tpm) -> None:
    """Make a new TPM in its folder, which must not hold one yet: new seeds, EK with certificate, platform certificate.

    Raises:
        HostError: swtpm_setup is missing or failed; nothing half-made is left.
    """
    tpm.state.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(tpm.state) as part:
        with FileLock(_authority() / ".lock"):
            # Its own swtpm would outlive it if it were killed.
            process.run(_setup_command(tpm, part), timeout=_MANUFACTURE_SECONDS, under=ended_with_caller())
        (part / ".lock").unlink(missing_ok=True)


def clone(tpm: Tpm, to: Path) -> Tpm:
    """Copy a TPM that is off, keys and all, into a new folder."""
    untrusted.copy(tpm.state, to, without=".lock")
    return Tpm(to, tpm.version, tpm.banks)


def authorities() -> tuple[Certificate, ...]:
    """The certificate authority of the TPMs that were made here: the one that signs their EKs, and its root.

    Raises:
        HostError: No TPM was made here yet.
    """
    try:
        files = [(_authority() / name).read_bytes() for name in ("issuercert.pem", "swtpm-localca-rootca-cert.pem")]
    except FileNotFoundError as error:
        raise HostError("no TPM was made here yet, so there is no certificate authority", str(error)) from error
    return tuple(map(load_pem_x509_certificate, files))


def _setup_command(tpm: Tpm, folder: Path) -> list[str]:
    """swtpm_setup(8). As root it would become the user tss, and write to the host's certificate authority."""
    command = ["swtpm_setup", "--tpmstate", str(folder), "--config", str(_authority() / "setup.conf")]
    command += ["--create-ek-cert", "--create-platform-cert"]
    if os.geteuid() == 0:
        command += ["--runas", "root"]
    if tpm.version is TpmVersion.TPM_2_0:
        command += ["--tpm2", "--pcr-banks", ",".join(tpm.banks)]
    return command


def _authority() -> Path:
    """The folder of the certificate authority, with the configuration that points swtpm_setup at it."""
    folder = cache_dir() / "tpm-authority"
    if (folder / "setup.conf").exists():
        return folder
    localca = shutil.which("swtpm_localca") or "/usr/share/swtpm/swtpm-localca"
    if not Path(localca).exists():
        raise HostError(
            "swtpm_localca is not installed, which signs the certificates of TPMs",
            hint=f"{DOCTOR} says what is missing",
        )
    cache.shelf("tpm-authority", 0o700)
    # Whole, each: another process may be reading them, which found them made at the same moment.
    write_whole(
        folder / "localca.conf",
        f"statedir = {folder}\nsigningkey = {folder}/signkey.pem\n"
        f"issuercert = {folder}/issuercert.pem\ncertserial = {folder}/certserial\n",
    )
    write_whole(
        folder / "localca.options",
        "--platform-manufacturer unlock-lab\n--platform-version 1\n--platform-model q35\n",
    )
    write_whole(  # last, since its presence says that all is there
        folder / "setup.conf",
        f"create_certs_tool = {localca}\ncreate_certs_tool_config = {folder}/localca.conf\n"
        f"create_certs_tool_options = {folder}/localca.options\n",
    )
    return folder


class Swtpm:
    """A TPM that is on.

    Attributes:
        pid: Of its process, which setpriv(1) became.
        wake_fd: A file descriptor that poll(2) finds readable once swtpm has ended (pidfd_open(2)).
        released: Set it to leave swtpm on at the end of its block.
    """

    def __init__(self, running: "subprocess.Popen[bytes]", log: Path) -> None:
        self.wake_fd = os.pidfd_open(running.pid)
        self.released = False
        self.pid = running.pid
        self._process = running
        self._log = log

    def exchanges(self) -> tuple[TpmExchange, ...]:
        """What it was asked and what it answered so far."""
        return decode_log(self._said())

    def failure(self) -> str | None:
        """What is wrong with it or with its log, once a machine has it; how it ended is `exit_status`."""
        said = self._said()
        if in_failure_mode(said):  # TCG TPM 2.0 Library, Part 1, 12.4
            return "swtpm says that its TPM is in failure mode: it could not write its state, or is broken"
        if torn(said):
            return "swtpm's log lacks something of what its TPM was asked: was the disk full?"
        if not self._log.exists() and not self.exit_status():
            return f"swtpm's log is gone, and with it what the TPM was asked: {self._log}"
        return None

    def _said(self) -> str:
        try:
            return untrusted.read(self._log).decode(errors="replace")
        except FileNotFoundError:
            return ""  # it ended before it wrote a word, or has not begun

    def exit_status(self) -> int | None:
        """How it ended, or None while it runs."""
        return self._process.poll()


@contextmanager
def powered_tpm(tpm: Tpm, control: Path, log: Path, *, user: str | None, outlive: bool = False) -> Iterator[Swtpm]:
    """Run swtpm for one power cycle.

    The control socket is bound here and handed on, so that it can be connected to before swtpm has started. swtpm ends
    when QEMU closes the connection, and at the end of the block.

    Args:
        tpm: Its state must be there, and belong to `user`.
        control: Where to bind the control socket; at most 107 bytes.
        log: Where to dump what passes. It holds secrets in clear: keep it in a scratch folder.
        user: The user to run as; the caller when None.
        outlive: Whether it can be `released`, and goes on when the caller dies, until QEMU closes the connection.

    Raises:
        HostError: setpriv or swtpm is missing.
    """
    _require_tools()
    command = as_user(user) if outlive else bound_to_caller(user)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(control))
        listener.listen(1)
        chown_to(control, user)
        command += ["swtpm", "socket", "--ctrl", f"type=unixio,fd={listener.fileno()}", "--terminate"]
        command += ["--tpmstate", f"dir={tpm.state}", "--log", f"file={log},level={_LOG_LEVEL},truncate"]
        command += ["--tpm2"] if tpm.version is TpmVersion.TPM_2_0 else []
        swtpm = _started(command, listener.fileno())
    running = Swtpm(swtpm, log)
    try:
        yield running
    finally:
        os.close(running.wake_fd)
        if running.released:
            swtpm.returncode = 0  # disowned: subprocess warns about a child that goes on
        else:
            _end(swtpm)


@contextmanager
def listening_tpm(state: Path, server: Path, version: TpmVersion = TpmVersion.TPM_2_0) -> Iterator[None]:
    """Run swtpm as the caller, started up (TPM2_Startup, TPM_Startup), on a socket of its own for one client at a time.

    Args:
        state: Its folder.
        server: Where the socket goes, and beside it, with ``.ctrl`` behind the name, the one for control: there
            libtss2-tcti-swtpm looks for it.
        version: What it is.

    Raises:
        HostError: setpriv or swtpm is missing.
        RigError: At the end of a block that went well: it had ended by itself.
    """
    _require_tools()
    control = server.with_name(f"{server.name}.ctrl")
    for path in (server, control):
        path.unlink(missing_ok=True)
    command = [*bound_to_caller(None), "swtpm", "socket", "--tpmstate", f"dir={state}"]
    command += ["--tpm2"] if version is TpmVersion.TPM_2_0 else []
    command += ["--server", f"type=unixio,path={server}", "--ctrl", f"type=unixio,path={control}"]
    swtpm = _started([*command, "--flags", "not-need-init,startup-clear"])
    try:
        yield
        if (status := swtpm.poll()) is not None:
            raise RigError(
                f"swtpm ended by itself with status {status}, so what its clients met is none of its answers"
            )
    finally:
        _end(swtpm)


def _require_tools() -> None:
    for tool in ("setpriv", "swtpm"):
        if shutil.which(tool) is None:
            raise HostError(f"{tool} is not installed", hint=f"{DOCTOR} says what is missing")


def _started(command: list[str], *descriptors: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        start_new_session=True,  # Ctrl-C is for the harness, which then turns the machine off in order
    )


def _end(swtpm: "subprocess.Popen[bytes]") -> None:
    swtpm.terminate()  # it has gone by itself if QEMU was there and is no more
    try:
        swtpm.wait(_EXIT_SECONDS)
    except subprocess.TimeoutExpired as error:
        swtpm.kill()
        swtpm.wait(_EXIT_SECONDS)
        raise RigError(f"swtpm did not end within {_EXIT_SECONDS:.0f} s of being told to, and was killed") from error
