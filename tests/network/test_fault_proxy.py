"""the fault proxy on loopback, before a server of the test's own: no Docker, no guest."""

import io
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HostError, RigError, UsageError
from harness.network.fault_proxy import FaultProxy
from harness.network.lease import PORTS, leased_port
from harness.network.relay import Mode, message_end
from harness.progress import Progress

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
REQUEST = b"GET /adv HTTP/1.1\r\n\r\n"
PATIENCE = 10.0


class Replies(socketserver.BaseRequestHandler):
    """Answers each request with `REPLY`, one byte at a time."""

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while self.request.recv(4096):
            for index in range(len(REPLY)):
                self.request.sendall(REPLY[index : index + 1])


class Upstream(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNLOCK_LAB_RUN", str(tmp_path / "run"))
    return tmp_path


@pytest.fixture
def upstream() -> Iterator[tuple[str, int]]:
    with Upstream(("127.0.0.1", 0), Replies) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield "127.0.0.1", server.server_address[1]
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@pytest.fixture
def quiet() -> Progress:
    return Progress(io.StringIO())


@pytest.fixture
def proxy(upstream: tuple[str, int], quiet: Progress) -> Iterator[FaultProxy]:
    with FaultProxy(None, "tang", quiet) as proxy:
        proxy.upstream = upstream
        proxy.mode = Mode.OPEN
        yield proxy


def connect(proxy: FaultProxy, timeout: float = PATIENCE) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout)


def ask(proxy: FaultProxy, timeout: float = PATIENCE) -> bytes:
    """What a client gets that asks once and reads to the end."""
    with connect(proxy, timeout) as client:
        client.sendall(REQUEST)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b""))


def read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = client.recv(size - len(data))
        assert chunk, f"it ended after {data!r}"
        data += chunk
    return data


def wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def test_open_passes_bytes_on_and_records_them(proxy: FaultProxy) -> None:
    before = time.time()
    assert ask(proxy) == REPLY
    wait_for(lambda: proxy.connections[0].closed, "the end of the connection")
    [connection] = proxy.connections
    assert (connection.sent, connection.received) == (REQUEST, REPLY)
    assert connection.mode is Mode.OPEN
    assert connection.closed is not None
    assert before <= connection.opened <= connection.closed <= time.time()


def test_many_connections_at_once_keep_apart(proxy: FaultProxy) -> None:
    answers: list[bytes] = []
    clients = [threading.Thread(target=lambda: answers.append(ask(proxy))) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(PATIENCE)
    assert answers == [REPLY] * 20
    assert {connection.received for connection in proxy.connections} == {REPLY}


def test_refuse_resets_at_once(proxy: FaultProxy) -> None:
    proxy.mode = Mode.REFUSE
    start = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    assert time.monotonic() - start < 0.5
    proxy.mode = Mode.OPEN
    assert ask(proxy) == REPLY


def test_a_gate_refuses_until_it_is_opened(quiet: Progress) -> None:
    with FaultProxy(None, "tang", quiet) as proxy, pytest.raises(ConnectionRefusedError):
        connect(proxy)


def test_drop_neither_accepts_nor_refuses(proxy: FaultProxy) -> None:
    proxy.mode = Mode.DROP
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        connect(proxy, timeout=2.5)
    assert time.monotonic() - start >= 2.5
    assert proxy.dropped >= 2, "the first SYN and at least one more"
    assert proxy.connections == ()


def test_a_dropped_client_gets_through_once_the_gate_opens(proxy: FaultProxy) -> None:
    proxy.mode = Mode.DROP
    answers: list[bytes] = []
    client = threading.Thread(target=lambda: answers.append(ask(proxy)))
    client.start()
    wait_for(lambda: proxy.dropped, "a packet")
    proxy.mode = Mode.OPEN
    client.join(PATIENCE)
    assert answers == [REPLY]


def test_the_count_of_dropped_packets_survives_a_change_of_mode(proxy: FaultProxy) -> None:
    proxy.mode = Mode.DROP
    with pytest.raises(TimeoutError):
        connect(proxy, timeout=0.3)
    dropped = proxy.dropped
    assert dropped >= 1
    for mode in (Mode.REFUSE, Mode.OPEN, Mode.STALL):
        proxy.mode = mode
        assert proxy.dropped >= dropped


def test_stall_accepts_and_never_answers(proxy: FaultProxy) -> None:
    proxy.mode = Mode.STALL
    with connect(proxy, timeout=1.0) as client:
        client.sendall(REQUEST)
        with pytest.raises(TimeoutError):
            client.recv(1)
    [connection] = proxy.connections
    assert (connection.mode, connection.sent, connection.received) == (Mode.STALL, REQUEST, b"")


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.DROP, Mode.STALL])
def test_leaving_open_cuts_what_is_connected(proxy: FaultProxy, mode: Mode) -> None:
    with connect(proxy) as client:
        client.sendall(REQUEST)
        wait_for(lambda: proxy.connections and proxy.connections[0].received == REPLY, "the reply")
        read(client, len(REPLY))
        proxy.mode = mode
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert proxy.connections[0].closed is not None


