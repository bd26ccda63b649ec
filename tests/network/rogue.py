"""Stands for a guest that scans its network: run with the socket of a segment that QEMU's user network is joined to.

In a user and a network namespace of its own it has one card, a TAP device whose frames go to the segment, and the
addresses that QEMU would lease it. For each line of JSON on standard input, a list of places, it says which of them
took a connection.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

LENGTH = struct.Struct(">I")
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
SECONDS = 3.0
SET_UP = (
    "ip address add 10.0.2.15/24 dev eth0",
    "ip link set eth0 up",
    "ip route add default via 10.0.2.2",
)


def main() -> None:
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(sys.argv[1])
    user, group = os.getuid(), os.getgid()
    assert ctypes.CDLL(None).unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    card = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(card, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI))
    for command in SET_UP:
        subprocess.run(command.split(), check=True, timeout=SECONDS)
    for work in (send, receive):
        threading.Thread(target=work, args=(card, wire), daemon=True).start()
    print("up", flush=True)
    for line in sys.stdin:
        print(json.dumps([place for place in json.loads(line) if answers(*place)]), flush=True)


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), SECONDS).close()
    except OSError:
        return False
    return True


def send(card: int, wire: socket.socket) -> None:
    while frame := os.read(card, 65536):
        wire.sendall(LENGTH.pack(len(frame)) + frame)


def receive(card: int, wire: socket.socket) -> None:
    while head := wire.recv(LENGTH.size, socket.MSG_WAITALL):
        os.write(card, wire.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL))


if __name__ == "__main__":
    main()
