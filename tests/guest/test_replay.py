"""Consoles of real boots, recorded, read again: whole, one byte at a time, and in any order of the two streams."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.errors import RigError
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
    PassphraseWrong,
    PinFailed,
    PoweredOff,
    PromptShown,
    Stream,
    SystemStarted,
    SystemUp,
    TokenUsed,
    TpmToolError,
    VolumeAttaching,
    VolumeUnlocked,
)
from harness.guest.judge import judge
from harness.guest.outcome import Unlock
from harness.guest.plan import BootPlan, decide
from harness.guest.steps import Finish, Type
from harness.guest.volumes import VolumePlan
from harness.guest.witness import (
    End,
    ExternalEvidence,
    Observation,
    TypedPassphrase,
    security_key_testimony,
)
from harness.machine.ctap2_log import OK, CtapExchange
from harness.machine.tpm_log import TpmExchange
from harness.policy.pins import Fido2Pin, Pin, ServiceId, Sss, TangPin, Tpm2Pin
from harness.policy.pins.systemd_fido2 import SECURITY_KEY
from harness.services.tang_log import TangCalls, TangRequest

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
IN_INITRD = (*START, PromptShown, VolumeUnlocked, SystemStarted, SystemUp, LoginReached, PoweredOff)
IN_INITRAMFS = (
    *(*START, PromptShown, VolumeUnlocked, SystemStarted),
    *(VolumeUnlocked, SystemUp, LoginReached, PoweredOff),
)

RECORDINGS: dict[str, Recording] = {
    "first-boot-install": Recording(
        (*START, IgnitionFinished, SystemStarted, NetworkUp, VolumeUnlocked, SystemUp, LoginReached, PoweredOff),
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
    "control-auto-unlock": Recording(
        (*START, SystemStarted, NetworkUp, PromptShown, VolumeUnlocked, SystemUp, LoginReached, PoweredOff),
        (*IN_SYSTEM, VolumeAttaching, ClevisAnswered, KeyslotUsed, VolumeUnlocked, SystemUp),
    ),
    # systemd asks its tokens before a person: there is no prompt. The authenticator is that of the harness.
    "fido2-auto-unlock": Recording(
        (*START, SystemStarted, VolumeUnlocked, SystemUp, LoginReached),
        (*IN_SYSTEM, VolumeAttaching, KeyslotUsed, VolumeUnlocked, TokenUsed, VolumeUnlocked, SystemUp),
    ),
    "tang-down": FALLBACK,
    "tpm-disabled": FALLBACK,
    "tpm-replaced": Recording(
        FALLBACK.console,
        (*IN_SYSTEM, VolumeAttaching, TpmToolError, PinFailed, KeyslotUsed, VolumeUnlocked, SystemUp),
    ),
    # An encrypted root is opened in the initrd, and the journal begins there.
    "root-auto-unlock": Recording(
        IN_INITRD,
        (
            *(*FIRMWARE, VolumeAttaching, ClevisAnswered, KeyslotUsed, VolumeUnlocked),
            *(SystemStarted, NetworkUp, SystemUp),
        ),
    ),
    "root-tpm-removed": Recording(
        IN_INITRD,
        (
            *(FirmwareStarted, BootEntryStarted, VolumeAttaching, PinFailed, KeyslotUsed, VolumeUnlocked),
            *(SystemStarted, NetworkUp, SystemUp),
        ),
    ),
    # initramfs-tools: before the switch of roots there is the console alone, and nobody says who answered.
    "initramfs-passphrase": Recording(IN_INITRAMFS, (*FIRMWARE, NetworkUp, VolumeAttaching, VolumeUnlocked, SystemUp)),
    "initramfs-auto-unlock": Recording(IN_INITRAMFS, (*FIRMWARE, VolumeAttaching, VolumeUnlocked, NetworkUp, SystemUp)),
    # Debian 12; its GRUB welcomes, and its kernel says nothing before the initramfs does.
    "initramfs-12-auto-unlock": Recording(
        (
            *(FirmwareStarted, BootEntryStarted, InitrdStarted, PromptShown, VolumeUnlocked, SystemStarted),
            *(VolumeUnlocked, SystemUp, LoginReached, PoweredOff),
        ),
        (FirmwareStarted, BootEntryStarted, NetworkUp, VolumeAttaching, VolumeUnlocked, SystemUp),
    ),
    # One wrong passphrase is refused twice: systemd 257 tries the cached one again (systemd#38495).
    "wrong-passphrase": Recording(
        FALLBACK.console,
        (*IN_SYSTEM, VolumeAttaching, PinFailed, PassphraseWrong, KeyslotUsed, VolumeUnlocked, SystemUp),
    ),
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


TANG = ServiceId("tang", "tang")
SERVED = {TANG: TangCalls("tang", (TangRequest(0.0, "POST", "/rec/kid", 200, None),)).testimony}
NOT_ASKED = {TANG: TangCalls("tang").testimony}
UNSEALED = TpmExchange("Unseal", 0x15E, 0)
GAVE_SECRET = CtapExchange("getAssertion with hmac-secret", OK)
PINS = Sss(2, (Tpm2Pin(), TangPin("tang", "@TANG_URL@")))
VAR = VolumePlan("var", "/dev/disk/by-partlabel/var", PINS)
ROOT = VolumePlan("root", "/dev/disk/by-uuid/a58b75c0-b90f-55e0-b8f0-8a4788f54b8f", Tpm2Pin())
STAMP = re.compile(rb"\[ *(\d+\.\d{6})\] ")


@dataclass(frozen=True)
class Verdict:
    unlock: Unlock
    unlocked_by: frozenset[str]
    failed: frozenset[str]
    keyslot: int | None
    prompts: int


def fallback(pin: str, prompts: int = 1) -> Verdict:
    return Verdict(Unlock.PASSPHRASE_FALLBACK, frozenset({"passphrase"}), frozenset({pin}), 0, prompts)


def timed(name: str) -> list[Event]:
    """The journal tells the time; the prompts, of which only the console knows, are put where systemd began to ask."""
    console = read(Stream.CONSOLE, recorded(name, Stream.CONSOLE), 4096)
    prompts = [event for event in console if isinstance(event, PromptShown)]
    reader = BootReader()
    events: list[Event] = []
    at = 0.0
    for line in recorded(name, Stream.JOURNAL).splitlines(keepends=True):
        if stamp := STAMP.match(line):
            at = float(stamp[1])
        if b"Starting password query on /dev/ttyS0" in line:
            events.append(replace(prompts.pop(0), at=at))
        events += reader.feed(Stream.JOURNAL, line, at)
    assert not prompts
    return events


@pytest.mark.parametrize(
    ("name", "volume", "typing", "witnesses", "verdict"),
    [
        (
            "control-auto-unlock",
            VAR,
            [],
            ExternalEvidence(SERVED, (UNSEALED,)),
            Verdict(Unlock.AUTO, frozenset({"tpm2", "tang"}), frozenset(), 1, 1),
        ),
        (
            "fido2-auto-unlock",
            replace(VAR, pins=Fido2Pin()),
            [],
            ExternalEvidence(services={SECURITY_KEY: security_key_testimony((GAVE_SECRET,))}),
            Verdict(Unlock.AUTO, frozenset({"fido2"}), frozenset(), 1, 0),
        ),
        ("tang-down", VAR, ["secret"], ExternalEvidence(NOT_ASKED, (UNSEALED,)), fallback("tang")),
        ("tpm-disabled", VAR, ["secret"], ExternalEvidence(SERVED, ()), fallback("tpm2")),
        ("tpm-replaced", VAR, ["secret"], ExternalEvidence(SERVED, ()), fallback("tpm2")),
        (
            "wrong-passphrase",
            VAR,
            ["wrong", "secret"],
            ExternalEvidence(NOT_ASKED, (UNSEALED,)),
            fallback("tang", 2),
        ),
        (
            "root-auto-unlock",
            ROOT,
            [],
            ExternalEvidence(tpm=(UNSEALED,)),
            Verdict(Unlock.AUTO, frozenset({"tpm2"}), frozenset(), 1, 1),
        ),
        ("root-tpm-removed", ROOT, ["secret"], ExternalEvidence(tpm=()), fallback("tpm2")),
    ],
)
def test_a_recording_is_played_and_judged(
    name: str, volume: VolumePlan, typing: list[str], witnesses: ExternalEvidence, verdict: Verdict
) -> None:
    """In these boots the passphrase was typed once a pin had failed twice, without waiting for more."""
    plan = BootPlan((replace(volume, typing=tuple(typing or ["secret"])),))
    said, seen = play(plan, timed(name), impatient)
    assert said == typing
    outcome = judge(plan.volumes, seen, witnesses)
    assert verdict == Verdict(
        outcome.unlock, outcome.unlocked_by, outcome.failed_pins, outcome.keyslot, outcome.prompts
    )


def as_said(events: list[Event]) -> list[Event]:
    return events


def impatient(events: list[Event]) -> list[Event]:
    """Take the second failure of a pin for its last."""
    seen: Counter[str] = Counter()
    told: list[Event] = []
    for event in events:
        if isinstance(event, PinFailed):
            seen[event.pin] += 1
            event = replace(event, final=event.final or seen[event.pin] > 1)  # noqa: PLW2901
        told.append(event)
    return told


def play(
    plan: BootPlan, events: list[Event], heard: Callable[[list[Event]], list[Event]] = as_said
) -> tuple[list[str], Observation]:
    """What is typed in a boot that goes through, and what is seen."""
    typed: list[TypedPassphrase] = []
    said: list[str] = []
    step = None
    for number, event in enumerate(events, 1):
        step = decide(plan, heard(events[:number]), typed, event.at)
        if isinstance(step, Type):
            said.append(step.text)
            typed.append(TypedPassphrase(event.at, step.volume, len(step.text) + 1))
    assert isinstance(step, Finish)
    assert step.end is End.UP
    return said, Observation(tuple(events), tuple(typed), step.end, step.why, events[-1].at, plan.hold)


@pytest.mark.parametrize(
    ("name", "pins", "typing", "unlock", "unlocked_by"),
    [
        ("initramfs-passphrase", None, ["secret"], Unlock.PASSPHRASE_FALLBACK, {"passphrase"}),
        ("initramfs-auto-unlock", Tpm2Pin(), [], Unlock.AUTO, {"tpm2"}),
        ("initramfs-12-auto-unlock", Tpm2Pin(), [], Unlock.AUTO, {"tpm2"}),
    ],
)
def test_a_boot_without_a_journal_is_judged_by_its_console(
    name: str, pins: Pin | None, typing: list[str], unlock: Unlock, unlocked_by: set[str]
) -> None:
    console = read(Stream.CONSOLE, recorded(name, Stream.CONSOLE), 4096)
    events = [replace(event, at=float(number)) for number, event in enumerate(console)]
    plan = BootPlan((replace(ROOT, pins=pins, typing=("secret",)),))
    said, seen = play(plan, events)
    assert said == typing
    outcome = judge(plan.volumes, seen, ExternalEvidence(tpm=(UNSEALED,) if pins else ()))
    assert outcome.unlock is unlock
    assert outcome.unlocked_by == unlocked_by


def test_a_boot_without_a_journal_needs_a_prompt_and_an_answer() -> None:
    console = read(Stream.CONSOLE, recorded("initramfs-auto-unlock", Stream.CONSOLE), 4096)
    plan = BootPlan((ROOT,))
    _, seen = play(plan, console)
    with pytest.raises(RigError, match="no TPM2_Unseal that succeeded"):
        judge(plan.volumes, seen, ExternalEvidence(tpm=()))
    unasked = replace(seen, events=tuple(event for event in seen.events if not isinstance(event, PromptShown)))
    with pytest.raises(RigError, match="neither clevis nor a token"):
        judge(plan.volumes, unasked, ExternalEvidence(tpm=(UNSEALED,)))
