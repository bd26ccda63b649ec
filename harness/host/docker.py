"""The Docker daemon of this host: connect to it, start it, and say what to do when neither works."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import docker
import requests
from docker import APIClient, DockerClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import DockerException

from harness.deadline import Deadline
from harness.errors import HostError, RigError
from harness.files import tail
from harness.host.docker_address import SYSTEM_SOCKET, docker_address
from harness.host.requirement import command
from harness.ownership import claimed_run_dir
from harness.paths import DOCTOR
from harness.process import run
from harness.progress import Progress

CALL_SECONDS = 60
"""How long one call may take. The longest one imports an image of 30 MB."""

_LOOPBACK = {None, "", "localhost", "127.0.0.1", "::1"}


@contextmanager
def docker_client(timeout: int = CALL_SECONDS) -> Iterator[DockerClient]:
    """Connect to the daemon that DOCKER_HOST names, else to the system's, else to the user's own (rootless).

    Args:
        timeout: Seconds that each call may take.

    Raises:
        HostError: No daemon of this host answers; with the command that makes one.
    """
    address = _address()
    try:
        version = _version(address, timeout)
    except (OSError, ValueError, DockerException, requests.RequestException) as error:
        raise HostError(f"no Docker daemon answers at {address}", str(error), _remedy(address)) from error
    with closing(DockerClient(base_url=address, timeout=timeout, version=version)) as client:
        yield client


def _version(address: str, timeout: int) -> str:
    """The version of its API that the daemon speaks. A client that asks by itself leaks sockets when that fails."""
    parts = urlsplit(address)
    if parts.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(timeout)
            probe.connect(parts.path)
    with closing(APIClient(base_url=address, timeout=timeout, version=DEFAULT_DOCKER_API_VERSION)) as client:
        version: str = client.version(api_version=False)["ApiVersion"]
    return version


@contextmanager
def docker_call(what: str) -> Iterator[None]:
    """Turn what the Docker SDK raises into a `RigError` that says what was being done (`what`: an infinitive)."""
    try:
        yield
    except docker.errors.APIError as error:
        raise RigError(f"Docker could not {what}", error.explanation or str(error)) from error
    except (DockerException, requests.RequestException) as error:
        raise RigError(
            f"Docker did not answer when asked to {what}", str(error), f"{DOCTOR} looks at the daemon"
        ) from error


def start_daemon(progress: Progress, timeout: float = 60.0) -> None:
    """Make sure that a daemon answers: start one if there is none and we are root.

    Under systemd its unit is started; elsewhere dockerd runs by itself, detached, and stays.

    Args:
        progress: Says that it is being started.
        timeout: Seconds until it must answer.

    Raises:
        HostError: It is not installed, it did not come up (with the end of its log), or we are not root.
    """
    address = _address()
    if _answers():
        return
    if os.geteuid() != 0 or _is_named_elsewhere(address):
        raise HostError(f"no Docker daemon answers at {address}", hint=_remedy(address))
    with progress.step("starting the Docker daemon"):
        if _under_systemd():
            run(["systemctl", "start", "docker"], timeout=timeout)
            return
        _start_detached(Deadline.after(timeout))


def _start_detached(deadline: Deadline) -> None:
    program = command("dockerd")
    if program is None:
        raise HostError("dockerd is not installed", hint="apt-get install docker.io, or: dnf install moby-engine")
    log = claimed_run_dir() / "dockerd.log"
    # Not a Popen: the daemon is meant to outlive us, and a Popen warns about a child that is left running.
    pid = os.posix_spawn(
        program,
        [program],
        os.environ,
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    with os.fdopen(os.pidfd_open(pid), "rb") as end:
        _await_answer(pid, end, log, deadline)


def _await_answer(pid: int, end: BinaryIO, log: Path, deadline: Deadline) -> None:
    """Ask again and again, until it answers, ends (`end` becomes readable, pidfd_open(2)), or is late."""
    while not _answers():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            raise HostError(
                f"dockerd ended with status {os.waitstatus_to_exitcode(status)} instead of answering",
                tail(log),
                f"its whole log is {log}",
            )
        if deadline.over:
            raise HostError(
                f"dockerd (process {pid}) did not answer within {deadline.seconds:.0f} s",
                tail(log),
                f"its whole log is {log}; it was left running",
            )
        select.select([end], [], [], min(0.1, deadline.remaining))


def _under_systemd() -> bool:
    """sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def _answers() -> bool:
    try:
        with docker_client(timeout=10):
            return True
    except HostError:
        return False


def _address() -> str:
    """The daemon's address, which must lead to this host: guests reach services on its loopback."""
    address = docker_address()
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise HostError(f"DOCKER_HOST is no address: {address}", str(error), "unset DOCKER_HOST") from error
    if parts.scheme != "unix" and parts.hostname not in _LOOPBACK:
        raise HostError(
            f"DOCKER_HOST names another host ({address}), but services must run on this one",
            hint="unset DOCKER_HOST to use the daemon of this host",
        )
    return address


def _is_named_elsewhere(address: str) -> bool:
    """Whether DOCKER_HOST names another daemon than the system's, which nobody but the user can start."""
    return "DOCKER_HOST" in os.environ and address != f"unix://{SYSTEM_SOCKET}"


def _remedy(address: str) -> str:
    if _is_named_elsewhere(address):
        return "DOCKER_HOST names this daemon: start it, or use that of the system: unset DOCKER_HOST"
    path = Path(urlsplit(address).path)
    if command("dockerd") is None and not path.exists():
        return "sudo apt-get install docker.io, or: sudo dnf install moby-engine"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return 'sudo usermod -aG docker "$USER", then log in again'
    if _under_systemd():
        return "systemctl start docker" if os.geteuid() == 0 else "sudo systemctl start docker"
    by_hand = "dockerd >/var/log/dockerd.log 2>&1 &"
    return by_hand if os.geteuid() == 0 else f"sudo sh -c '{by_hand}'"
