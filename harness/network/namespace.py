"""A network for each guest, with nothing in it but the services that it was given.

A machine's QEMU runs in a network namespace of its own, which has a loopback and no way out (`isolated_qemu`). The
sockets that a guest can reach are bound in there and served from out here::

    with guest_network(folder, endpoints, user) as network:
        …create the domain with the emulator `isolated(qemu)` and network.environment…
        sockets = network.sockets()

So nothing on this host is in a guest's reach but those, whatever is bound to its ports; two machines may each have the
same service at the same address; and nothing on this host or beyond it reaches a guest.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import cache, process
from harness.errors import HostError, RigError
from harness.host.scratch import scratch
from harness.host.user import as_user, chown_to
from harness.host.userns import what_to_allow
from harness.network import isolated_qemu
from harness.policy.pins.placeholders import GATEWAY

_PYTHON = "/usr/bin/python3"
"""The host's own: the user that the machines run as may not be able to reach the one that runs the harness."""

_LOOPBACK = "127.0.0.1"
_HANDOVER_SECONDS = 30.0
_PROBE_SECONDS = 20.0
_CONTAINER_HINT = "in a container: allow unshare(2) with CLONE_NEWUSER and CLONE_NEWNET (seccomp, AppArmor)"
_MOST_SOCKETS = 253  # SCM_MAX_FD, unix(7)


@dataclass(frozen=True)
class Endpoint:
    """Where a guest finds a service.

    Attributes:
        port: TCP; any, those below 1024 too.
        address: IPv4, as the guest writes it: `GATEWAY`, which is the loopback of its namespace, or any other outside
            10.0.2.0/24.
        name: What the guest calls that address, or nothing; its hosts file has to hold the name.
    """

    port: int
    address: str = GATEWAY
    name: str = ""

    @property
    def url(self) -> str:
        """What a guest calls it, without the port where that is HTTP's own."""
        host = self.name or self.address
        return f"http://{host}" if self.port == 80 else f"http://{host}:{self.port}"


@dataclass(frozen=True)
class GuestNetwork:
    """The way into one machine's namespace.

    Attributes:
        environment: What the emulator must find in its environment.
    """

    environment: Mapping[str, str]
    _endpoints: Sequence[Endpoint]
    _listener: socket.socket

    def sockets(self) -> dict[Endpoint, socket.socket]:
        """The sockets, once QEMU runs: bound in the namespace, not listening, the caller's to close.

        Raises:
            RigError: They did not come.
        """
        try:
            self._listener.settimeout(_HANDOVER_SECONDS)
            sender, _ = self._listener.accept()
            with sender:
                sender.settimeout(_HANDOVER_SECONDS)
                said, descriptors, _, _ = socket.recv_fds(sender, len(isolated_qemu.READY), _MOST_SOCKETS)
        except OSError as error:
            raise RigError("QEMU did not hand over the sockets of its network", str(error)) from error
        received = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        if said != isolated_qemu.READY or len(received) != len(self._endpoints):
            for each in received:
                each.close()
            raise RigError(f"QEMU handed over {len(received)} sockets, not {len(self._endpoints)}", repr(said))
        return dict(zip(self._endpoints, received, strict=True))


@contextmanager
def guest_network(folder: Path, endpoints: Sequence[Endpoint], user: str | None) -> Iterator[GuestNetwork]:
    """Prepare the network of a machine that is about to be turned on.

    Args:
        folder: The machine's; its path is short.
        endpoints: What is to be bound there, each once.
        user: Who runs QEMU; the caller when None.
    """
    where = folder / "network.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where))
        listener.listen(1)
        chown_to(where, user)
        listen = [[_LOOPBACK if each.address == GATEWAY else each.address, each.port] for each in endpoints]
        order = json.dumps({"socket": str(where), "listen": listen})
        yield GuestNetwork({isolated_qemu.ORDER: order}, tuple(endpoints), listener)


def isolated(emulator: Path, version: Sequence[int]) -> Path:
    """The program to run instead of QEMU, so that it has a network of its own.

    Args:
        emulator: QEMU.
        version: Of it: libvirt remembers what a program can do by its path and age, so another QEMU is another path.
    """
    source = Path(isolated_qemu.__file__)

    def build(folder: Path) -> None:
        program = folder / emulator.name
        program.write_text(f"#!{_PYTHON} -IS\n{source.read_text()}")
        program.chmod(0o755)
        (folder / isolated_qemu.REAL).write_text(str(emulator))

    key = cache.digest(source, str(emulator), list(version))
    return cache.build_once("emulator", key, build, readers=cache.EVERYBODY) / emulator.name


def require_guest_networks(user: str | None) -> None:
    """See that machines can have networks of their own here.

    Raises:
        HostError: They cannot: why, and what to allow.
    """
    said = probe_guest_networks(user)
    if said:
        what = "guests cannot be given networks of their own on this host"
        raise HostError(what, said, what_to_allow() or _CONTAINER_HINT)


def probe_guest_networks(user: str | None) -> str:
    """Have a namespace made as for a machine, and return what went wrong, in one line; nothing when it went well."""
    if not os.access(_PYTHON, os.X_OK):
        return f"there is no {_PYTHON}"
    true = Path(shutil.which("true") or "/bin/true")
    with ExitStack() as stack:
        network = stack.enter_context(guest_network(stack.enter_context(scratch(user)), [Endpoint(80)], user))
        try:
            process.run([isolated(true, ())], timeout=_PROBE_SECONDS, env=network.environment, under=as_user(user))
        except HostError as error:
            return (error.detail or error.what).splitlines()[-1]
        for each in network.sockets().values():
            each.close()
    return ""
