"""Truth tables: pins against evidence. A verdict needs proof; proof that does not agree is the rig's fault."""

from dataclasses import replace
from itertools import product
from time import process_time

import pytest

from harness.errors import RigError
from harness.guest.events import (
    ClevisAnswered,
    Event,
    KeyslotUsed,
    NoPromptPossible,
    PassphraseWrong,
    PinAnswered,
    PinFailed,
    PromptKind,
    PromptShown,
    Stream,
    TokenUsed,
    VolumeAttaching,
    VolumeUnlocked,
)
from harness.guest.judge import judge
from harness.guest.outcome import Outcome, PinFailure, Unlock
from harness.guest.volumes import VolumePlan
from harness.guest.witness import (
    End,
    ExternalEvidence,
    Observation,
    TypedPassphrase,
    security_key_testimony,
)
from harness.luks2.metadata import LuksHeader, Token
from harness.machine.ctap2_log import CtapExchange
from harness.machine.tpm_log import TpmExchange
from harness.policy.pins import Fido2Pin, Pin, Pkcs11Pin, ServiceId, Sss, TangPin, Tpm2Pin, Tpm12Pin, holds
from harness.policy.pins.systemd_fido2 import SECURITY_KEY
from harness.services import log
from harness.services.tang_log import TangCalls, TangRequest

TPM, TANG, TWO = Tpm2Pin(), TangPin("tang", "@TANG_URL@"), TangPin("two", "@TANG_URL:two@")
BOTH, EITHER = Sss(2, (TPM, TANG)), Sss(1, (TPM, TANG))
URLS = {"tang": "http://10.0.2.2:8080", "two": "http://10.0.2.2:9090"}
SERVED = TangRequest(0.0, "POST", "/rec/kid", 200, None)
MISSING = TangRequest(0.0, "POST", "/rec/kid", 404, None)
UNSEALED = TpmExchange("Unseal", 0x15E, 0)
OTHER_PCRS = TpmExchange("Unseal", 0x15E, 0x99D)
HEADER = LuksHeader(((0, "pbkdf2"), (1, "pbkdf2")), (Token(0, "clevis", (1,)),))


def made(kind: type[Event], at: float, stream: Stream = Stream.JOURNAL, **fields: object) -> Event:
    return kind(at, stream, f"{kind.__name__} said", **fields)


PROMPT = made(PromptShown, 30.0, Stream.CONSOLE, volume="var", asks=PromptKind.PASSPHRASE)
CLEVIS = made(ClevisAnswered, 35.0, device="/dev/disk/by-uuid/x", uuid="x")
SLOT = made(KeyslotUsed, 36.0, keyslot=1, volume="var")
OPEN = made(VolumeUnlocked, 37.0, volume="var")
TANG_FAILED = made(PinFailed, 31.0, pin="tang", reason="Error communicating", url=URLS["tang"])
TPM_FAILED = made(PinFailed, 31.0, pin="tpm2", reason="needed!")
TYPED = TypedPassphrase(36.0, "var", 7)


def seen(*events: Event, typed: tuple[TypedPassphrase, ...] = (), end: End = End.UP, why: str = "why") -> Observation:
    return Observation(events, typed, end, why, 50.0, 25.0)


def tang(
    *requests: TangRequest, unanswered: int = 0, tampered: int = 0, server: str = "tang"
) -> dict[ServiceId, log.Testimony]:
    return {ServiceId("tang", server): TangCalls(server, requests, unanswered, tampered).testimony}


def volume(pins: Pin | None) -> VolumePlan:
    return VolumePlan("var", "/dev/vda5", pins)


def judged(pins: Pin | None, observation: Observation, witnesses: ExternalEvidence) -> Outcome:
    return judge([volume(pins)], observation, witnesses)


ANSWERED = ExternalEvidence(tang(SERVED), (UNSEALED,), URLS)


