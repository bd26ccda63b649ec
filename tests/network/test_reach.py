"""What a guest reaches through QEMU's user network, found by a scan, with a Linux of this host in the guest's place.

QEMU runs without a machine, its user network joined to a segment; `rogue.py` is the guest on that segment.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.host.scratch import scratch
from harness.host.session import find_emulator
from harness.machine.domain_xml import stream_netdev
from harness.machine.spec import SegmentCard
from harness.network.connection import Client, Mode
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint, GuestNetwork, guest_network, isolated
from harness.network.segment import Segment
from harness.policy.pins.placeholders import GATEWAY

pytestmark = pytest.mark.real

ROGUE = Client("rogue", "lab-1")
NEAR, FAR, SHUT = Endpoint(80), Endpoint(443, "192.0.2.7"), Endpoint(8080)
Places = list[tuple[str, int]]


class Rogue:
    """A guest that scans."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def scan(self, places: Places) -> Places:
        """Those of these places that take a connection, and do so again.

        Where nothing listens, one in 28,000 of QEMU's connections to a loopback meets itself: it is made from the very
        port that it goes to (simultaneous open, RFC 9293, 3.5).
        """
        return self._once(self._once(places))

    def _once(self, places: Places) -> Places:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(places), file=self._process.stdin, flush=True)
        return [(address, port) for address, port in json.loads(self._process.stdout.readline())]


@contextmanager
def rogue(folder: Path, emulator: Path, environment: dict[str, str]) -> Iterator[Rogue]:
    with Segment(folder, None) as segment:
        nets = ["user,id=host", "hubport,id=one,hubid=1,netdev=host"]
        nets += [stream_netdev(SegmentCard(segment.path, ""), "segment"), "hubport,id=two,hubid=1,netdev=segment"]
        command = [str(emulator), "-machine", "none", "-nodefaults", "-display", "none"]
        command += [word for net in nets for word in ("-netdev", net)]
        script = [sys.executable, str(Path(__file__).with_name("rogue.py")), str(segment.path)]
        with (
            subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL) as qemu,
            subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guest,
        ):
            try:
                assert guest.stdout
                assert guest.stdout.readline() == "up\n"
                yield Rogue(guest)
            finally:
                guest.kill()
                qemu.kill()


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch(None) as folder:
        yield folder


@pytest.fixture
def decoy() -> Iterator[int]:
    """A port where a program of this host listens, at every address of it."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def network(folder: Path) -> Iterator[GuestNetwork]:
    with guest_network(folder, [NEAR, FAR, SHUT], None) as network:
        yield network


def own_addresses() -> list[str]:
    said = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True, timeout=20).stdout
    return [word for word in said.split() if "." in word]


def test_a_guest_reaches_its_services_and_no_other_port_of_any_address(
    folder: Path, network: GuestNetwork, decoy: int
) -> None:
    emulator, _, version = find_emulator()
    with (
        rogue(folder, isolated(emulator, version), dict(network.environment)) as guest,
        FaultProxy("service") as proxy,
    ):
        sockets = network.sockets()
        with (
            proxy.serve(sockets[NEAR], ROGUE, "home"),
            proxy.serve(sockets[FAR], ROGUE, "home"),
            sockets[SHUT],
        ):
            proxy.mode = Mode.STALL
            assert guest.scan([(GATEWAY, port) for port in range(1, 2**16)]) == [(GATEWAY, 80)]
            elsewhere = [*own_addresses(), "10.0.2.3", "10.0.2.4", "1.1.1.1", "192.0.2.8"]
            ports = (22, 53, 80, 443, decoy)
            assert guest.scan([(address, port) for address in elsewhere for port in ports]) == []
            assert guest.scan([(FAR.address, port) for port in ports]) == [(FAR.address, 443)]
            proxy.mode = Mode.REFUSE
            assert guest.scan([(GATEWAY, 80), (FAR.address, 443)]) == []


def test_the_same_scan_finds_this_host_where_the_guest_has_no_network_of_its_own(folder: Path, decoy: int) -> None:
    """The control: what `isolated` is for. libslirp leads to each loopback port, and wherever this host can go."""
    emulator, _, _ = find_emulator()
    places = [(address, decoy) for address in (GATEWAY, *own_addresses())]
    with rogue(folder, emulator, {}) as guest:
        assert guest.scan(places) == places
