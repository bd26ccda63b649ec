"""The network of a guest: its services are on it, and nothing else; who calls is known, however many are on."""

import socket
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.api import Machines, Rescue, Sealed, Unlock, faults
from harness.api.attack import Attacker, Grant

GATEWAY, GATEWAY_IPV6, NAME_SERVER = "10.0.2.2", "fec0::2", "10.0.2.3"
"""What QEMU's user network shows to a guest (qemu(1), -netdev user)."""

OUTSIDE = ("1.1.1.1", "192.0.2.1", "2606:4700:4700::1111")
"""The Internet, and a documentation address (RFC 5737) that a local network might route."""

SCAN = """while read -r address port; do
    { : 3<>"/dev/tcp/$address/$port"; } 2>/dev/null && echo "$address $port"
done
true"""
"""For bash: tells which of the places on its standard input take a connection."""


@pytest.mark.policy("tpm2-and-tang")
@pytest.mark.attack(Grant.DISK, Grant.NETWORK)
def test_a_rogue_guest_finds_its_tang_and_nothing_else(sealed: Sealed, attacker: Attacker) -> None:
    """The attacker's own system, root in a guest, scans the host, its addresses and the outside, and finds Tang alone.

    Scanned: on the gateway the privileged ports, those about Tang's, each port where a program of this host listens
    (the container of that very Tang among them), and a decoy bound to every address of the host; the decoy and SSH at
    the host's own addresses, IPv6's gateway and the name server; web and name service outside. The same scan finds Tang
    where it is, so it is no blind one; the decoy can be reached from the host. The other way, a port that the guest
    opens is on no address of the host.

    Granted: a copy of the disk, a place in the victim's network. Resisted. Cure: none needed. Source: libslirp, without
    ``restrict=on``, leads a guest to each loopback port of its host.
    """
    tang = attacker.intercept()
    with ExitStack() as stack:
        decoy = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        port = decoy.getsockname()[1]
        for address in ("127.0.0.1", *own_addresses()):
            socket.create_connection((address, port), 5).close()
        system = stack.enter_context(attacker.boot_live_system(disk=attacker.disk()))
        ports = {*range(1, 1024), *range(8000, 8100), *listening(), port}
        found = scan(system, ((GATEWAY, each) for each in sorted(ports)))
        others = (*own_addresses(), GATEWAY_IPV6, NAME_SERVER)
        found |= scan(system, ((address, each) for address in others for each in (22, 53, port)))
        found |= scan(system, ((address, each) for address in OUTSIDE for each in (53, 80, 443)))
        assert found == {(GATEWAY, tang.endpoint.port)}
        assert system.attempt(f"curl -sf {tang.url}/adv", 60)[0] == 0
        assert system.attempt("getent ahosts deb.debian.org", 120)[0] != 0
        listen = "systemd-socket-activate --accept -l 0.0.0.0:4242 cat"
        system.run(f"{listen} </dev/null >/dev/null 2>&1 & sleep 3")
        assert scan(system, [("127.0.0.1", 4242)]), "the guest does not listen, so this showed nothing"
        for address in ("127.0.0.1", *own_addresses()):
            with pytest.raises(OSError):
                socket.create_connection((address, 4242), 5)
    attacker.submit(None)  # it was the network that was tried
    assert {call.client.machine for call in tang.connections} == {"attacker"}


def scan(system: Rescue, places: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those of these places that take a TCP connection from a guest."""
    lines = "".join(f"{address} {port}\n" for address, port in places)
    said = system.run(f"timeout 1500 bash -c '{SCAN}'", 1600, stdin=lines.encode())
    return {(address, int(port)) for address, port in map(str.split, said.splitlines())}


def own_addresses() -> list[str]:
    """The IPv4 addresses of this host but for its loopback."""
    said = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True, timeout=20).stdout
    return [word for word in said.split() if "." in word]


def listening() -> set[int]:
    """The TCP ports where a program of this host listens (proc(5), /proc/net/tcp)."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


@pytest.mark.policy("tpm2-and-tang")
def test_two_copies_of_one_machine_are_on_and_judged_apart(machines: Machines) -> None:
    """Two copies of a sealed machine are on at once, with one Tang; the one that was carried away stays shut.

    Both have the same binding, to the same server at the same address. Each verdict rests on what that machine itself
    asked: the first has its recovery, the second none, though Tang's log shows that one came while the second was on.
    Source: clevis-decrypt-tang; tang(8), "Recovery".
    """
    at_home, stolen = machines.sealed("tpm2-and-tang"), machines.sealed("tpm2-and-tang")
    [tang] = at_home.tangs.values()
    assert stolen.tangs == at_home.tangs
    tang.answers_only("home")
    with stolen.powered(faults.moved_offsite, typing=()) as shut:
        assert shut.outcome.unlock is Unlock.LOCKED
        with at_home.powered() as on:
            assert on.outcome.unlock is Unlock.AUTO
            assert on.outcome.unlocked_by == {"tpm2", "tang"}
            assert shut.rig.state() == on.rig.state() == "running"
            assert [call.is_recovery for call in tang.calls(on.rig.client).requests].count(True) == 1
            assert tang.calls(shut.rig.client).requests == ()
            assert tang.calls(shut.rig.client).unanswered
            assert tang.calls(on.rig.client).unanswered == 0
            assert on.outcome.canary == at_home.canary
    assert shut.outcome.evidence != on.outcome.evidence