def test_auto_unlock_in_full() -> None:
    witnesses = replace(ANSWERED, headers={"var": HEADER}, pcrs={7: "ab"}, canaries={"var": "tweet"})
    outcome = judged(BOTH, seen(PROMPT, CLEVIS, SLOT, OPEN), witnesses)
    assert outcome.unlock is Unlock.AUTO
    assert outcome.reason == "tang and tpm2 answered; var opened with nothing typed"
    assert outcome.unlocked_by == {"tpm2", "tang"}
    assert (outcome.keyslot, outcome.token) == (1, 0)
    assert outcome.failed_pins == frozenset()
    assert outcome.prompts == 1
    assert outcome.typed_bytes == 0
    assert (outcome.seconds.prompt, outcome.seconds.unlock, outcome.seconds.end) == (30.0, 37.0, 50.0)
    assert (outcome.pcrs, outcome.canary) == ({7: "ab"}, "tweet")
    assert outcome.proofs == (
        "0 bytes typed",
        "tpm: 1 × TPM2_Unseal succeeded",
        "tang log: tang served 1 × POST /rec => 200",
        "journal at 35.0 s: ClevisAnswered said",
        "journal at 37.0 s: VolumeUnlocked said",
        "journal at 36.0 s: KeyslotUsed said",
    )


@pytest.mark.parametrize("pins", [TPM, TANG, BOTH, EITHER, Sss(2, (EITHER, TWO)), Sss(2, (TPM, TANG, TWO))])
@pytest.mark.parametrize(("tpm", "one", "two"), list(product((False, True), repeat=3)))
def test_auto_unlock_iff_the_pins_that_answered_suffice(pins: Pin, tpm: bool, one: bool, two: bool) -> None:
    witnesses = ExternalEvidence(
        tang(*([SERVED] if one else [])) | tang(*([SERVED] if two else []), server="two"),
        (UNSEALED,) if tpm else (),
        URLS,
    )
    names = frozenset(name for name, there in (("tpm2", tpm), ("tang", one), ("two", two)) if there)
    if holds(pins, names):
        outcome = judged(pins, seen(PROMPT, CLEVIS, OPEN), witnesses)
        assert outcome.unlock is Unlock.AUTO
        assert outcome.unlocked_by <= names
        assert holds(pins, outcome.unlocked_by)
    else:
        with pytest.raises(RigError, match="auto-unlocked under a"):
            judged(pins, seen(PROMPT, CLEVIS, OPEN), witnesses)


def test_auto_unlock_without_a_recovery_in_tang_s_log_is_no_verdict() -> None:
    with pytest.raises(RigError, match="under a Tang policy with no recovery in Tang's log") as caught:
        judged(BOTH, seen(CLEVIS, OPEN), ExternalEvidence(tang(MISSING), (UNSEALED,), URLS))
    assert "journal at 35.0 s: ClevisAnswered said" in caught.value.detail


@pytest.mark.parametrize(
    ("exchanges", "words"), [(None, "nobody listened"), ((), "no TPM2_Unseal"), ((OTHER_PCRS,), "no TPM2_Unseal")]
)
def test_auto_unlock_without_an_unseal_is_no_verdict(exchanges: tuple[TpmExchange, ...] | None, words: str) -> None:
    with pytest.raises(RigError, match=words):
        judged(TPM, seen(CLEVIS, OPEN), ExternalEvidence(tpm=exchanges))


def test_auto_unlock_without_clevis_s_word_is_no_verdict() -> None:
    with pytest.raises(RigError, match="neither clevis nor a token"):
        judged(BOTH, seen(PROMPT, OPEN), ANSWERED)


def test_auto_unlock_by_a_keyslot_of_no_token_is_no_verdict() -> None:
    slot = made(KeyslotUsed, 36.0, keyslot=0, volume="var")
    with pytest.raises(RigError, match="keyslot 0 opened var, and no token leads to it"):
        judged(BOTH, seen(CLEVIS, slot, OPEN), replace(ANSWERED, headers={"var": HEADER}))


def test_a_volume_without_pins_that_opens() -> None:
    outcome = judged(None, seen(SLOT, OPEN), ExternalEvidence(headers={"var": LuksHeader(((1, "pbkdf2"),), ())}))
    assert (outcome.unlock, outcome.unlocked_by, outcome.keyslot, outcome.token) == (Unlock.AUTO, frozenset(), 1, None)
    with pytest.raises(RigError, match="nothing says by which keyslot"):
        judged(None, seen(OPEN), ExternalEvidence())


