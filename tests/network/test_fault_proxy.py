"""The fault proxy on loopback, before a server of the test's own: no Docker, no guest."""

import errno
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
from tang_client import bound_listener

from harness.errors import RigError
from harness.network.connection import Client, Mode
from harness.network.fault_proxy import FaultProxy
from harness.network.relay import reset

HERE, THERE = Client("here", "lab-1"), Client("other", "lab-2")
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


@contextmanager
def served_by(handler: type[socketserver.BaseRequestHandler]) -> Iterator[tuple[str, int]]:
    with Upstream(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield "127.0.0.1", server.server_address[1]
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@pytest.fixture
def upstream() -> Iterator[tuple[str, int]]:
    with served_by(Replies) as address:
        yield address


@contextmanager
def listening(proxy: FaultProxy, client: Client = HERE, site: str = "home") -> Iterator[int]:
    listener = bound_listener()
    with proxy.serve(listener, client, site):
        yield listener.getsockname()[1]


@pytest.fixture
def proxy(upstream: tuple[str, int]) -> Iterator[FaultProxy]:
    with FaultProxy("tang") as proxy:
        proxy.upstream = upstream
        proxy.mode = Mode.OPEN
        yield proxy


@pytest.fixture
def port(proxy: FaultProxy) -> Iterator[int]:
    with listening(proxy) as port:
        yield port


def connect(port: int, timeout: float = PATIENCE) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout)


def ask(port: int, timeout: float = PATIENCE) -> bytes:
    """What a client gets that asks once and reads to the end."""
    with connect(port, timeout) as client:
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


def test_open_passes_bytes_on_and_records_them(proxy: FaultProxy, port: int) -> None:
    before = time.time()
    assert ask(port) == REPLY
    wait_for(lambda: proxy.connections[0].closed, "the end of the connection")
    [connection] = proxy.connections
    assert (connection.sent, connection.received) == (REQUEST, REPLY)
    assert connection.mode is Mode.OPEN
    assert connection.closed is not None
    assert before <= connection.opened <= connection.closed <= time.time()


def test_many_connections_at_once_keep_apart(proxy: FaultProxy, port: int) -> None:
    answers: list[bytes] = []
    clients = [threading.Thread(target=lambda: answers.append(ask(port))) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(PATIENCE)
    assert answers == [REPLY] * 20
    assert {connection.received for connection in proxy.connections} == {REPLY}


def test_refuse_resets_at_once(proxy: FaultProxy, port: int) -> None:
    proxy.mode = Mode.REFUSE
    start = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    assert time.monotonic() - start < 0.5
    proxy.mode = Mode.OPEN
    assert ask(port) == REPLY


def test_a_proxy_refuses_until_it_is_opened() -> None:
    with FaultProxy("tang") as proxy, listening(proxy) as port, pytest.raises(ConnectionRefusedError):
        connect(port)


def test_drop_neither_accepts_nor_refuses(proxy: FaultProxy, port: int) -> None:
    proxy.mode = Mode.DROP
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        connect(port, timeout=2.5)
    assert time.monotonic() - start >= 2.5
    assert proxy.dropped() >= 2, "the first SYN and at least one more"
    assert proxy.connections == ()


def test_a_dropped_client_gets_through_once_the_proxy_opens(proxy: FaultProxy, port: int) -> None:
    proxy.mode = Mode.DROP
    answers: list[bytes] = []
    client = threading.Thread(target=lambda: answers.append(ask(port)))
    client.start()
    wait_for(proxy.dropped, "a packet")
    proxy.mode = Mode.OPEN
    client.join(PATIENCE)
    assert answers == [REPLY]


def test_the_count_of_dropped_packets_survives_a_change_of_mode(proxy: FaultProxy, port: int) -> None:
    proxy.mode = Mode.DROP
    with pytest.raises(TimeoutError):
        connect(port, timeout=0.3)
    dropped = proxy.dropped()
    assert dropped >= 1
    for mode in (Mode.REFUSE, Mode.OPEN, Mode.STALL):
        proxy.mode = mode
        assert proxy.dropped() >= dropped


def test_the_dropped_packets_of_a_machine_that_is_on_twice_add_up(proxy: FaultProxy) -> None:
    proxy.mode = Mode.DROP
    counts = []
    for _ in range(2):
        with listening(proxy) as port:
            with pytest.raises(TimeoutError):
                connect(port, timeout=0.3)
            counts.append(proxy.dropped(HERE))
    assert 1 <= counts[0] < counts[1] == proxy.dropped(HERE)


def test_stall_accepts_and_never_answers(proxy: FaultProxy, port: int) -> None:
    proxy.mode = Mode.STALL
    with connect(port, timeout=1.0) as client:
        client.sendall(REQUEST[:5])
        wait_for(lambda: proxy.connections and proxy.connections[0].sent, "the first bytes")
        client.sendall(REQUEST[5:])
        with pytest.raises(TimeoutError):
            client.recv(1)
    [connection] = proxy.connections
    assert (connection.mode, connection.sent, connection.received) == (Mode.STALL, REQUEST, b"")


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.DROP, Mode.STALL])
def test_leaving_open_cuts_what_is_connected(proxy: FaultProxy, port: int, mode: Mode) -> None:
    with connect(port) as client:
        client.sendall(REQUEST)
        wait_for(lambda: proxy.connections and proxy.connections[0].received == REPLY, "the reply")
        read(client, len(REPLY))
        proxy.mode = mode
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert proxy.connections[0].closed is not None


