"""What a verdict says, to the letter: its reason and its proofs are what a person believes it by."""

from collections.abc import Sequence
from types import MappingProxyType

import pytest

from harness.errors import RigError
from harness.guest.events import (
    ClevisAnswered,
    Event,
    KeyslotUsed,
    PinAnswered,
    PinFailed,
    PromptKind,
    PromptShown,
    Stream,
    TokenUsed,
    VolumeFailed,
    VolumeUnlocked,
)
from harness.guest.judge import judge
from harness.guest.outcome import Outcome, PinFailure, Unlock
from harness.guest.volumes import VolumePlan
from harness.guest.witness import End, ExternalEvidence, Observation, TypedPassphrase
from harness.luks2.metadata import LuksHeader, Token
from harness.machine.tpm_log import TpmExchange
from harness.policy.pins import CryptenrollPin, Pin, Pkcs11Pin, ServiceId, Sss, TangPin, Tpm2Pin
from harness.services import log
from harness.services.tang_log import TangCalls, TangRequest

TPM, TANG, TWO = Tpm2Pin(), TangPin("tang", "@TANG_URL@"), TangPin("two", "@TANG_URL:two@")
URLS = MappingProxyType({"tang": "http://10.0.2.2:80", "two": "http://10.0.2.2:81"})
UNSEALED, OTHER_PCRS = TpmExchange("Unseal", 0x15E, 0), TpmExchange("Unseal", 0x15E, 0x99D)
AGREE = "the evidence does not agree, so there is no verdict; run it again, with --lab-console"


def made(kind: type[Event], at: float, **fields: object) -> Event:
    return kind(at, Stream.JOURNAL, f"{kind.__name__} said", **fields)


def prompt(at: float, volume: str = "var", asks: PromptKind = PromptKind.PASSPHRASE) -> Event:
    return made(PromptShown, at, volume=volume, asks=asks)


def answered(at: float, volume: str = "var") -> Event:
    return made(ClevisAnswered, at, device=f"/dev/{volume}")


def opened(at: float, volume: str = "var", *, logged: bool = True) -> Event:
    return made(VolumeUnlocked, at, volume=volume, opener_is_logged=logged)


def keyslot(number: int, volume: str = "var") -> Event:
    return made(KeyslotUsed, 33.0, keyslot=number, volume=volume)


def failed(at: float, pin: str = "tang", about: str = "", server: str = "tang") -> Event:
    url = URLS[server] if pin == "tang" else ""
    return made(PinFailed, at, pin=pin, reason="no answer", about=about, url=url)


def served(server: str = "tang", *statuses: int) -> dict[ServiceId, log.Testimony]:
    requests = tuple(TangRequest(0.0, "POST", "/rec/kid", status, None) for status in statuses)
    return {ServiceId("tang", server): TangCalls(server, requests).testimony}


def volume(name: str, pins: Pin | None) -> VolumePlan:
    return VolumePlan(name, f"/dev/{name}", pins)


def judged(
    pins: Pin | Sequence[VolumePlan] | None,
    events: Sequence[Event],
    typed: Sequence[TypedPassphrase] = (),
    *,
    end: End = End.UP,
    **said: object,
) -> Outcome:
    volumes = pins if isinstance(pins, Sequence) else [volume("var", pins)]
    seen = Observation(tuple(events), tuple(typed), end, "as it ended", 90.0, 25.0)
    return judge(volumes, seen, ExternalEvidence(urls=URLS, **said))  # type: ignore[arg-type]


def test_several_volumes_together_say_all_that_each_of_them_says() -> None:
    """One opened by Tang, one by hand since its Tang was down: whoever reads the whole must miss neither."""
    events = (
        *(prompt(20.0), failed(25.0, "tpm2", about="var"), answered(28.0), opened(29.0)),
        *(prompt(30.0, "srv"), failed(31.0, server="two"), opened(60.0, "srv")),
    )
    outcome = judged(
        [volume("var", Sss(1, (TPM, TANG))), volume("srv", TWO)],
        events,
        [TypedPassphrase(50.0, "srv", 7)],
        services=served("tang", 200) | served("two"),
        tpm=(),
    )
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.reason == (
        "var: tang answered; var opened with nothing typed; "
        "srv: two failed, so its pins could not open it; the passphrase typed at 50.0 s opened srv"
    )
    assert outcome.unlocked_by == {"tang", "passphrase"}
    assert outcome.failures == (PinFailure("tpm2", "no answer", "journal"), PinFailure("two", "no answer", "journal"))
    assert outcome.proofs == (
        "0 bytes typed",
        "tang log: tang served 1 × POST /rec => 200",
        "journal at 28.0 s: ClevisAnswered said",
        "journal at 29.0 s: VolumeUnlocked said",
        "journal at 30.0 s: PromptShown said",
        "7 bytes typed, the last at 50.0 s",
        "journal at 60.0 s: VolumeUnlocked said",
    )
    assert (outcome.prompts, outcome.typed_bytes) == (2, 7)
    assert (outcome.seconds.prompt, outcome.seconds.unlock, outcome.seconds.end) == (20.0, 60.0, 90.0)


