"""The program that becomes QEMU in a network of its own, with Python in QEMU's place so that it can look around."""

import json
import os
import pwd
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import HostError, RigError
from harness.host.scratch import scratch
from harness.network import isolated_qemu, namespace
from harness.network.connection import Client, Mode
from harness.network.fault_proxy import FaultProxy
from harness.network.namespace import Endpoint, guest_network, isolated, probe_guest_networks

SECONDS = 30.0
PYTHON = Path("/usr/bin/python3")
SHORT, LOW, FAR = Endpoint(8080), Endpoint(80), Endpoint(443, "192.0.2.7")
CLIENT = Client("machine", "lab-1")

VISIT = """
import json, socket, sys, time
for line in sys.stdin:
    address, port = json.loads(line)
    start = time.monotonic()
    try:
        connection = socket.create_connection((address, port), 1.5)
        connection.settimeout(1.0)
        connection.sendall(b"hello")
        said = connection.recv(99).decode() or "closed"
    except OSError as error:
        said = type(error).__name__
    print(json.dumps([said, time.monotonic() - start]), flush=True)
"""
"""Stands for a guest: visits what it is told to, and says how that went."""


@dataclass(frozen=True)
class Guest:
    process: "subprocess.Popen[str]"
    sockets: dict[Endpoint, socket.socket]

    def visit(self, address: str, port: int) -> tuple[str, float]:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps([address, port]), file=self.process.stdin, flush=True)
        said, took = json.loads(self.process.stdout.readline())
        return said, took