def test_setting_the_same_mode_again_cuts_nothing(proxy: FaultProxy, port: int) -> None:
    with connect(port) as client:
        client.sendall(REQUEST)
        proxy.mode = Mode.OPEN
        assert read(client, len(REPLY)) == REPLY


def test_tamper_sees_whole_replies(proxy: FaultProxy, port: int) -> None:
    seen: list[bytes] = []

    def forge(reply: bytes) -> bytes:
        seen.append(reply)
        return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"

    proxy.tamper = forge
    assert ask(port).startswith(b"HTTP/1.1 302")
    assert seen == [REPLY], "the server sends byte by byte"
    assert proxy.connections[0].received.startswith(b"HTTP/1.1 302"), "the record holds what the guest got"
    proxy.tamper = None
    assert ask(port) == REPLY
    assert [connection.tampered for connection in proxy.connections] == [1, 0]


def test_a_reply_that_is_left_as_it_is_was_not_tampered_with(proxy: FaultProxy, port: int) -> None:
    proxy.tamper = bytes
    assert ask(port) == REPLY
    assert proxy.connections[0].tampered == 0


def test_each_reply_of_a_connection_is_tampered_with(proxy: FaultProxy, port: int) -> None:
    proxy.tamper = bytes.upper
    with connect(port) as client:
        for _ in range(2):
            client.sendall(REQUEST)
            assert read(client, len(REPLY)) == REPLY.upper()
    assert proxy.connections[0].tampered == 2
    assert proxy.connections[0].received == REPLY.upper() * 2


class Half(socketserver.BaseRequestHandler):
    """Says all that it has to say, the end of it cut off, and then listens."""

    heard = b""

    def handle(self) -> None:
        self.request.sendall(REPLY + REPLY[:-1])
        self.request.shutdown(socket.SHUT_WR)
        type(self).heard = self.request.makefile("rb").read()


def test_half_a_reply_is_passed_on_as_it_is_and_what_is_asked_afterwards_too() -> None:
    with served_by(Half) as address, FaultProxy("tang") as proxy, listening(proxy) as port:
        proxy.upstream, proxy.mode, proxy.tamper = address, Mode.OPEN, bytes.upper
        with connect(port) as client:
            assert b"".join(iter(lambda: client.recv(4096), b"")) == REPLY.upper() + REPLY[:-1]
            client.sendall(b"and more")
            client.shutdown(socket.SHUT_WR)
            wait_for(lambda: Half.heard == b"and more", "what was asked last")