def test_a_pin_that_failed_and_then_answered_did_not_fail() -> None:
    outcome = judged(BOTH, seen(TANG_FAILED, CLEVIS, OPEN), ANSWERED)
    assert outcome.failed_pins == frozenset()


def test_a_pin_that_failed_and_was_not_needed_is_named() -> None:
    outcome = judged(EITHER, seen(TANG_FAILED, CLEVIS, OPEN), ExternalEvidence(tang(), (UNSEALED,), URLS))
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tpm2"}
    assert outcome.failed_pins == {"tang"}


def test_a_reply_that_was_changed_on_its_way_is_no_answer() -> None:
    outcome = judged(
        TANG, seen(PROMPT, OPEN, typed=(TYPED,)), ExternalEvidence(tang(SERVED, SERVED, tampered=2), (), URLS)
    )
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failures == (PinFailure("tang", "2 replies changed on their way", "fault proxy"),)
    with pytest.raises(RigError, match="no pin failed"):
        judged(TANG, seen(PROMPT, OPEN, typed=(TYPED,)), ExternalEvidence(tang(SERVED, tampered=0), (), URLS))


def test_fallback_in_full() -> None:
    outcome = judged(
        BOTH,
        seen(PROMPT, TANG_FAILED, OPEN, typed=(TYPED,)),
        ExternalEvidence(tang(MISSING, MISSING, unanswered=2), (UNSEALED,), URLS),
    )
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.unlocked_by == {"passphrase"}
    assert outcome.failed_pins == {"tang"}
    assert outcome.failures == (
        PinFailure("tang", "Error communicating", "journal"),
        PinFailure("tang", "POST /rec/kid => 404", "tang log"),
        PinFailure("tang", "2 connections, none answered", "fault proxy"),
    )
    assert outcome.typed_bytes == 7
    assert outcome.reason == "tang failed, so its pins could not open it; the passphrase typed at 36.0 s opened var"
    assert outcome.proofs == (
        "console at 30.0 s: PromptShown said",
        "7 bytes typed, the last at 36.0 s",
        "journal at 37.0 s: VolumeUnlocked said",
    )


@pytest.mark.parametrize("pins", [TPM, TANG, BOTH, EITHER])
@pytest.mark.parametrize(("tpm", "one"), list(product((False, True), repeat=2)))
def test_fallback_iff_the_pins_that_failed_were_needed(pins: Pin, tpm: bool, one: bool) -> None:
    """Each leaf either failed, in words and deed, or nobody heard of it; typed before the hold time."""
    failed = frozenset(name for name, there in (("tpm2", tpm), ("tang", one)) if there)
    events = (PROMPT, *([TPM_FAILED] if tpm else []), *([TANG_FAILED] if one else []), OPEN)
    witnesses = ExternalEvidence(tang(*([MISSING] if one else [])), (OTHER_PCRS,) if tpm else (), URLS)
    if not holds(pins, frozenset({"tpm2", "tang"}) - failed):
        outcome = judged(pins, seen(*events, typed=(TYPED,)), witnesses)
        assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
        assert outcome.failed_pins <= failed
    else:
        with pytest.raises(RigError, match="no pin failed"):
            judged(pins, seen(*events, typed=(TYPED,)), witnesses)


def test_the_tpm_s_own_answers_prove_a_failure() -> None:
    outcome = judged(TPM, seen(PROMPT, OPEN, typed=(TYPED,)), ExternalEvidence(tpm=(OTHER_PCRS, OTHER_PCRS)))
    assert outcome.failures == (PinFailure("tpm2", "Unseal -> 0x99d", "tpm"),)


@pytest.mark.parametrize(
    "exchange", [TpmExchange("NV_ReadPublic", 0x169, 0x18B), TpmExchange("Load", 0x157, 0x922)], ids=str
)
def test_other_failures_of_the_tpm_prove_nothing(exchange: TpmExchange) -> None:
    with pytest.raises(RigError, match="no pin failed"):
        judged(TPM, seen(PROMPT, OPEN, typed=(TYPED,)), ExternalEvidence(tpm=(exchange,)))


HELD = TypedPassphrase(60.5, "var", 7)
LATE = made(VolumeUnlocked, 62.0, volume="var")


