"""The program that libvirt takes for QEMU: it makes a network namespace, listens in it, and becomes QEMU.

It is copied out of the package (`harness.network.namespace`), runs as the user of the machines under the host's own
``/usr/bin/python3``, and so imports nothing but the standard library. With `ORDER` in its environment it

1. enters a user namespace and a network namespace of its own (unshare(2)), whose one interface is the loopback,
2. binds the TCP sockets that it was told to bind, none of which listens yet,
3. sends them over a UNIX socket (SCM_RIGHTS, unix(7)) to the harness, which serves them from outside,
4. becomes the QEMU beside it: same process id, same descriptors, and no capability in either namespace.

QEMU's user network then leads 10.0.2.2 to a loopback where nothing is but those sockets, and all else to nowhere.
Without `ORDER` it becomes QEMU at once: so libvirt asks it what it can do.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
from pathlib import Path

ORDER = "UNLOCK_LAB_NETWORK"
"""The environment variable with the order, JSON: ``{"socket": path, "listen": [[address, port], …]}``."""

READY = b"unlock-lab: bound"
"""The message that the sockets come with, in the order of the order."""

FAILED = "unlock-lab: this guest cannot be given a network of its own"
"""How its last words begin when it fails, on standard error."""

REAL = "real"
"""The file in the folder of this program that says where QEMU is."""

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_SIOCSIFFLAGS, _SIOCSIFADDR = 0x8914, 0x8916  # linux/sockios.h
_IFF_UP = 1  # linux/if.h


def main() -> None:
    """Do as the module says."""
    order = os.environ.pop(ORDER, None)
    if order is not None:
        try:
            _isolate(json.loads(order))
        except OSError as error:
            sys.exit(f"{FAILED}: {error}")
    qemu = Path(__file__).with_name(REAL).read_text()
    os.execv(qemu, [qemu, *sys.argv[1:]])


def _isolate(order: "dict[str, object]") -> None:
    endpoints = order["listen"]
    assert isinstance(endpoints, list)
    _enter_namespaces()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _set_flags(control)
        bound = [_bind(control, number, address, port) for number, (address, port) in enumerate(endpoints)]
    with socket.socket(socket.AF_UNIX) as harness:
        harness.connect(str(order["socket"]))
        socket.send_fds(harness, [READY], [each.fileno() for each in bound])


def _enter_namespaces() -> None:
    """Enter both, as the same user: a process has every capability in a user namespace until it becomes a program."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")
    # Without the first of these the kernel does not let an ordinary user write the last (user_namespaces(7)).
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path(f"/proc/self/{name}").write_text(text)


def _set_flags(control: socket.socket) -> None:
    """Bring the loopback up (netdevice(7)); with it comes 127.0.0.1."""
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))


def _bind(control: socket.socket, number: int, address: str, port: int) -> socket.socket:
    """A bound socket; an address that is not the loopback's becomes one of its own."""
    if not address.startswith("127."):
        alias = b"lo:%d" % number
        place = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16s16s8x", alias, place))
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((address, port))
    return bound


if __name__ == "__main__":
    main()