def test_a_server_that_takes_no_connection_is_an_error_of_the_rig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.network.relay.CONNECT_SECONDS", 0.2)
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        stack.enter_context(connect(full.getsockname()[1]))
        with pytest.raises(RigError, match="nothing answers behind it"), FaultProxy("tang") as proxy:
            proxy.upstream, proxy.mode = full.getsockname(), Mode.OPEN
            with proxy.connect(HERE, "home") as client:
                client.settimeout(PATIENCE)
                with suppress(ConnectionResetError):
                    assert client.recv(1) == b""


def test_a_closed_connection_needs_no_reset() -> None:
    closed = socket.socket()
    closed.close()
    reset(closed)


class Exhausted(socket.socket):
    """A socket in a process that may open no more, once."""

    def accept(self) -> tuple[socket.socket, object]:
        if not hasattr(self, "failed"):
            self.failed = True
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_a_connection_that_cannot_be_taken_is_an_error_of_the_rig() -> None:
    listener = Exhausted()
    listener.bind(("127.0.0.1", 0))
    with (
        pytest.raises(RigError, match=r"the fault proxy of tang broke: .*Too many open files"),
        FaultProxy("tang") as proxy,
        proxy.serve(listener, HERE, "home"),
    ):
        proxy.mode = Mode.OPEN
        with connect(listener.getsockname()[1]):
            wait_for(lambda: hasattr(listener, "failed"), "the failure")


def test_a_proxy_that_does_not_run_says_so() -> None:
    with pytest.raises(RigError, match="the fault proxy of tang is not running") as caught:
        FaultProxy("tang").mode = Mode.OPEN
    assert caught.value.hint == "enter its context first"