def test_setting_the_same_mode_again_cuts_nothing(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        client.sendall(REQUEST)
        proxy.mode = Mode.OPEN
        assert read(client, len(REPLY)) == REPLY


def test_tamper_sees_whole_replies(proxy: FaultProxy) -> None:
    seen: list[bytes] = []

    def forge(reply: bytes) -> bytes:
        seen.append(reply)
        return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"

    proxy.tamper = forge
    assert ask(proxy).startswith(b"HTTP/1.1 302")
    assert seen == [REPLY], "the server sends byte by byte"
    assert proxy.connections[0].received.startswith(b"HTTP/1.1 302"), "the record holds what the guest got"
    proxy.tamper = None
    assert ask(proxy) == REPLY
    assert [connection.tampered for connection in proxy.connections] == [1, 0]


def test_a_reply_that_is_left_as_it_is_was_not_tampered_with(proxy: FaultProxy) -> None:
    proxy.tamper = bytes
    assert ask(proxy) == REPLY
    assert proxy.connections[0].tampered == 0


def test_a_failing_tamper_function_is_an_error_of_the_rig(upstream: tuple[str, int], quiet: Progress) -> None:
    with (
        pytest.raises(RigError, match=r"tampers .* failed: ZeroDivisionError"),
        FaultProxy(None, "tang", quiet) as proxy,
    ):
        proxy.upstream, proxy.mode = upstream, Mode.OPEN
        proxy.tamper = lambda reply: reply[: 1 // 0]
        with pytest.raises(OSError):
            ask(proxy)


def test_nothing_behind_an_open_gate_is_an_error_of_the_rig(quiet: Progress) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        gone = unused.getsockname()
    message = f"nothing answers behind it at 127.0.0.1:{gone[1]}"
    with pytest.raises(RigError, match=message), FaultProxy(None, "tang", quiet) as proxy:
        proxy.upstream, proxy.mode = gone, Mode.OPEN
        with pytest.raises(OSError):
            ask(proxy)
        with pytest.raises(RigError, match=message):
            proxy.mode = Mode.DROP
    with pytest.raises(RigError, match="leads nowhere"), FaultProxy(None, "tang", quiet) as proxy:
        proxy.mode = Mode.OPEN
        with pytest.raises(OSError):
            ask(proxy)


def test_the_error_of_a_test_is_not_covered_by_that_of_the_gate(quiet: Progress) -> None:
    with pytest.raises(ZeroDivisionError), FaultProxy(None, "tang", quiet) as proxy:
        proxy.mode = Mode.OPEN
        with pytest.raises(OSError):
            ask(proxy)
        raise ZeroDivisionError


def test_only_machines_at_an_allowed_site_get_through(proxy: FaultProxy) -> None:
    proxy.restrict(["home"])
    assert ask(proxy) == REPLY
    proxy.site = "elsewhere"
    with pytest.raises(TimeoutError):
        connect(proxy, timeout=1.0)
    proxy.restrict(["home"], Mode.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.restrict(None)
    assert ask(proxy) == REPLY
    assert [connection.site for connection in proxy.connections] == ["home", "elsewhere"]


def test_a_stopped_server_refuses_machines_anywhere(proxy: FaultProxy) -> None:
    proxy.restrict(["home"], Mode.DROP)
    proxy.site = "elsewhere"
    proxy.mode = Mode.REFUSE
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)


@pytest.mark.parametrize("mode", Mode)
def test_leaving_ends_everything_promptly(upstream: tuple[str, int], quiet: Progress, mode: Mode) -> None:
    threads = set(threading.enumerate())
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(None, "tang", quiet))
        proxy.upstream, proxy.mode = upstream, Mode.OPEN
        client = stack.enter_context(connect(proxy))
        client.sendall(REQUEST)
        wait_for(lambda: proxy.connections and proxy.connections[0].received == REPLY, "the reply")
        proxy.mode = mode
        start = time.monotonic()
        stack.pop_all().close()
    assert time.monotonic() - start < 1.0
    wait_for(lambda: {t for t in threading.enumerate() if "fault proxy" in t.name} <= threads, "the end of its thread")
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    with pytest.raises(RigError, match="not in place"):
        proxy.mode = Mode.OPEN


def test_the_same_port_can_be_used_again_at_once(proxy: FaultProxy, upstream: tuple[str, int], quiet: Progress) -> None:
    with FaultProxy(None, "first", quiet) as first:
        first.upstream, first.mode = upstream, Mode.OPEN
        ask(first)
        port = first.port
    with FaultProxy(port, "second", quiet) as second:
        second.upstream, second.mode = upstream, Mode.OPEN
        assert second.port == port
        assert ask(second) == REPLY


def test_a_port_is_taken_where_the_kernel_takes_none() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not set(PORTS) & set(range(first, last + 1))
    with leased_port(None, "tang", Progress(io.StringIO())) as port:
        assert port in PORTS


def test_a_foreign_program_on_the_port_is_named(quiet: Progress) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        with pytest.raises(HostError, match=f"port {port} ") as caught, FaultProxy(port, "tang", quiet):
            pass
    assert f"ss -ltnp 'sport = :{port}'" in caught.value.hint


def test_one_process_cannot_hold_a_port_twice(quiet: Progress) -> None:
    with FaultProxy(None, "first", quiet) as proxy, pytest.raises(UsageError, match=f"{proxy.port} .* for first"):
        FaultProxy(proxy.port, "second", quiet).__enter__()


HOLDER = """
import sys
from harness.network.lease import leased_port
from harness.progress import Progress
with leased_port(int(sys.argv[1]) or None, "the other test", Progress()) as port:
    print(port, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds a port until its input ends."""
    command = [sys.executable, "-c", HOLDER, "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def test_a_port_that_another_process_holds_is_waited_for(holder: tuple[subprocess.Popen[str], int]) -> None:
    process, port = holder
    said = io.StringIO()
    assert process.stdin is not None
    timer = threading.Timer(1.0, process.stdin.close)
    timer.start()
    with leased_port(port, "mine", Progress(said), wait=PATIENCE):
        assert f"mine: waiting for port {port}, which process {process.pid} (the other test) holds" in said.getvalue()
    timer.join()


def test_waiting_for_a_port_has_a_deadline(holder: tuple[subprocess.Popen[str], int], quiet: Progress) -> None:
    process, port = holder
    message = rf"process {process.pid} \(the other test\) .* within 1 s"
    with pytest.raises(HostError, match=message) as caught, leased_port(port, "mine", quiet, wait=1.0):
        pass
    assert f"ps -fp {process.pid}" in caught.value.hint


def test_a_killed_process_holds_nothing(holder: tuple[subprocess.Popen[str], int], quiet: Progress) -> None:
    process, port = holder
    os.kill(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    with leased_port(port, "mine", quiet, wait=0.0) as held:
        assert held == port


@given(body=st.binary(max_size=40), rest=st.binary(max_size=10), data=st.data())
def test_a_message_ends_after_its_body_and_never_before(body: bytes, rest: bytes, data: st.DataObject) -> None:
    message = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: %d\r\n\r\n%b" % (len(body), body)
    assert message_end(message + rest) == len(message)
    cut = data.draw(st.integers(0, len(message) - 1))
    assert message_end(message[:cut]) is None


def test_a_message_that_states_no_length_has_no_body() -> None:
    assert message_end(b"HTTP/1.1 404 Not Found\r\n\r\n") == 26
