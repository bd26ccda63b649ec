"""Watches one boot and types what its plan says: the thin shell around `boot` and `plan`.

One selector waits for the console, the journal and the rig's `wake_fds`; there is nothing to poll. `plan.decide` says
what to do, and when to look again.
"""

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from harness.deadline import Clock, Deadline
from harness.errors import GuestError, HarnessError, RigError, StallError
from harness.guest.boot import BootReader
from harness.guest.events import Event, KernelBug, KernelStalled, Panic, Stream, TpmTimeout
from harness.guest.plan import BootPlan, decide
from harness.guest.steps import Broken, Finish, Type, Wait
from harness.guest.text import LineReader
from harness.guest.witness import Observation, TypedPassphrase

QUIET_SECONDS = 0.2
"""When a boot has ended, both streams are read until neither has said anything for so long: the evidence may trail."""

_STALLS = (KernelStalled, TpmTimeout, KernelBug, Panic)
"""Said by a guest whose processors get no time, or which is emulated wrongly."""

_HINT = "this is no verdict about the guest; the whole console is in the evidence"
_HINT_OF_GUEST = "the rig worked: the file or the image asks for what failed; console and journal are in the evidence"
_DRAIN_SECONDS = 2.0
_CHUNK = 65536
_LAST_LINES = 15

Live = Callable[[bytes], None]
"""Shows console bytes as they come."""


class Watched(Protocol):
    """What is watched: a rig, or in a test a pair of sockets."""

    @property
    def console(self) -> socket.socket:
        """The serial console, both ways."""

    @property
    def journal(self) -> socket.socket:
        """The journal's console."""

    @property
    def wake_fds(self) -> tuple[int, ...]:
        """File descriptors that become readable when there may be failure."""

    @property
    def clock(self) -> Clock:
        """Seconds since it was powered on, in its own time."""

    def failure(self) -> str | None:
        """What is wrong with the rig, if anything is."""


def watch(
    rig: Watched, plan: BootPlan, *, live: Live | None = None, on_event: Callable[[Event], None] | None = None
) -> Observation:
    """Watch a boot until it has ended one way or another, and type what the plan says.

    Args:
        rig: The machine, just powered on.
        plan: What to do.
        live: Gets every byte of the console.
        on_event: Gets every event as it is seen: to change the world in mid-boot.

    Raises:
        GuestError: The guest went wrong by itself; with what it said.
        RigError: The hardware failed, the guest crashed, or a stage took longer than its deadline; with what was
            awaited and the last lines of the console.
    """
    with _Watch(rig, live, on_event) as watch:
        while True:
            step = decide(plan, watch.events, watch.typed, watch.now)
            match step:
                case Type():
                    watch.answer(step)
                case Finish():
                    watch.drain()
                    watch.require_rig()
                    return Observation(
                        tuple(watch.events), tuple(watch.typed), step.end, step.why, watch.now, plan.hold
                    )
                case Broken():
                    watch.drain()
                    last = decide(plan, watch.events, watch.typed, watch.now)
                    broken = last if isinstance(last, Broken) else step
                    watch.require_rig()
                    raise watch.error(broken.what, _kind(broken))
                case Wait() if step.until > watch.now:
                    watch.read(step.until - watch.now)
                case Wait() if step.fatal:
                    watch.require_rig()
                    waited = watch.now - step.since
                    raise watch.error(f"waited {waited:.0f} s for {step.awaited}, which did not happen")


@contextmanager
def drained(rig: Watched, live: Live | None = None, *, console: bool = True) -> Iterator[None]:
    """Take what both streams say during the block, so that the guest never waits for a reader.

    Args:
        rig: A machine whose boot was watched.
        live: Gets every byte of the console.
        console: Whether to take the console's too, or to leave it to a shell there.
    """
    wake, woken = socket.socketpair()

    def drain() -> None:
        with selectors.DefaultSelector() as selector:
            for stream in (*([rig.console] if console else []), rig.journal, woken):
                selector.register(stream, selectors.EVENT_READ, stream)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is woken:
                        return
                    source: socket.socket = key.data
                    data = _receive(source)
                    if not data:
                        selector.unregister(source)
                    elif live and source is rig.console:
                        live(data)

    reader = threading.Thread(target=drain, name="console drain", daemon=True)
    with wake, woken:
        reader.start()
        try:
            yield
        finally:
            wake.send(b"!")
            reader.join()