def test_fallback_by_the_hold_time() -> None:
    outcome = judged(BOTH, seen(PROMPT, LATE, typed=(HELD,)), ExternalEvidence(tang(), (UNSEALED,), URLS))
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.failed_pins == frozenset()
    assert "within the hold time of 30 s" in outcome.reason


def test_fallback_by_the_hold_time_names_what_failed() -> None:
    pins = Sss(1, (TPM, TANG))
    outcome = judged(pins, seen(PROMPT, TPM_FAILED, LATE, typed=(HELD,)), ExternalEvidence(tang(), (), URLS))
    assert "; tpm2 failed" in outcome.reason


def test_slow_pins_are_no_fallback() -> None:
    with pytest.raises(RigError, match="a slow host"):
        judged(BOTH, seen(PROMPT, LATE, typed=(HELD,)), ANSWERED)


def test_typed_and_answered_at_once_is_no_verdict() -> None:
    clevis = made(ClevisAnswered, 36.5, device="/dev/disk/by-uuid/x")
    with pytest.raises(RigError, match="both clevis and we had answered"):
        judged(BOTH, seen(PROMPT, TANG_FAILED, clevis, OPEN, typed=(TYPED,)), ExternalEvidence(tang(), (), URLS))


def test_clevis_s_wrong_passphrase_before_ours_is_a_fallback() -> None:
    wrong = made(PassphraseWrong, 35.5, volume="var")
    witnesses = ExternalEvidence(tang(), (UNSEALED,), URLS)
    outcome = judged(BOTH, seen(PROMPT, TANG_FAILED, CLEVIS, wrong, OPEN, typed=(TYPED,)), witnesses)
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK


def test_typed_when_it_was_open_is_no_verdict() -> None:
    with pytest.raises(RigError, match="was open before"):
        judged(BOTH, seen(PROMPT, OPEN, typed=(HELD,)), ExternalEvidence())


def test_typed_without_a_prompt_is_no_verdict() -> None:
    with pytest.raises(RigError, match="no prompt was seen"):
        judged(BOTH, seen(OPEN, typed=(TYPED,)), ExternalEvidence())


def test_a_volume_without_pins_falls_back_at_once() -> None:
    outcome = judged(None, seen(PROMPT, OPEN, typed=(TYPED,)), ExternalEvidence())
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert outcome.reason.startswith("no pin guards it")


def test_locked_at_a_prompt() -> None:
    outcome = judged(
        BOTH, seen(PROMPT, TPM_FAILED, end=End.WAITING, why="it asks"), ExternalEvidence(tang(SERVED), (), URLS)
    )
    assert (outcome.unlock, outcome.reason, outcome.prompts) == (Unlock.LOCKED, "it asks", 1)
    assert outcome.unlocked_by == frozenset()
    assert outcome.failed_pins == {"tpm2"}
    assert outcome.proofs == ("console at 30.0 s: PromptShown said",)


def test_locked_without_a_prompt() -> None:
    headless = made(NoPromptPossible, 31.0, reason="headless")
    outcome = judged(TPM, seen(headless, TPM_FAILED, end=End.SHUT, why="headless"), ExternalEvidence(tpm=()))
    assert (outcome.unlock, outcome.prompts) == (Unlock.LOCKED, 0)
    assert outcome.proofs == ("journal at 31.0 s: NoPromptPossible said",)


def test_locked_in_a_boot_that_went_through() -> None:
    outcome = judged(TPM, seen(PROMPT), ExternalEvidence(tpm=()))
    assert outcome.reason == "the boot finished and var stayed shut"


def test_a_volume_that_the_guest_has_open_is_not_called_locked() -> None:
    """Seen on a busy host: the guest's journal lost the line that said so."""
    with pytest.raises(RigError, match="open in the guest, and nobody was seen to open it"):
        judged(TPM, seen(PROMPT), ExternalEvidence(tpm=(), open=frozenset({"var"})))


@pytest.mark.parametrize(
    "observation",
    [
        seen(PROMPT, CLEVIS, OPEN),
        seen(PROMPT, TPM_FAILED, PassphraseWrong(36.5, Stream.CONSOLE, "no"), OPEN, typed=(TYPED,)),
    ],
    ids=["by itself", "after a wrong passphrase"],
)
def test_a_guest_that_says_opened_and_has_it_shut_gets_no_verdict(observation: Observation) -> None:
    witnesses = replace(ANSWERED, tpm=() if observation.typed else (UNSEALED,), open=frozenset({"var"}))
    assert judged(TPM, observation, witnesses).unlock
    with pytest.raises(RigError, match="said to have opened, and it is not open in the guest"):
        judged(TPM, observation, replace(witnesses, open=frozenset()))


