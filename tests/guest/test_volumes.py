"""Several volumes in one boot: each one's outcome stands on words about itself, and on answers of its own."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from harness.errors import RigError
from harness.guest.boot import BootReader
from harness.guest.events import (
    ClevisAnswered,
    ClevisDone,
    ClevisTries,
    Event,
    KeyslotUsed,
    PinFailed,
    PromptKind,
    PromptShown,
    Stream,
    TokenUsed,
    VolumeAttaching,
    VolumeUnlocked,
)
from harness.guest.judge import judge
from harness.guest.outcome import Outcome, Unlock
from harness.guest.plan import BootPlan, decide
from harness.guest.steps import Type, Wait
from harness.guest.volumes import VolumePlan, answers_for, asked_at, concerning, rounds_of
from harness.guest.witness import End, ExternalEvidence, Observation, TypedPassphrase
from harness.luks2.metadata import LuksHeader, Token
from harness.machine.tpm_log import TpmExchange
from harness.policy.pins import CryptenrollPin, Tpm2Pin

UNSEALED, REFUSED = TpmExchange("Unseal", 0x15E, 0), TpmExchange("Unseal", 0x15E, 0x99D)
FREE = VolumePlan("free", "/dev/disk/by-partlabel/free", Tpm2Pin(), ("secret",))
BOUND = VolumePlan("bound", "/dev/disk/by-partlabel/bound", Tpm2Pin((7,)), ("secret",))


def made(kind: type[Event], at: float, stream: Stream = Stream.JOURNAL, **fields: object) -> Event:
    return kind(at, stream, f"{kind.__name__} said", **fields)


def attaching(volume: str, at: float = 20.0) -> Event:
    return made(VolumeAttaching, at, volume=volume, device=f"/dev/disk/by-uuid/{volume}")


def answered(volume: str, at: float) -> Event:
    return made(ClevisAnswered, at, device=f"/dev/disk/by-uuid/{volume}")


def failed(volume: str, at: float) -> Event:
    about = f"/dev/disk/by-uuid/{volume}"
    return made(PinFailed, at, pin="tpm2", reason="Unsealing jwk from TPM failed!", about=about, final=True)


def prompt(volume: str, at: float, asks: PromptKind = PromptKind.PASSPHRASE) -> Event:
    return made(PromptShown, at, Stream.CONSOLE, volume=volume, asks=asks)


def opened(volume: str, at: float) -> Event:
    return made(VolumeUnlocked, at, volume=volume)


BOTH_ASK = (attaching("free"), attaching("bound"), prompt("free", 22.0))


def judged(*events: Event, typed: tuple[TypedPassphrase, ...] = (), tpm: tuple[TpmExchange, ...]) -> Outcome:
    seen = Observation(events, typed, End.UP, "up", 90.0, 25.0)
    return judge([FREE, BOUND], seen, ExternalEvidence(tpm=tpm))


def test_clevis_s_words_are_about_the_device_that_it_tries() -> None:
    reader = BootReader()
    said = b"".join(
        b"[   30.000000] clevis-luks-askpass[400]: %s\n" % line
        for line in (b"clevis tries /dev/a", b"Unsealing jwk from TPM failed!", b"clevis tries /dev/b")
    )
    events = [*reader.feed(Stream.JOURNAL, said, 30.0)]
    late = b"[   31.000000] clevis-luks-askpass[400]: Unsealing jwk from TPM failed!\n"
    events += reader.feed(Stream.JOURNAL, late, 31.0)
    assert [event.about for event in events if isinstance(event, PinFailed)] == ["/dev/a", "/dev/b"]


def test_systemd_s_words_are_about_the_volume_that_its_process_works_on() -> None:
    reader = BootReader()
    said = (
        b"[   30.000000] systemd-cryptsetup[7]: run one \xe2\x86\x90 /dev/a type=LUKS cipher=\n"
        b"[   30.000000] systemd-cryptsetup[8]: run two \xe2\x86\x90 /dev/b type=LUKS cipher=\n"
        b"[   31.000000] systemd-cryptsetup[7]: Failed to unseal secret using TPM2: Operation not permitted\n"
    )
    events = reader.feed(Stream.JOURNAL, said, 30.0)
    assert [event.about for event in events if isinstance(event, PinFailed)] == ["one"]


def test_a_failure_of_one_volume_is_not_the_other_s() -> None:
    events = (*BOTH_ASK, failed("bound", 30.0))
    assert any(isinstance(event, PinFailed) for event in concerning(BOUND, events, alone=False))
    assert not any(isinstance(event, PinFailed) for event in concerning(FREE, events, alone=False))
    unattributed = replace(failed("bound", 30.0), about="")  # type: ignore[call-arg]
    assert not any(isinstance(event, PinFailed) for event in concerning(BOUND, (*BOTH_ASK, unattributed), alone=False))
    assert any(isinstance(event, PinFailed) for event in concerning(BOUND, (unattributed,), alone=True))


def test_one_opens_by_the_tpm_and_the_other_is_typed() -> None:
    outcome = judged(
        *BOTH_ASK,
        answered("free", 28.0),
        opened("free", 29.0),
        failed("bound", 30.0),
        failed("bound", 34.0),
        prompt("bound", 35.0),
        opened("bound", 40.0),
        typed=(TypedPassphrase(36.0, "bound", 7),),
        tpm=(UNSEALED, REFUSED, REFUSED),
    )
    assert outcome.volumes["free"].unlock is Unlock.AUTO
    assert outcome.volumes["free"].failed_pins == frozenset()
    assert outcome.volumes["bound"].unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.volumes["bound"].failed_pins == {"tpm2"}
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK


def test_two_volumes_need_two_answers_of_the_tpm() -> None:
    events = (*BOTH_ASK, answered("free", 28.0), opened("free", 29.0), answered("bound", 30.0), opened("bound", 31.0))
    assert judged(*events, tpm=(UNSEALED, UNSEALED)).unlock is Unlock.AUTO
    with pytest.raises(RigError, match=r"free and bound auto-unlocked by tpm2, and the TPM shows 1 answers"):
        judged(*events, tpm=(UNSEALED, REFUSED))


def test_a_question_waits_since_it_was_put_and_not_since_the_console_showed_it() -> None:
    late = prompt("bound", 80.0)
    assert isinstance(late, PromptShown)
    early = attaching("free", 10.0)
    assert asked_at(BOUND, (early, *BOTH_ASK, late), late) == 20.0, "free was put before it"
    assert asked_at(BOUND, (*BOTH_ASK, prompt("bound", 19.0), late), late) == 19.0
    assert asked_at(replace(BOUND, name="other"), (late,), late) == 80.0


def test_an_answer_that_names_no_device_is_for_none_of_several() -> None:
    nameless = made(ClevisAnswered, 30.0, device="")
    assert answers_for(VolumePlan("var"), (nameless,), alone=False) == ()
    assert answers_for(VolumePlan("var"), (nameless,), alone=True) == (nameless,)


def test_a_round_counts_when_it_is_over_before_something_is_typed() -> None:
    rounds = (round_over("bound", 30.0), round_over("free", 31.0), round_over("bound", 38.0))
    assert [rounds_of(BOUND, rounds, until) for until in (30.0, 38.0, 39.0)] == [0, 1, 2]


def test_each_is_typed_only_when_its_own_pins_have_failed() -> None:
    plan = BootPlan((FREE, BOUND), hold=60.0)
    events: tuple[Event, ...] = (*BOTH_ASK, failed("bound", 30.0), failed("bound", 34.0))
    assert isinstance(decide(plan, events, (), 35.0), Wait), "the prompt is free's, and free has not failed"
    events = (*events, answered("free", 36.0), opened("free", 37.0), prompt("bound", 38.0))
    assert decide(plan, events, (), 39.0) == Type("bound", "secret")


def test_a_volume_that_waits_for_its_turn_waits_for_all_before_it() -> None:
    plan = BootPlan((FREE, BOUND), hold=25.0)
    shown = (attaching("free"), attaching("bound"), prompt("bound", 22.0))
    first = decide(plan, shown, (), 50.0)
    assert isinstance(first, Wait)
    assert first.until == 20.0 + 2 * 25.0
    # The console and the journal both say that the other one opened: that does not shorten the wait.
    after = decide(plan, (*shown, opened("free", 48.0), opened("free", 49.0)), (), 50.0)
    assert isinstance(after, Wait)
    assert after.until == first.until
    at_once = decide(plan, (*shown, opened("free", 20.0)), (), 50.0)
    assert at_once == first, "what opened in the moment in which this one was asked was still before it"
    trying = (*shown, made(ClevisTries, 60.0, device="/dev/disk/by-uuid/bound"))
    turn = decide(plan, trying, (), 61.0)
    assert isinstance(turn, Wait)
    assert turn.until == 60.0 + 25.0
    assert decide(plan, trying, (), 86.0) == Type("bound", "secret")


def round_over(volume: str, at: float) -> Event:
    return made(ClevisDone, at, volume=volume)


ROUNDS = (round_over("bound", 30.0), round_over("bound", 38.0))


def test_rounds_of_clevis_without_an_answer_decide_nothing() -> None:
    plan = BootPlan((FREE, BOUND), hold=60.0)
    shown = (prompt("free", 20.0), opened("free", 24.0), prompt("bound", 25.0))
    assert isinstance(decide(plan, (*shown, *ROUNDS), (), 84.0), Wait)
    assert decide(plan, (*shown, *ROUNDS), (), 85.0) == Type("bound", "secret")


def test_what_is_typed_after_a_round_is_a_fallback_and_before_it_no_verdict() -> None:
    volumes, typed = [FREE, BOUND], (TypedPassphrase(39.0, "bound", 7),)
    silent = made(VolumeUnlocked, 24.0, volume="free", opener_is_logged=False)
    shown = (prompt("free", 20.0), silent, prompt("bound", 25.0), opened("bound", 44.0))

    def outcome(*rounds: Event) -> Outcome:
        seen = Observation((*shown, *rounds), typed, End.UP, "up", 90.0, 25.0)
        return judge(volumes, seen, ExternalEvidence(tpm=(UNSEALED, REFUSED, REFUSED)))

    volumes_of = outcome(*ROUNDS).volumes
    assert volumes_of["free"].unlock is Unlock.AUTO
    assert volumes_of["bound"].unlock is Unlock.PASSPHRASE_FALLBACK
    assert volumes_of["bound"].reason.startswith("clevis went through its pins 2 times, and they did not open it")
    with pytest.raises(RigError, match=r"typed 14\.0 s after the prompt, and no pin failed"):
        outcome(round_over("free", 30.0), round_over("bound", 40.0))


TOKEN = LuksHeader(((0, "pbkdf2"), (1, "pbkdf2")), (Token(0, "systemd-tpm2", (1,)),))
VAR = VolumePlan("var", "/dev/vda5", CryptenrollPin((7,)), ("secret",))
SLOT = made(KeyslotUsed, 31.0, keyslot=1, volume="var")


def judged_alone(*events: Event, typed: tuple[TypedPassphrase, ...] = (), tpm: tuple[TpmExchange, ...]) -> Outcome:
    seen = Observation(events, typed, End.UP, "up", 50.0, 25.0)
    return judge([VAR], seen, ExternalEvidence(tpm=tpm, headers=MappingProxyType({"var": TOKEN})))


def test_a_token_of_systemd_opens_without_clevis() -> None:
    by_keyslot = judged_alone(SLOT, opened("var", 32.0), tpm=(UNSEALED,))
    assert (by_keyslot.unlock, by_keyslot.keyslot, by_keyslot.token) == (Unlock.AUTO, 1, 0)
    said = made(TokenUsed, 31.0, volume="var")
    assert judged_alone(said, opened("var", 32.0), tpm=(UNSEALED,)).unlocked_by == {"tpm2"}
    with pytest.raises(RigError, match="no TPM2_Unseal that succeeded"):
        judged_alone(SLOT, opened("var", 32.0), tpm=(REFUSED,))


def test_a_keyslot_of_nobody_s_token_is_no_proof() -> None:
    other = made(KeyslotUsed, 31.0, keyslot=0, volume="var")
    with pytest.raises(RigError, match="neither clevis nor a token"):
        judged_alone(other, opened("var", 32.0), tpm=(UNSEALED,))


def test_a_pin_that_opens_is_typed_and_the_tpm_answers() -> None:
    events = (prompt("", 28.0, PromptKind.PIN), SLOT, opened("var", 32.0))
    pin = (TypedPassphrase(29.0, "var", 5, pin=True),)
    outcome = judged_alone(*events, typed=pin, tpm=(UNSEALED,))
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.unlocked_by == {"tpm2"}
    assert outcome.typed_bytes == 5
    with pytest.raises(RigError, match="after a PIN was typed"):
        judged_alone(*events, typed=pin, tpm=(REFUSED,))


def test_a_passphrase_after_a_wrong_pin_is_the_passphrase_s() -> None:
    events = (
        prompt("", 28.0, PromptKind.PIN),
        made(PinFailed, 30.0, pin="tpm2", reason="TPM2 PIN unlock failed, falling back", final=True),
        prompt("var", 31.0),
        opened("var", 40.0),
    )
    typed = (TypedPassphrase(29.0, "var", 5, pin=True), TypedPassphrase(33.0, "var", 7))
    outcome = judged_alone(*events, typed=typed, tpm=(REFUSED,))
    assert outcome.unlocked_by == {"passphrase"}
    assert outcome.failed_pins == {"tpm2"}