def test_several_volumes_that_said_the_same_are_shown_saying_it_once() -> None:
    events = (failed(25.0), *(made(VolumeFailed, 60.0, volume=name) for name in ("var", "srv")))
    outcome = judged([volume("var", TANG), volume("srv", TANG)], events, end=End.SHUT, services=served())
    assert outcome.failures == (PinFailure("tang", "no answer", "journal"),)
    assert (outcome.seconds.prompt, outcome.seconds.unlock) == (None, None), "none asked and none opened"


def test_a_volume_without_pins_opened_by_a_key_that_the_guest_has() -> None:
    outcome = judged(None, (keyslot(1), opened(34.0)))
    assert outcome.reason == "var opened with nothing typed, by a key that the guest has"
    assert outcome.proofs == ("journal at 34.0 s: VolumeUnlocked said", "journal at 33.0 s: KeyslotUsed said")


CLEVIS_TOKEN = MappingProxyType({"var": LuksHeader(((1, "pbkdf2"),), (Token(0, "clevis", (1,)),))})
SYSTEMD_TOKEN = MappingProxyType({"var": LuksHeader(((1, "pbkdf2"),), (Token(0, "systemd-tpm2", (1,)),))})


def test_a_keyslot_of_clevis_s_token_is_no_word_of_clevis() -> None:
    """systemd-cryptsetup tries its own tokens alone; a keyslot of clevis's opens by what clevis gave, or was typed."""
    with pytest.raises(RigError, match="neither clevis nor a token is said to have done it"):
        judged(TPM, (keyslot(1), opened(34.0)), tpm=(UNSEALED,), headers=CLEVIS_TOKEN)
    assert judged(CryptenrollPin((7,)), (keyslot(1), opened(34.0)), tpm=(UNSEALED,), headers=SYSTEMD_TOKEN).token == 0


def test_the_last_prompt_is_the_one_that_was_answered_past() -> None:
    """initramfs-tools: clevis writes to askpass's FIFO, and nothing says so."""
    events = (prompt(20.0), prompt(25.0), opened(34.0, logged=False))
    outcome = judged(TANG, events, services=served("tang", 200))
    assert outcome.proofs == (
        "0 bytes typed",
        "tang log: tang served 1 × POST /rec => 200",
        "journal at 25.0 s: PromptShown said",
        "journal at 34.0 s: VolumeUnlocked said",
    )
    with pytest.raises(RigError, match="neither clevis nor a token"):
        judged(TANG, (prompt(20.0), opened(34.0)), services=served("tang", 200))


def test_the_last_answer_of_clevis_and_the_token_are_what_opened_it() -> None:
    token = made(TokenUsed, 32.0, volume="var")
    outcome = judged(TANG, (answered(28.0), answered(31.0), token, opened(34.0)), services=served("tang", 200))
    assert outcome.proofs == (
        "0 bytes typed",
        "tang log: tang served 1 × POST /rec => 200",
        "journal at 31.0 s: ClevisAnswered said",
        "journal at 32.0 s: TokenUsed said",
        "journal at 34.0 s: VolumeUnlocked said",
    )


PIN_TYPED = (TypedPassphrase(31.0, "var", 5, pin=True),)
BOTH_ASK = Sss(2, (CryptenrollPin((7,), asks_pin=True), Pkcs11Pin()))


def test_a_pin_that_was_typed_and_the_tokens_that_answered_to_it() -> None:
    said = made(PinAnswered, 32.0, pin="pkcs11")
    outcome = judged(BOTH_ASK, (said, opened(34.0)), PIN_TYPED, tpm=(UNSEALED,))
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.reason == "it asked for the PIN; pkcs11 and tpm2 answered and var opened"
    assert outcome.unlocked_by == {"pkcs11", "tpm2"}
    assert outcome.proofs == (
        "5 bytes of PIN typed",
        "tpm: 1 × TPM2_Unseal succeeded",
        "journal at 32.0 s: PinAnswered said",
        "journal at 34.0 s: VolumeUnlocked said",
    )


@pytest.mark.parametrize(
    ("pins", "lacking"),
    [
        (None, "and it has no pins"),
        (Pkcs11Pin(), "and nothing says that it answered"),
        (BOTH_ASK, "with no TPM2_Unseal that succeeded"),
    ],
)
def test_a_pin_that_was_typed_and_nothing_that_answered_to_it(pins: Pin | None, lacking: str) -> None:
    with pytest.raises(RigError) as caught:
        judged(pins, (opened(34.0),), PIN_TYPED, tpm=())
    assert caught.value.what == f"var opened after a PIN was typed, {lacking}"
    assert caught.value.hint == AGREE


SAID_BOTH = (made(PinAnswered, 32.0, pin="pkcs11"), failed(32.5, "pkcs11"))
"""A token with another key: it decrypts, to something that opens nothing."""