def test_a_failing_tamper_function_is_an_error_of_the_rig(upstream: tuple[str, int]) -> None:
    with (
        pytest.raises(RigError, match=r"tampers .* failed: ZeroDivisionError"),
        FaultProxy("tang") as proxy,
        listening(proxy) as port,
    ):
        proxy.upstream, proxy.mode = upstream, Mode.OPEN
        proxy.tamper = lambda reply: reply[: 1 // 0]
        with pytest.raises(OSError):
            ask(port)


def test_nothing_behind_an_open_proxy_is_an_error_of_the_rig() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        gone = unused.getsockname()
    message = f"nothing answers behind it at 127.0.0.1:{gone[1]}"
    with pytest.raises(RigError, match=message), FaultProxy("tang") as proxy, listening(proxy) as port:
        proxy.upstream, proxy.mode = gone, Mode.OPEN
        with pytest.raises(OSError):
            ask(port)
        with pytest.raises(RigError, match=message):
            proxy.mode = Mode.DROP
    with (
        pytest.raises(RigError, match="broke: the fault proxy is open, but leads nowhere"),
        FaultProxy("tang") as proxy,
        listening(proxy) as port,
    ):
        proxy.mode = Mode.OPEN
        with pytest.raises(OSError):
            ask(port)


class HangsUp(socketserver.BaseRequestHandler):
    """Takes a request, and is gone: as the process is that the kernel killed for its memory."""

    def handle(self) -> None:
        self.request.recv(4096)


class Resets(HangsUp):
    def handle(self) -> None:
        super().handle()
        reset(self.request)


@pytest.mark.parametrize("handler", [HangsUp, Resets])
def test_a_server_that_dies_over_a_request_is_an_error_of_the_rig(handler: type[HangsUp]) -> None:
    """The guest says the same of one that a scenario stopped."""
    with (
        pytest.raises(RigError, match="hung up on a request"),
        served_by(handler) as address,
        FaultProxy("tang") as proxy,
        listening(proxy) as port,
    ):
        proxy.upstream, proxy.mode = address, Mode.OPEN
        assert proxy.failure() is None
        with connect(port) as client, suppress(ConnectionResetError):
            client.sendall(REQUEST)
            assert client.recv(1) == b""
        assert "the fault proxy of tang broke: the server behind" in (proxy.failure() or "")


@pytest.mark.parametrize("said", [b"", REQUEST[:-1]])
def test_a_server_that_was_asked_nothing_may_hang_up(said: bytes) -> None:
    with served_by(HangsUp) as address, FaultProxy("tang") as proxy, listening(proxy) as port:
        proxy.upstream, proxy.mode = address, Mode.OPEN
        with connect(port) as client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        assert proxy.failure() is None


class NoMoreSockets:
    """The module, in a process that may open no more."""

    def __getattr__(self, name: str) -> object:
        return getattr(socket, name)

    def socket(self, _family: int) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")


def test_a_connection_that_cannot_be_led_on_is_an_error_of_the_rig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.network.relay.socket", NoMoreSockets())
    with (
        pytest.raises(RigError, match=r"the fault proxy of tang broke: .*Too many open files"),
        FaultProxy("tang") as proxy,
    ):
        proxy.upstream, proxy.mode = ("127.0.0.1", 1), Mode.OPEN
        with proxy.connect(HERE, "home") as client:
            client.settimeout(PATIENCE)
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""


def test_the_error_of_a_test_is_not_covered_by_that_of_the_proxy() -> None:
    with pytest.raises(ZeroDivisionError), FaultProxy("tang") as proxy, listening(proxy) as port:
        proxy.mode = Mode.OPEN
        with pytest.raises(OSError):
            ask(port)
        raise ZeroDivisionError


def test_only_machines_at_an_allowed_site_get_through(proxy: FaultProxy, port: int) -> None:
    proxy.restrict(["home"])
    assert ask(port) == REPLY
    proxy.move(HERE, "elsewhere")
    with pytest.raises(TimeoutError):
        connect(port, timeout=1.0)
    proxy.restrict(["home"], Mode.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    proxy.restrict(None)
    assert ask(port) == REPLY
    assert [connection.site for connection in proxy.connections] == ["home", "elsewhere"]


def test_a_stopped_server_refuses_machines_anywhere(proxy: FaultProxy, port: int) -> None:
    proxy.restrict(["home"], Mode.DROP)
    proxy.move(HERE, "elsewhere")
    proxy.mode = Mode.REFUSE
    with pytest.raises(ConnectionRefusedError):
        connect(port)


@pytest.mark.parametrize("mode", Mode)
def test_leaving_ends_everything_promptly(upstream: tuple[str, int], mode: Mode) -> None:
    threads = set(threading.enumerate())
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy("tang"))
        port = stack.enter_context(listening(proxy))
        proxy.upstream, proxy.mode = upstream, Mode.OPEN
        client = stack.enter_context(connect(port))
        client.sendall(REQUEST)
        wait_for(lambda: proxy.connections and proxy.connections[0].received == REPLY, "the reply")
        proxy.mode = mode
        start = time.monotonic()
        stack.pop_all().close()
    assert time.monotonic() - start < 1.0
    wait_for(lambda: {t for t in threading.enumerate() if "proxy" in t.name} <= threads, "the end of its thread")
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    with pytest.raises(RigError, match="not running"):
        proxy.mode = Mode.OPEN


def test_a_machine_that_is_turned_off_is_cut_and_the_others_are_not(proxy: FaultProxy, port: int) -> None:
    with ExitStack() as stack:
        machine = stack.enter_context(ExitStack())
        gone = machine.enter_context(listening(proxy, THERE))
        first, second = (stack.enter_context(connect(each)) for each in (gone, port))
        for client in (first, second):
            client.sendall(REQUEST)
            read(client, len(REPLY))
        machine.close()
        with pytest.raises(ConnectionResetError):
            first.recv(1)
        with pytest.raises(ConnectionRefusedError):
            connect(gone)
        second.sendall(REQUEST)
        assert read(second, len(REPLY)) == REPLY
    assert {connection.client for connection in proxy.connections} == {HERE, THERE}


def test_each_machine_meets_what_its_own_site_is_allowed(proxy: FaultProxy, port: int) -> None:
    with listening(proxy, THERE, "elsewhere") as other:
        with connect(other) as cut:
            wait_for(lambda: proxy.connections, "the connection")
            proxy.restrict(["home"])
            with pytest.raises(ConnectionResetError):
                cut.recv(1)
        with pytest.raises(TimeoutError):
            connect(other, timeout=0.5)
        assert ask(port) == REPLY
        assert (proxy.dropped(HERE), proxy.dropped(THERE) >= 1) == (0, True)
        dropped = proxy.dropped(THERE)
        proxy.move(THERE, "home")
        assert ask(other) == REPLY
    assert proxy.dropped(THERE) == proxy.dropped() == dropped, "its packets are counted after it is gone"
    assert [(each.client, each.site) for each in proxy.connections] == [
        (THERE, "elsewhere"),
        (HERE, "home"),
        (THERE, "home"),
    ]


def test_a_change_reaches_every_machine_while_another_is_turned_off(proxy: FaultProxy) -> None:
    """As a verifier makes one, in a thread of its own, whatever the machines do."""
    for _ in range(30):
        proxy.mode = Mode.OPEN
        with ExitStack() as stack:
            machine = stack.enter_context(ExitStack())
            gone = machine.enter_context(listening(proxy, THERE))
            port = stack.enter_context(listening(proxy))
            stack.enter_context(connect(gone)).sendall(REQUEST)
            wait_for(lambda: proxy.connections and proxy.connections[-1].received == REPLY, "the reply")
            change = threading.Thread(target=setattr, args=(proxy, "mode", Mode.REFUSE))
            change.start()
            machine.close()
            change.join(PATIENCE)
            with pytest.raises(ConnectionRefusedError):
                connect(port)


def test_a_machine_that_is_refused_by_name_is_cut_wherever_it_stands(proxy: FaultProxy, port: int) -> None:
    with listening(proxy, THERE) as other:
        with connect(other) as cut:
            wait_for(lambda: proxy.connections, "the connection")
            proxy.refused = frozenset({THERE.machine})
            with pytest.raises(ConnectionResetError):
                cut.recv(1)
        proxy.move(THERE, "elsewhere")
        with pytest.raises(ConnectionRefusedError):
            connect(other)
        assert ask(port) == REPLY
        proxy.refused = frozenset()
        assert ask(other) == REPLY


def test_a_door_opens_and_shuts_as_often_as_it_is_told_to(proxy: FaultProxy, port: int) -> None:
    """A socket that has listened is made to refuse and to listen again, with connections of before still about."""
    kept = []
    for _ in range(50):
        kept.append(connect(port))
        assert ask(port) == REPLY
        proxy.mode = Mode.REFUSE
        with pytest.raises(ConnectionRefusedError):
            connect(port)
        proxy.mode = Mode.OPEN
    for client in kept:
        client.close()


def test_connections_that_are_not_accepted_yet_are_cut_too(proxy: FaultProxy, port: int) -> None:
    """They come while the proxy is busy, and the change does too: it accepts one at a time."""
    busy, done = threading.Event(), threading.Event()

    def hold(reply: bytes) -> bytes:
        busy.set()
        assert done.wait(PATIENCE)
        return reply

    proxy.tamper = hold
    change = threading.Thread(target=setattr, args=(proxy, "mode", Mode.DROP))
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(port))]
        clients[0].sendall(REQUEST)
        assert busy.wait(PATIENCE)
        clients += [stack.enter_context(connect(port)) for _ in range(40)]
        change.start()
        threading.Event().wait(0.1)
        done.set()
        change.join(PATIENCE)
        for client in clients[1:]:
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_a_program_of_this_host_connects_as_a_machine_would(proxy: FaultProxy) -> None:
    with proxy.connect(THERE, "elsewhere") as client:
        client.sendall(REQUEST)
        assert read(client, len(REPLY)) == REPLY
    wait_for(lambda: proxy.connections[0].closed, "the end of the connection")
    [connection] = proxy.connections
    assert (connection.client, connection.site, connection.mode) == (THERE, "elsewhere", Mode.OPEN)
    proxy.restrict(["home"])
    with pytest.raises(ConnectionRefusedError, match="does not answer other at elsewhere"):
        proxy.connect(THERE, "elsewhere")
