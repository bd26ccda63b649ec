"""Controller hosts that are machines, with this host's bash in place of the guest's: what is stored, asked and told."""

import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.edge import machine
from harness.edge.machine import ControllerMachine, on_site
from harness.edge.protection import Form, ProtectWithTpm
from harness.edge.seal import found_site
from harness.edge.store import Unreadable, in_guest
from harness.edge.tower import ControlTower
from harness.errors import RigError
from harness.machine.spec import Firmware, Machine


class HostsShell:
    """This host's bash, called as a guest's shell is."""

    def run(self, command: str, timeout: float = 60.0, *, check: bool = True, stdin: bytes = b"") -> str:
        script = stdin.replace(b"-p /run ", b"")  # root's alone
        done = subprocess.run(["bash", "-c", command], input=script, capture_output=True, timeout=timeout, check=check)
        return done.stdout.decode()

    def read_file(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def write_file(self, path: str, data: bytes) -> None:
        Path(path).write_bytes(data)


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is on, with its folder and its segment on this host."""
    monkeypatch.setattr(machine, "_FOLDER", str(tmp_path / "disk"))
    monkeypatch.setattr(machine, "_NETWORK", "127.0.0.")
    return SimpleNamespace(shell=HostsShell())


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The host 2, which answers with the shares in the list, one a connection."""
    shares: list[str] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(shares.pop(0).encode())

    with socketserver.TCPServer(("127.0.0.2", 0), Handler) as server:
        port = server.server_address[1]
        functions = machine._functions().replace("port=7007", f"port={port}")
        monkeypatch.setattr(machine, "_functions", lambda: functions)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield shares
        server.shutdown()
        serving.join()


def test_a_machine_on_its_site_has_a_card_and_an_address_there_and_keeps_that_at_home() -> None:
    segment: Any = SimpleNamespace(path=Path("/s.sock"))
    context: Any = None
    firmware = Firmware("any", Path("code"), Path("template"), secure_boot=False)
    plain = Machine("host", firmware, Path("nvram"), (), None)
    joined = on_site(segment, 3)(plain, context)
    assert [card.segment for card in joined.cards] == [Path("/s.sock")]
    [string] = joined.smbios_oem_strings
    key, _, arguments = string.partition("=")
    assert key == "io.systemd.stub.kernel-cmdline-extra"
    assert arguments == "ip=enp1s0:dhcp ip=10.77.0.3:::255.255.255.0::enp0s24:none"


def test_a_guests_tools_tell_status_and_words_and_leave_the_script_to_bash() -> None:
    shell: Any = HostsShell()
    tools = in_guest(shell)
    assert tools.attempt("cat; echo out; echo err >&2; exit 3", 20) == (3, "out\nerr\n")
    assert tools.attempt("printf share", 20) == (0, "share")


def test_a_share_in_clear_and_the_site_key_beside_it_unseal_a_single_host(on: Any) -> None:
    tower = ControlTower()
    site = found_site(1, tower)
    host = ControllerMachine(on)
    assert host.give(site, ProtectWithTpm.NEVER).form is Form.PLAIN
    assert host.gather() == site.shares
    assert host.unseal(host.gather(), tower) == site.seal_key
    assert isinstance(ControllerMachine(on, site="another").store.read(), Unreadable)


def test_a_host_asks_its_peers_and_counts_those_that_answer(on: Any, peer: list[str]) -> None:
    tower = ControlTower()
    site = found_site(3, tower)
    host, other, silent = (ControllerMachine(on, number) for number in (1, 2, 3))
    host.give(site, ProtectWithTpm.NEVER)
    peer += [site.shares[1], ""]
    gathered = host.gather([other, silent])
    assert gathered == site.shares[:2]
    assert host.unseal(gathered, tower) == site.seal_key
    alone = host.gather([other, silent])
    assert alone == site.shares[:1], "a peer that cannot read its share says nothing"
    assert host.unseal(alone, tower) is None


def test_what_fails_on_a_host_names_it(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SEGMENT_CARD", "no-such-card")
    with pytest.raises(RigError, match="unplug on controller 2 ended with status"):
        ControllerMachine(on, 2).unplug()