@contextmanager
def guest(*endpoints: Endpoint, user: str | None = None) -> Iterator[Guest]:
    with ExitStack() as stack:
        network = stack.enter_context(guest_network(stack.enter_context(scratch(user)), endpoints, user))
        prefix = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        command = [*prefix, str(isolated(PYTHON, ())), "-c", VISIT]
        process = stack.enter_context(
            subprocess.Popen(
                command, env=dict(network.environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(process.kill)
        sockets = network.sockets()
        for each in sockets.values():
            stack.callback(each.close)
        yield Guest(process, sockets)


@pytest.fixture
def upstream() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_the_sockets_are_bound_where_the_guest_looks_for_them_and_refuse() -> None:
    with guest(SHORT, LOW, FAR) as inside:
        assert {each: bound.getsockname() for each, bound in inside.sockets.items()} == {
            SHORT: ("127.0.0.1", 8080),
            LOW: ("127.0.0.1", 80),
            FAR: ("192.0.2.7", 443),
        }
        for address, port in (("127.0.0.1", 8080), ("127.0.0.1", 80), ("192.0.2.7", 443)):
            said, took = inside.visit(address, port)
            assert said == "ConnectionRefusedError"
            assert took < 0.5


def test_refused_silent_and_stalled_are_what_they_are_from_inside(upstream: socket.socket) -> None:
    with guest(LOW) as inside, FaultProxy("tang") as proxy, proxy.serve(inside.sockets[LOW], CLIENT, "home"):
        proxy.upstream = upstream.getsockname()
        for _ in range(2):
            proxy.mode = Mode.STALL
            assert inside.visit("127.0.0.1", 80)[0] == "TimeoutError"
            assert bytes(proxy.connections[-1].sent) == b"hello"
            stalled = len(proxy.connections)
            proxy.mode = Mode.DROP
            said, took = inside.visit("127.0.0.1", 80)
            assert said == "TimeoutError"
            assert took >= 1.5
            assert proxy.dropped(CLIENT) >= 1
            proxy.mode = Mode.REFUSE
            assert inside.visit("127.0.0.1", 80)[0] == "ConnectionRefusedError"
            assert len(proxy.connections) == stalled, "silent and refused never came to be connections"


def test_nothing_else_is_in_reach(upstream: socket.socket) -> None:
    port = upstream.getsockname()[1]
    with guest(LOW) as inside:
        assert inside.visit("127.0.0.1", port)[0] == "ConnectionRefusedError", "this host's own loopback"
        for address in ("192.0.2.7", "1.1.1.1", *own_addresses()):
            said, took = inside.visit(address, port)
            assert said == "OSError", address  # network is unreachable
            assert took < 0.5


def own_addresses() -> list[str]:
    said = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True, timeout=SECONDS).stdout
    return [word for word in said.split() if "." in word]


def test_two_guests_have_the_same_address_at_the_same_time() -> None:
    with guest(LOW) as one, guest(LOW) as two:
        one.sockets[LOW].listen(1)
        with pytest.raises(BlockingIOError):
            one.sockets[LOW].setblocking(False)
            one.sockets[LOW].accept()
        assert two.visit("127.0.0.1", 80)[0] == "ConnectionRefusedError"
        assert one.visit("127.0.0.1", 80)[0] == "TimeoutError"


def test_what_it_becomes_has_no_capability_and_the_same_user() -> None:
    program = "print(open('/proc/self/status').read())"
    with scratch(None) as folder, guest_network(folder, [], None) as network:
        done = subprocess.run(
            [isolated(PYTHON, ()), "-c", program],
            env=dict(network.environment),
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        assert network.sockets() == {}
    fields = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == str(os.getuid())
    if os.getuid():
        assert int(fields["CapEff"], 16) == 0


def test_without_an_order_it_becomes_the_program_where_it_is() -> None:
    program = "import os; print(os.readlink('/proc/self/ns/net'))"
    done = subprocess.run(
        [isolated(PYTHON, ()), "-c", program], env={}, capture_output=True, text=True, check=True, timeout=SECONDS
    )
    assert done.stdout.strip() == str(Path("/proc/self/ns/net").readlink())


def test_what_cannot_be_bound_is_told_and_nothing_runs() -> None:
    with scratch(None) as folder, guest_network(folder, [Endpoint(80, "tang.example")], None) as network:
        done = subprocess.run(
            [isolated(PYTHON, ()), "-c", "print('ran')"],
            env=dict(network.environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert "cannot be given a network of its own: illegal IP address" in done.stderr


def test_sockets_that_do_not_come_are_an_error_of_the_rig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "_HANDOVER_SECONDS", 0.2)
    with scratch(None) as folder, guest_network(folder, [LOW], None) as network:
        start = time.monotonic()
        with pytest.raises(RigError, match="did not hand over"):
            network.sockets()
        assert time.monotonic() - start < SECONDS


def test_the_machines_user_can_have_networks_here() -> None:
    user = "unlock-lab" if os.getuid() == 0 else None
    if user:
        try:
            pwd.getpwnam(user)
        except KeyError:
            pytest.skip("the set-up has not made the machines' user")
    assert probe_guest_networks(user) == ""
    with guest(LOW, user=user) as inside:
        inside.sockets[LOW].listen(1)
        assert inside.visit("127.0.0.1", 80)[0] == "TimeoutError"


def test_a_host_that_forbids_them_is_told_so_with_what_to_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "probe_guest_networks", lambda _user: "unshare: Operation not permitted")
    for allow, hint in (("sudo sysctl -w x=1", "sudo sysctl -w x=1"), ("", "in a container: allow unshare")):
        monkeypatch.setattr(namespace, "what_to_allow", lambda allow=allow: allow)
        with pytest.raises(HostError, match="networks of their own") as caught:
            namespace.require_guest_networks(None)
        assert caught.value.detail == "unshare: Operation not permitted"
        assert hint in caught.value.hint


def test_what_fails_in_the_probe_is_its_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path))
    read, failing = Path.read_text, "\ndef _enter_namespaces():\n    raise OSError(1, 'forbidden')\n\nif __name__"
    monkeypatch.setattr(Path, "read_text", lambda path: read(path).replace("\nif __name__", failing))
    assert probe_guest_networks(None) == f"{isolated_qemu.FAILED}: [Errno 1] forbidden"
    monkeypatch.setattr(namespace, "_PYTHON", "/no/python")
    assert probe_guest_networks(None) == "there is no /no/python"


def test_another_qemu_is_another_program(tmp_path: Path) -> None:
    assert isolated(PYTHON, (10, 0, 2)) != isolated(PYTHON, (10, 0, 3))
    assert isolated(PYTHON, (10, 0, 2)) == isolated(PYTHON, (10, 0, 2))


def test_it_ends_with_the_process_that_started_it() -> None:
    """The signal that setpriv(1) asks for outlasts the namespaces and the program that it becomes."""
    program = (
        "import subprocess, sys\n"
        "command = ['setpriv', '--pdeathsig=KILL', '--', *sys.argv[1:]]\n"
        "print(subprocess.Popen(command).pid, flush=True); sys.stdin.read()\n"
    )
    with scratch(None) as folder, guest_network(folder, [LOW], None) as network:
        command = [str(PYTHON), "-c", program, str(isolated(PYTHON, ())), "-c", "import time; time.sleep(600)"]
        with subprocess.Popen(command, env=dict(network.environment), stdin=-1, stdout=-1, text=True) as owner:
            assert owner.stdout
            machine = os.pidfd_open(int(owner.stdout.readline()))
            for each in network.sockets().values():
                each.close()
            assert select.select([machine], [], [], 0)[0] == []
            owner.kill()
            assert select.select([machine], [], [], SECONDS)[0] == [machine]
    os.close(machine)