class _Watch:
    """The state of one watched boot."""

    def __init__(self, rig: Watched, live: Live | None, on_event: Callable[[Event], None] | None) -> None:
        self.events: list[Event] = []
        self.typed: list[TypedPassphrase] = []
        self._rig = rig
        self._live = live
        self._on_event = on_event
        self._reader = BootReader()
        self._raw = bytearray()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> "_Watch":
        self._selector.register(self._rig.console, selectors.EVENT_READ, Stream.CONSOLE)
        self._selector.register(self._rig.journal, selectors.EVENT_READ, Stream.JOURNAL)
        for wake_fd in self._rig.wake_fds:
            self._selector.register(wake_fd, selectors.EVENT_READ)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()

    @property
    def now(self) -> float:
        """Seconds from power-on, in the machine's own time: a host with other load takes nothing from it."""
        return self._rig.clock()

    def read(self, seconds: float) -> bool:
        """Read once whatever comes within so many seconds; say whether anything did."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            if isinstance(key.fileobj, socket.socket):
                self._take(key.fileobj, key.data)
        alarms = [key.fileobj for key, _ in ready if key.data is None]
        for alarm in alarms:
            self._selector.unregister(alarm)
        if alarms and (failure := self._rig.failure()):
            self.drain()
            raise self.error(failure)
        return bool(ready)

    def _take(self, source: socket.socket, stream: Stream) -> None:
        data = _receive(source)
        if not data:
            self._selector.unregister(source)
            if stream is Stream.CONSOLE:
                raise self.error(self._rig.failure() or "the machine went off in mid-boot: its console closed")
            return
        if stream is Stream.CONSOLE:
            self._raw += data
            del self._raw[:-_CHUNK]
            if self._live:
                self._live(data)
        for event in self._reader.feed(stream, data, self.now):
            self.events.append(event)
            if self._on_event:
                self._on_event(event)

    def answer(self, step: Type) -> None:
        """Type at the console."""
        data = step.text.encode() + b"\n"
        try:
            self._rig.console.sendall(data)
        except OSError as error:
            raise self.error(self._rig.failure() or f"the console does not take what is typed: {error}") from error
        self.typed.append(TypedPassphrase(self.now, step.volume, len(data), step.pin))

    def drain(self) -> None:
        """Read on until the streams are quiet; an end of the console is none of our business any more."""
        deadline = Deadline.after(_DRAIN_SECONDS)
        try:
            while not deadline.over and self.read(min(QUIET_SECONDS, deadline.remaining)):
                pass
        except RigError:
            return

    def require_rig(self) -> None:
        """See that what the guest came to, or did not come to, is not the rig's doing."""
        if failure := self._rig.failure():
            raise self.error(failure)

    def error(self, what: str, kind: type[HarnessError] = RigError) -> HarnessError:
        """Why there is no verdict, with what the guest said last."""
        texts = LineReader(interleaved=True).feed(bytes(self._raw) + b"\n")
        lines = [text.text for text in texts if text.whole]
        last = "\n".join(lines[-_LAST_LINES:]) or "(the console said nothing)"
        if any(isinstance(event, _STALLS) for event in self.events):
            kind = StallError
        return kind(what, last, _HINT_OF_GUEST if kind is GuestError else _HINT)


def _kind(broken: Broken) -> type[HarnessError]:
    return StallError if broken.starved else GuestError if broken.by_itself else RigError


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK)
    except ConnectionError:
        return b""
