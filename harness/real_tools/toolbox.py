"""A shell among a guest's files, in namespaces of its own: no device, and no network but its services.

The root of the shell is the guest's tree, read-only; /tmp and /run are its own. `SHARED` is a folder of the caller's,
where sockets and headers lie. Needs no root: user, mount, process and network namespaces (user_namespaces(7)).
"""

import re
import secrets
import selectors
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import HostError, RigError
from harness.network.connection import HOME, Client
from harness.network.namespace import guest_network, isolated
from harness.policy.pins.placeholders import GATEWAY
from harness.services.service import Service, endpoints, reached

SHARED = "/run/lab"
"""Where the shell finds the caller's folder."""

MACHINE = "guest-tools"
"""What services know the shell as."""

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_ENTER = Path(__file__).with_name("enter.sh")
_START_SECONDS = 60.0
_END_SECONDS = 20.0
_CHUNK = 65536


@dataclass(frozen=True)
class Toolbox:
    """A shell that is open.

    Attributes:
        shared: The caller's folder, which the shell has as `SHARED`.
    """

    shared: Path
    _shell: "subprocess.Popen[bytes]"

    def attempt(self, script: str, timeout: float = 30.0) -> tuple[int, str]:
        """Run lines of bash; returns their exit status, and what they said on either stream.

        Raises:
            RigError: They did not end in time, which ends the shell too, or it is gone.
        """
        assert self._shell.stdin
        assert self._shell.stdout
        mark = secrets.token_hex(8)
        line = f"printf '\\n%s begins\\n' {mark}; (\n{script}\n) </dev/null 2>&1; printf '\\n%s %d\\n' {mark} $?\n"
        deadline, said = Deadline.after(timeout), b""
        try:
            self._shell.stdin.write(line.encode())
            self._shell.stdin.flush()
        except OSError as error:
            raise RigError("the shell among the guest's tools is gone", str(error)) from error
        with selectors.DefaultSelector() as selector:
            selector.register(self._shell.stdout, selectors.EVENT_READ)
            while (answer := between(mark, said)) is None:
                if deadline.over or not selector.select(deadline.remaining):
                    self._shell.kill()  # else what is asked next would wait behind it
                    raise RigError(f"a command of the guest's tools did not end within {timeout:.0f} s", script[-500:])
                data = self._shell.stdout.read1(_CHUNK)  # type: ignore[attr-defined]
                if not data:
                    raise RigError("the shell among the guest's tools has ended", said.decode(errors="replace")[-1500:])
                said += data
        return answer

    def run(self, script: str, timeout: float = 30.0) -> str:
        """Run lines of bash that must succeed; returns what they said.

        Raises:
            RigError: They failed, or as `attempt`.
        """
        status, said = self.attempt(f"set -euo pipefail\n{script}", timeout)
        if status:
            raise RigError(f"a command of the guest's tools ended with status {status}", f"{script}\n{said[-1500:]}")
        return said


def between(mark: str, said: bytes) -> tuple[int, str] | None:
    """Status and words of the command whose words stand between marks; None while it runs.

    What earlier commands left running speaks on the same stream, also in half lines: before the first mark, after the
    last, in between.
    """
    found = re.search(rf"^{mark} begins\n(.*)\n{mark} (\d+)\n", said.decode(errors="replace"), re.DOTALL | re.MULTILINE)
    return (int(found[2]), found[1]) if found else None


@cache
def tool_functions() -> str:
    """The functions of `tools.sh`, for bash."""
    return (resources.files("harness.real_tools") / "tools.sh").read_text()


@contextmanager
def toolbox(tree: Path, shared: Path, services: Collection[Service]) -> Iterator[Toolbox]:
    """Open a shell among a guest's files, with these services in reach, for the length of the block.

    Args:
        tree: The guest's files.
        shared: A folder with a short path, for sockets.
        services: None of them at the gateway: that is the loopback here.

    Raises:
        HostError: Namespaces are forbidden here, or unshare(1) is missing.
        RigError: The shell did not start.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        raise HostError("unshare is not installed", hint="apt install util-linux")
    assert all(service.endpoint.address != GATEWAY for service in services)
    with ExitStack() as stack:
        network = stack.enter_context(guest_network(shared, endpoints(services), None))
        words = [str(isolated(Path(unshare), ())), "--user", "--map-root-user", "--mount", "--pid", "--fork"]
        shell = subprocess.Popen(
            [*words, "--kill-child=KILL", "sh", str(_ENTER), str(tree), str(shared), SHARED, *_DEVICES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **network.environment},
            start_new_session=True,
        )
        stack.enter_context(ended(shell))
        sockets = network.sockets()
        stack.enter_context(reached(services, sockets, Client(MACHINE, shared.name), HOME))
        opened = Toolbox(shared, shell)
        opened.run("true", _START_SECONDS)
        yield opened


@contextmanager
def ended(shell: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End a shell with the block, whatever it does."""
    try:
        yield
    finally:
        shell.kill()
        for stream in (shell.stdin, shell.stdout):
            with suppress(OSError):  # what it was told and has not read is still to be written
                if stream:
                    stream.close()
        shell.wait(_END_SECONDS)