def test_a_keyslot_of_a_volume_that_stayed_shut_is_none() -> None:
    assert judged(TPM, seen(SLOT, end=End.SHUT), ExternalEvidence(tpm=())).keyslot is None


def test_refused() -> None:
    outcome = judged(BOTH, seen(end=End.REFUSED, why="Access Denied"), ExternalEvidence())
    assert (outcome.unlock, outcome.reason) == (Unlock.REFUSED, "Access Denied")


ROOT = VolumePlan("root", "/dev/a", TANG)
VAR = VolumePlan("var", "/dev/b", TANG)
TWO_OPEN = (
    made(VolumeAttaching, 28.0, volume="root", device="/dev/disk/by-uuid/r"),
    made(VolumeAttaching, 28.0, volume="var", device="/dev/disk/by-uuid/v"),
    made(PromptShown, 29.0, Stream.CONSOLE, volume="root", asks=PromptKind.PASSPHRASE),
    made(ClevisAnswered, 33.0, device="/dev/disk/by-uuid/r"),
    made(VolumeUnlocked, 34.0, volume="root"),
    PROMPT,
)
VAR_CLEVIS = made(ClevisAnswered, 36.0, device="/dev/disk/by-uuid/v")


def test_two_volumes_that_opened() -> None:
    witnesses = ExternalEvidence(tang(SERVED, SERVED), (), URLS)
    outcome = judge([ROOT, VAR], seen(*TWO_OPEN, VAR_CLEVIS, OPEN), witnesses)
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tang"}
    assert outcome.prompts == 2
    assert (outcome.seconds.prompt, outcome.seconds.unlock, outcome.seconds.end) == (29.0, 37.0, 50.0)
    assert {name: each.unlock for name, each in outcome.volumes.items()} == {"root": Unlock.AUTO, "var": Unlock.AUTO}


def test_two_volumes_need_two_recoveries() -> None:
    with pytest.raises(RigError, match="root and var auto-unlocked by tang, and tang's log shows 1 answers"):
        judge([ROOT, VAR], seen(*TWO_OPEN, VAR_CLEVIS, OPEN), ExternalEvidence(tang(SERVED), (), URLS))


def test_servers_that_opened_nothing_cost_no_time() -> None:
    silent = [f"server{number}" for number in range(20)]
    pins = Sss(1, (TANG, *(TangPin(name, f"@TANG_URL:{name}@") for name in silent)))
    services = tang(SERVED)
    for name in silent:
        services |= tang(server=name)
    started = process_time()
    assert judged(pins, seen(PROMPT, CLEVIS, OPEN), ExternalEvidence(services, (), URLS)).unlocked_by == {"tang"}
    assert process_time() - started < 2.0


def test_two_volumes_are_as_bad_as_the_worse() -> None:
    witnesses = ExternalEvidence(tang(SERVED), (), URLS)
    outcome = judge([ROOT, VAR], seen(*TWO_OPEN, end=End.WAITING, why="it asks"), witnesses)
    assert outcome.unlock is Unlock.LOCKED
    assert outcome.reason == "root: tang answered; root opened with nothing typed; var: it asks"
    assert outcome.seconds.unlock == 34.0


def test_an_answer_for_another_volume_proves_nothing() -> None:
    with pytest.raises(RigError, match="var opened with nothing typed, and neither clevis nor a token"):
        judge([ROOT, VAR], seen(*TWO_OPEN, OPEN), ExternalEvidence(tang(SERVED, SERVED), (), URLS))


PKCS11 = Pkcs11Pin()
PKCS11_ANSWERED = made(PinAnswered, 32.0, pin="pkcs11")
PIN_TYPED = TypedPassphrase(31.0, "var", 5, pin=True)


