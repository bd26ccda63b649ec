"""Consoles of real boots, recorded, read again: whole, one byte at a time, and in any order of the two streams."""

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.guest.boot import BootReader
from harness.guest.events import (
    BootEntryStarted,
    ClevisAnswered,
    EmergencyShell,
    Event,
    FirmwareStarted,
    IgnitionFailed,
    IgnitionFinished,
    InitrdStarted,
    KernelStarted,
    KeyslotUsed,
    LoginReached,
    NetworkUp,
    PinFailed,
    PromptShown,
    Stream,
    SystemStarted,
    SystemUp,
    VolumeAttaching,
    VolumeUnlocked,
)
from harness.guest.judge import judge
from harness.guest.outcome import Unlock
from harness.guest.plan import BootPlan, Finish, Type, VolumePlan, decide
from harness.guest.witness import End, Observation, TangSeen, TypedPassphrase, Witnesses
from harness.machine.tpm_log import TpmExchange
from harness.network.log import TangRequest
from harness.policy.pins import Sss, TangPin, Tpm2Pin

CONSOLES = Path(__file__).parent / "consoles"


@dataclass(frozen=True)
class Recording:
    """What a recorded boot must show: the classes of events of each stream, in order, repetitions left out."""

    console: tuple[type[Event], ...]
    journal: tuple[type[Event], ...]


FIRMWARE = (FirmwareStarted, BootEntryStarted, KernelStarted)  # OVMF speaks on every console that it finds
START = (*FIRMWARE, InitrdStarted)

IN_SYSTEM = (*FIRMWARE, NetworkUp, SystemStarted, NetworkUp)
FALLBACK = Recording(
    (*START, SystemStarted, NetworkUp, PromptShown, VolumeUnlocked, SystemUp, LoginReached),
    (*IN_SYSTEM, VolumeAttaching, PinFailed, KeyslotUsed, VolumeUnlocked, SystemUp),
)

RECORDINGS: dict[str, Recording] = {
    "first-boot-install": Recording(
        (*START, IgnitionFinished, SystemStarted, NetworkUp, VolumeUnlocked, SystemUp, LoginReached),
        (
            *FIRMWARE,
            NetworkUp,
            IgnitionFinished,
            SystemStarted,
            NetworkUp,
            VolumeAttaching,
            VolumeUnlocked,
            SystemUp,
        ),
    ),
    "first-boot-ignition-failed": Recording(
        (*START, IgnitionFailed, EmergencyShell), (*FIRMWARE, NetworkUp, IgnitionFailed)
    ),
    "auto-unlock": Recording(
        (*START, SystemStarted, NetworkUp, PromptShown, VolumeUnlocked, SystemUp, LoginReached),
        (*IN_SYSTEM, VolumeAttaching, ClevisAnswered, KeyslotUsed, VolumeUnlocked, SystemUp),
    ),
    "tang-down": FALLBACK,
    "tpm-disabled": FALLBACK,
}


def read(stream: Stream, data: bytes, size: int) -> list[Event]:
    reader = BootReader()
    return [
        event for start in range(0, len(data), size) for event in reader.feed(stream, data[start : start + size], 1.0)
    ]


def classes(events: list[Event]) -> tuple[type[Event], ...]:
    kinds = [type(event) for event in events]
    return tuple(kind for number, kind in enumerate(kinds) if number == 0 or kinds[number - 1] is not kind)


def recorded(name: str, stream: Stream) -> bytes:
    return (CONSOLES / f"{name}.{stream}").read_bytes()


