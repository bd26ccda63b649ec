"""A segment with sockets in the place of machines."""

import asyncio
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.host.scratch import scratch
from harness.host.session import find_emulator
from harness.machine.domain_xml import stream_netdev
from harness.machine.spec import SegmentCard
from harness.network.segment import Segment, next_frame
from harness.policy.pins.placeholders import GATEWAY

SECONDS = 10.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch(None) as folder:
        yield folder


@pytest.fixture
def segment(folder: Path) -> Iterator[Segment]:
    with Segment(folder, None) as segment:
        yield segment


@pytest.fixture
def machines(segment: Segment) -> Iterator[list[socket.socket]]:
    """Three of them; each has been heard, so the segment knows them all."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
        for number, machine in enumerate(found):
            machine.settimeout(SECONDS)
            machine.connect(str(segment.path))
            send(machine, b"here %d" % number)
            deadline = time.monotonic() + SECONDS
            while len(segment.frames) <= number:
                assert time.monotonic() < deadline
        assert [receive(found[0]) for _ in range(2)] == [b"here 1", b"here 2"]
        assert receive(found[1]) == b"here 2"
        yield found


def send(machine: socket.socket, frame: bytes) -> None:
    machine.sendall(struct.pack(">I", len(frame)) + frame)


def receive(machine: socket.socket) -> bytes:
    size = struct.unpack(">I", machine.recv(4, socket.MSG_WAITALL))[0]
    return machine.recv(size, socket.MSG_WAITALL)


def test_what_one_sends_the_others_hear_and_not_itself(segment: Segment, machines: list[socket.socket]) -> None:
    one, two, three = machines
    send(one, b"hello")
    send(two, b"world")
    assert [receive(two), receive(three), receive(three)] == [b"hello", b"hello", b"world"]
    assert receive(one) == b"world", "its own frame would have come first"
    assert segment.frames[-2:] == (b"hello", b"world")


def test_a_frame_in_pieces_is_one_frame(machines: list[socket.socket]) -> None:
    one, two, _ = machines
    for byte in struct.pack(">I", 5) + b"hello":
        one.sendall(bytes([byte]))
    assert receive(two) == b"hello"


def test_a_machine_that_is_turned_off_is_missed_by_nobody(machines: list[socket.socket]) -> None:
    one, two, three = machines
    two.close()
    for _ in range(3):
        send(one, b"hello")
        assert receive(three) == b"hello"


def test_a_machine_that_is_turned_off_in_mid_frame_has_not_sent_it(
    segment: Segment, machines: list[socket.socket]
) -> None:
    one, two, three = machines
    one.sendall(struct.pack(">I", 5) + b"hel")
    one.close()
    send(two, b"world")
    assert receive(three) == b"world"
    assert segment.frames[-2:] == (b"here 2", b"world")


def test_a_frame_in_two_pieces_takes_nothing_of_the_next() -> None:
    near, far = socket.socketpair()
    far.setblocking(False)

    async def run() -> bytes:
        near.send(struct.pack(">I", 5)[:2])
        reading = asyncio.create_task(next_frame(far))
        await asyncio.sleep(0)
        near.send(struct.pack(">I", 5)[2:] + b"hel")
        await asyncio.sleep(0.01)
        near.send(b"lo" + struct.pack(">I", 3) + b"you")
        assert await reading == b"hello"
        return await next_frame(far)

    with near, far:
        assert asyncio.run(run()) == b"you"


def test_its_socket_is_that_of_who_runs_the_machines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed = []
    monkeypatch.setattr("harness.network.segment.chown_to", lambda path, user: handed.append((path, user)))
    with Segment(folder, "somebody") as segment:
        assert handed == [(segment.path, "somebody")]


def test_a_machine_that_does_not_read_holds_up_nobody(machines: list[socket.socket]) -> None:
    """Nor does its end, which is an error (ECONNRESET, EPIPE) to who hears it and to who was telling it more."""
    one, two, three = machines
    for _ in range(1500):
        send(one, bytes(1500))
        assert receive(three) == bytes(1500)
    two.close()
    for _ in range(3):
        send(one, b"hello")
        assert receive(three) == b"hello"


def test_the_end_of_the_segment_cuts_them_off(folder: Path) -> None:
    with Segment(folder, None) as segment, socket.socket(socket.AF_UNIX) as machine:
        machine.connect(str(segment.path))
        machine.settimeout(SECONDS)
        send(machine, b"hello")
        deadline = time.monotonic() + SECONDS
        while not segment.frames:
            assert time.monotonic() < deadline
        segment.__exit__(None, None, None)
        assert machine.recv(1) == b""
        assert not segment.path.exists()


@pytest.mark.real
def test_qemu_speaks_on_it(segment: Segment) -> None:
    """QEMU's user network, joined to the segment, answers an ARP request (RFC 826)."""
    card = SegmentCard(segment.path, "52:54:00:00:00:01")
    joined = ["-netdev", "user,id=host", "-netdev", "hubport,id=one,hubid=1,netdev=host"]
    joined += ["-netdev", stream_netdev(card, "segment"), "-netdev", "hubport,id=two,hubid=1,netdev=segment"]
    emulator, _, _ = find_emulator()
    qemu = [str(emulator), "-machine", "none", "-nodefaults", "-display", "none", "-no-user-config", *joined]
    asker, target = bytes.fromhex("525400000002"), socket.inet_aton(GATEWAY)
    request = b"\xff" * 6 + asker + bytes.fromhex("0806 0001 0800 06 04 0001") + asker + socket.inet_aton("10.0.2.15")
    with subprocess.Popen(qemu, stdin=subprocess.DEVNULL) as process, socket.socket(socket.AF_UNIX) as machine:
        machine.settimeout(SECONDS)
        machine.connect(str(segment.path))
        try:
            answer = b""
            deadline = time.monotonic() + SECONDS
            while answer[12:22] != bytes.fromhex("0806 0001 0800 06 04 0002"):
                send(machine, request + bytes(6) + target)
                answer = answered(machine)
                assert time.monotonic() < deadline, "no answer"
            assert answer[28:32] == target
        finally:
            process.kill()


def answered(machine: socket.socket) -> bytes:
    """The next frame, or nothing if none comes soon: QEMU may not be there yet."""
    ready, _, _ = select.select([machine], [], [], 0.2)
    return receive(machine) if ready else b""