def test_a_token_in_the_guest_answered_if_it_says_so_and_the_volume_opened() -> None:
    outcome = judged(PKCS11, seen(PKCS11_ANSWERED, OPEN, typed=(PIN_TYPED,)), ExternalEvidence())
    assert (outcome.unlock, outcome.unlocked_by) == (Unlock.PASSPHRASE_FALLBACK, frozenset({"pkcs11"}))
    with pytest.raises(RigError, match="nothing says that it answered"):
        judged(PKCS11, seen(OPEN, typed=(PIN_TYPED,)), ExternalEvidence())


def test_a_token_with_another_key_says_that_it_answered_too_and_opens_nothing() -> None:
    events = seen(PKCS11_ANSWERED, end=End.SHUT, why="the unit failed")
    outcome = judged(PKCS11, events, ExternalEvidence())
    assert (outcome.unlock, outcome.unlocked_by) == (Unlock.LOCKED, frozenset())


def test_a_security_key_is_believed_by_its_own_log_alone() -> None:
    gave = (CtapExchange("getAssertion with hmac-secret", 0),)
    opened = seen(made(TokenUsed, 33.0, volume="var"), OPEN)
    outcome = judged(Fido2Pin(), opened, ExternalEvidence(services={SECURITY_KEY: security_key_testimony(gave)}))
    assert (outcome.unlock, outcome.unlocked_by) == (Unlock.AUTO, frozenset({"fido2"}))
    with pytest.raises(RigError, match="no secret that the security key gave"):
        judged(Fido2Pin(), opened, ExternalEvidence(services={SECURITY_KEY: security_key_testimony(())}))
    refused = (CtapExchange("getAssertion", 0x2E),)
    asks = seen(PROMPT, end=End.WAITING, why="it asks")
    shut = judged(Fido2Pin(), asks, ExternalEvidence(services={SECURITY_KEY: security_key_testimony(refused)}))
    assert shut.failed_pins == {"fido2"}
    assert shut.failures[0].source == "security key"


# A keyscript that has a TPM 1.2 unseal: it asks nobody, and says itself what it did.

UNSEALED_12 = TpmExchange("Unseal", 0x18, 0)
SAID = made(PinAnswered, 20.0, Stream.CONSOLE, pin="tpm12", about="var")
SET_UP = made(VolumeUnlocked, 21.0, Stream.CONSOLE, volume="var", opener_is_logged=False)


def test_a_keyscript_opens_without_a_prompt_and_the_tpm_bears_it_out() -> None:
    outcome = judged(Tpm12Pin((8,)), seen(SAID, SET_UP), ExternalEvidence(tpm=(UNSEALED_12,)))
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tpm12"}
    assert outcome.proofs[:2] == ("0 bytes typed", "tpm: 1 × TPM_Unseal succeeded")
    again = judged(Tpm12Pin((8,)), seen(replace(SAID, at=19.0), SAID, SET_UP), ExternalEvidence(tpm=(UNSEALED_12,)))
    assert again.proofs == outcome.proofs, "its last word is what opened it"


@pytest.mark.parametrize(("events", "tpm"), [((SET_UP,), (UNSEALED_12,)), ((SAID, SET_UP), ()), ((SAID, SET_UP), None)])
def test_half_of_that_is_no_verdict(events: tuple[Event, ...], tpm: tuple[TpmExchange, ...] | None) -> None:
    with pytest.raises(RigError):
        judged(Tpm12Pin((8,)), seen(*events), ExternalEvidence(tpm=tpm))


def test_a_1_2_that_refuses_is_told_with_its_code() -> None:
    failed = made(PinFailed, 20.0, Stream.CONSOLE, pin="tpm12", reason="unsealing failed: TPM_NOSRK (18)", final=True)
    refused = TpmExchange("LoadKey2", 0x41, 0x12)
    asked = made(PromptShown, 21.0, Stream.CONSOLE, volume="var", asks=PromptKind.PASSPHRASE)
    opened = made(VolumeUnlocked, 24.0, Stream.CONSOLE, volume="var", opener_is_logged=False)
    observed = seen(failed, asked, opened, typed=(TypedPassphrase(22.0, "var", 7),))
    outcome = judged(Tpm12Pin((8,)), observed, ExternalEvidence(tpm=(refused,)))
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK
    assert {failure.reason for failure in outcome.failures} == {
        "unsealing failed: TPM_NOSRK (18)",
        "LoadKey2 -> 0x12",
    }