def test_every_recording_is_in_the_table() -> None:
    names = Counter(path.stem for path in CONSOLES.iterdir() if path.suffix in (".console", ".journal"))
    assert set(names) == set(RECORDINGS)
    assert set(names.values()) == {2}, "a recording is a pair: NAME.console and NAME.journal"


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("stream", Stream)
def test_a_recording_shows_what_happened(name: str, stream: Stream) -> None:
    data = recorded(name, stream)
    whole = read(stream, data, len(data))
    assert classes(whole) == getattr(RECORDINGS[name], stream)
    assert read(stream, data, 1) == whole
    assert read(stream, data, 4096) == whole


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_streams_do_not_disturb_each_other(name: str) -> None:
    """But for what may be said only once, one stream's events do not depend on the other's place in time."""
    console, journal = recorded(name, Stream.CONSOLE), recorded(name, Stream.JOURNAL)

    def both(first: Stream) -> set[Event]:
        reader = BootReader()
        order = [(Stream.CONSOLE, console), (Stream.JOURNAL, journal)]
        order.sort(key=lambda pair: pair[0] is not first)
        return {
            replace(event, stream=Stream.CONSOLE, line="")
            for stream, data in order
            for event in reader.feed(stream, data, 1.0)
        }

    assert both(Stream.CONSOLE) == both(Stream.JOURNAL)


SERVED = TangSeen("tang", (TangRequest(0.0, "POST", "/rec/kid", 200, None),))
UNSEALED = TpmExchange("Unseal", 0x15E, 0)
PINS = Sss(2, (Tpm2Pin(), TangPin("tang", "@TANG_URL@")))
TYPE = Type("var", "secret")
STAMP = re.compile(rb"\[ *(\d+\.\d{6})\] ")


@dataclass(frozen=True)
class Verdict:
    unlock: Unlock
    unlocked_by: frozenset[str]
    failed: frozenset[str]
    keyslot: int | None


FALLBACK_OF = {
    pin: Verdict(Unlock.PASSPHRASE_FALLBACK, frozenset({"passphrase"}), frozenset({pin}), 0) for pin in ("tang", "tpm2")
}


@pytest.mark.parametrize(
    ("name", "witnesses", "verdict"),
    [
        (
            "auto-unlock",
            Witnesses((SERVED,), (UNSEALED,)),
            Verdict(Unlock.AUTO, frozenset({"tpm2", "tang"}), frozenset(), 1),
        ),
        ("tang-down", Witnesses((TangSeen("tang"),), (UNSEALED,)), FALLBACK_OF["tang"]),
        ("tpm-disabled", Witnesses((SERVED,), ()), FALLBACK_OF["tpm2"]),
    ],
)
def test_a_recording_is_judged(name: str, witnesses: Witnesses, verdict: Verdict) -> None:
    """The journal tells the time; the prompt, of which only the console knows, is put where systemd began to ask."""
    reader = BootReader()
    console = read(Stream.CONSOLE, recorded(name, Stream.CONSOLE), 4096)
    events: list[Event] = []
    events.extend(event for event in console if isinstance(event, PromptShown))
    at = 0.0
    for line in recorded(name, Stream.JOURNAL).splitlines(keepends=True):
        if stamp := STAMP.match(line):
            at = float(stamp[1])
        if b"Starting password query on /dev/ttyS0" in line:
            events = [replace(event, at=at) for event in events]
        events += reader.feed(Stream.JOURNAL, line, at)
    failures = [event.at for event in events if isinstance(event, PinFailed)]
    plan = BootPlan((VolumePlan("var", "/dev/disk/by-partlabel/var", PINS, ("secret",)),))
    typed: tuple[TypedPassphrase, ...] = ()
    if failures:
        assert len(failures) == 2
        before = [event for event in events if event.at <= failures[-1]]
        assert decide(plan, [event for event in before if event.at < failures[-1]], (), failures[0]) != TYPE
        assert decide(plan, before, (), failures[-1]) == TYPE
        typed = (TypedPassphrase(failures[-1] + 0.1, "var", 7),)
    finish = decide(plan, events, typed, at)
    assert isinstance(finish, Finish)
    assert finish.end is End.UP
    outcome = judge(plan.volumes, Observation(tuple(events), typed, finish.end, finish.why, at, plan.hold), witnesses)
    assert Verdict(outcome.unlock, outcome.unlocked_by, outcome.failed_pins, outcome.keyslot) == verdict
    assert outcome.prompts == 1