def test_a_token_that_answered_a_volume_that_stayed_shut_has_failed() -> None:
    shut = judged(Pkcs11Pin(), (*SAID_BOTH, made(VolumeFailed, 40.0, volume="var")), end=End.SHUT)
    assert shut.unlock is Unlock.LOCKED
    assert shut.failed_pins == {"pkcs11"}


def test_a_token_that_answered_before_a_passphrase_was_typed_has_failed() -> None:
    by_hand = judged(Pkcs11Pin(), (*SAID_BOTH, prompt(35.0), opened(60.0)), [TypedPassphrase(50.0, "var", 7)])
    assert by_hand.unlock is Unlock.PASSPHRASE_FALLBACK
    assert by_hand.failed_pins == {"pkcs11"}
    assert judged(Pkcs11Pin(), (*SAID_BOTH, opened(34.0)), PIN_TYPED).failed_pins == frozenset()


def test_every_pin_that_is_not_proved_to_have_answered_is_named() -> None:
    with pytest.raises(RigError) as caught:
        judged(Sss(2, (TPM, TANG)), (answered(28.0), opened(29.0)), tpm=None, services=served())
    assert caught.value.what == (
        "var auto-unlocked under a TPM policy and nobody listened to the TPM "
        "and a Tang policy with no recovery in Tang's log"
    )
    assert caught.value.detail == "journal at 28.0 s: ClevisAnswered said\njournal at 29.0 s: VolumeUnlocked said"


def typed_at(at: float) -> tuple[TypedPassphrase, ...]:
    return (TypedPassphrase(at, "var", 7),)


def test_a_passphrase_may_open_it_in_the_moment_in_which_it_is_typed() -> None:
    outcome = judged(None, (prompt(20.0), opened(30.0)), typed_at(30.0))
    assert outcome.reason == "no pin guards it; the passphrase typed at 30.0 s opened var"


@pytest.mark.parametrize(
    ("pins", "events", "why"),
    [
        (
            Sss(1, (TPM, TANG)),
            [failed(22.0), failed(23.0, "tpm2")],
            "tang and tpm2 failed, so its pins could not open it",
        ),
        (
            Sss(1, (TPM, TANG, TWO)),
            [failed(22.0), failed(23.0, "tpm2")],
            "its pins did not open it within the hold time of 25 s after the prompt; tang and tpm2 failed",
        ),
        (TANG, [], "its pins did not open it within the hold time of 25 s after the prompt"),
    ],
)
def test_why_a_passphrase_was_typed(pins: Pin, events: list[Event], why: str) -> None:
    services = served() | served("two")
    outcome = judged(pins, (prompt(20.0), *events, opened(60.0)), typed_at(50.0), services=services, tpm=())
    assert outcome.reason == f"{why}; the passphrase typed at 50.0 s opened var"


def test_one_answer_for_two_volumes_names_both_and_all_that_they_need_it_for() -> None:
    events = (answered(28.0), opened(29.0), answered(30.0, "srv"), opened(31.0, "srv"))
    with pytest.raises(RigError) as caught:
        judged([volume("var", TPM), volume("srv", Tpm2Pin((7,), name="tpm2-pcr7"))], events, tpm=(UNSEALED,))
    assert caught.value.what == "var and srv auto-unlocked by tpm2 or tpm2-pcr7, and the TPM shows 1 answers"
    assert caught.value.hint == AGREE


EITHER = Sss(1, (TPM, TANG))
OPEN_BOTH = (answered(28.0), opened(29.0), answered(30.0, "srv"), opened(31.0, "srv"))


@pytest.mark.parametrize("pins", [TANG, EITHER])
def test_an_answer_is_needed_even_where_another_pin_could_have_given_it(pins: Pin) -> None:
    volumes = [volume("var", pins), volume("srv", EITHER)]
    with pytest.raises(RigError) as caught:
        judged(volumes, OPEN_BOTH, services=served("tang", 200), tpm=())
    assert caught.value.what == "var and srv auto-unlocked by tang, and tang's log shows 1 answers"
    assert judged(volumes, OPEN_BOTH, services=served("tang", 200, 200), tpm=()).unlock is Unlock.AUTO
    assert judged(volumes, OPEN_BOTH, services=served("tang", 200), tpm=(UNSEALED,)).unlock is Unlock.AUTO


def test_answers_of_several_services_are_counted_together() -> None:
    volumes = [volume(name, EITHER) for name in ("var", "srv", "opt")]
    events = (*OPEN_BOTH, answered(32.0, "opt"), opened(33.0, "opt"))
    with pytest.raises(RigError) as caught:
        judged(volumes, events, services=served("tang", 200), tpm=(UNSEALED,))
    counted = "tang's log shows 1 and the TPM shows 1 answers"
    assert caught.value.what == f"var and srv and opt auto-unlocked by tang or tpm2, and {counted}"
    assert judged(volumes, events, services=served("tang", 200, 200), tpm=(UNSEALED,)).unlock is Unlock.AUTO
