"""What is evidence about which volume, to the letter: several volumes, several servers, moments that coincide.

Each of these was once a change of one operator or one number that no other test noticed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType

import pytest

from harness.errors import RigError
from harness.guest.boot import BootReader
from harness.guest.events import (
    ClevisAnswered,
    EmergencyShell,
    Event,
    FirmwareStarted,
    KeyslotUsed,
    PassphraseWrong,
    PinFailed,
    PromptKind,
    PromptShown,
    Stream,
    VolumeFailed,
    VolumeUnlocked,
)
from harness.guest.judge import judge
from harness.guest.outcome import Outcome, Unlock
from harness.guest.volumes import VolumePlan
from harness.guest.witness import End, ExternalEvidence, Observation, TypedPassphrase
from harness.luks2.metadata import LuksHeader, Token
from harness.machine.tpm_log import TpmExchange
from harness.policy.pins import ServiceId, Sss, TangPin, Tpm2Pin
from harness.services import log
from harness.services.tang_log import TangCalls, TangRequest

TANG, TWO, TPM = TangPin("tang", "@TANG_URL@"), TangPin("two", "@TANG_URL:two@"), Tpm2Pin()
URLS = MappingProxyType({"tang": "http://10.0.2.2:80", "two": "http://10.0.2.2:81"})
UNSEALED = TpmExchange("Unseal", 0x15E, 0)
VAR = VolumePlan("var", "/dev/disk/by-partlabel/var", TANG, ("secret",))
SRV = VolumePlan("srv", "/dev/disk/by-partlabel/srv", TANG, ("secret",))


def made(kind: type[Event], at: float, **fields: object) -> Event:
    return kind(at, Stream.JOURNAL, f"{kind.__name__} said", **fields)


def prompt(at: float, volume: str = "var") -> Event:
    return made(PromptShown, at, volume=volume, asks=PromptKind.PASSPHRASE)


def opened(at: float, volume: str = "var") -> Event:
    return made(VolumeUnlocked, at, volume=volume)


def answered(at: float, volume: str = "var") -> Event:
    return made(ClevisAnswered, at, device=f"/dev/disk/by-partlabel/{volume}")


def typed(at: float, volume: str = "var") -> TypedPassphrase:
    return TypedPassphrase(at, volume, 7)


def served(server: str = "tang", *statuses: int) -> dict[ServiceId, log.Testimony]:
    """What a server answered to attempts at a recovery."""
    requests = tuple(TangRequest(0.0, "POST", "/rec/kid", status, None) for status in statuses)
    return {ServiceId("tang", server): TangCalls(server, requests).testimony}


def judged(
    volumes: Sequence[VolumePlan],
    events: Sequence[Event],
    typing: Sequence[TypedPassphrase] = (),
    *,
    end: End = End.UP,
    **said: object,
) -> Outcome:
    seen = Observation(tuple(events), tuple(typing), end, "as it ended", 90.0, 25.0)
    return judge(volumes, seen, ExternalEvidence(urls=URLS, **said))  # type: ignore[arg-type]


def test_what_names_another_volume_is_not_about_the_only_one() -> None:
    events = (prompt(20.0, "swap"), prompt(21.0), answered(28.0), opened(29.0))
    slots = (
        made(KeyslotUsed, 27.0, keyslot=3, volume=""),
        made(KeyslotUsed, 28.0, keyslot=4, volume="/dev/nvme0n1p5"),
        made(KeyslotUsed, 28.5, keyslot=5, volume="swap"),
    )
    outcome = judged([VAR], (*events, *slots), services=served("tang", 200))
    assert outcome.prompts == 1
    assert outcome.keyslot == 4, "a device, and there is one volume; swap is another"
    assert judged([VAR], (*events, slots[0]), services=served("tang", 200)).keyslot == 3, (
        "no name is about the only one"
    )


def test_the_keyslot_that_counts_is_the_last_one() -> None:
    tried = [made(KeyslotUsed, at, keyslot=slot, volume="var") for at, slot in ((22.0, 0), (28.0, 1))]
    outcome = judged([VAR], (prompt(20.0), answered(28.0), *tried, opened(29.0)), services=served("tang", 200))
    assert outcome.keyslot == 1


def test_an_answer_for_one_volume_is_none_for_another_that_stayed_shut() -> None:
    """Tang answered once, and refused once: of the two that need it, the one that is shut is the one it refused."""
    events = (prompt(20.0), answered(28.0), opened(29.0), made(VolumeFailed, 60.0, volume="srv"))
    outcome = judged([VAR, SRV], events, services=served("tang", 200, 404))
    assert outcome.volumes["var"].unlock is Unlock.AUTO
    assert outcome.volumes["srv"].unlock is Unlock.LOCKED
    assert outcome.volumes["srv"].failed_pins == {"tang"}


def test_an_answer_for_one_volume_is_none_for_another_that_was_typed() -> None:
    events = (prompt(20.0), answered(28.0), opened(29.0), prompt(30.0, "srv"), opened(80.0, "srv"))
    outcome = judged([VAR, SRV], events, [typed(70.0, "srv")], services=served("tang", 200))
    assert outcome.volumes["srv"].unlock is Unlock.PASSPHRASE_FALLBACK
    assert "within the hold time" in outcome.volumes["srv"].reason


def failed(at: float, server: str = "tang") -> Event:
    return made(PinFailed, at, pin="tang", reason="Error communicating", url=URLS[server])


def test_a_server_that_failed_first_and_answered_later_opened_the_only_volume() -> None:
    outcome = judged([VAR], (prompt(20.0), failed(22.0), answered(28.0), opened(29.0)), services=served("tang", 200))
    assert outcome.unlock is Unlock.AUTO
    assert outcome.unlocked_by == {"tang"}
    assert not outcome.failed_pins


def test_of_several_volumes_a_leaf_that_is_said_to_have_failed_opened_none() -> None:
    either = replace(SRV, pins=Sss(1, (TPM, TANG)))
    events = (prompt(20.0), failed(22.0), answered(28.0), opened(29.0), answered(30.0, "srv"), opened(31.0, "srv"))
    outcome = judged([replace(VAR, pins=TPM), either], events, services=served("tang", 200), tpm=(UNSEALED, UNSEALED))
    assert outcome.volumes["srv"].unlocked_by == {"tpm2"}


def test_what_one_server_refused_another_did_not() -> None:
    both = replace(VAR, pins=Sss(2, (TANG, TWO)))
    said = served("tang", 200) | served("two", 404)
    outcome = judged([both], (prompt(20.0), opened(80.0)), [typed(70.0)], services=said)
    assert outcome.failed_pins == {"two"}


def test_several_volumes_have_no_keyslot_and_no_token_in_common_and_all_that_was_typed() -> None:
    header = LuksHeader(((0, "pbkdf2"), (1, "pbkdf2")), (Token(0, "clevis", (1,)),))
    events = (
        *(prompt(20.0), made(KeyslotUsed, 27.0, keyslot=1, volume="var"), opened(60.0)),
        *(prompt(20.0, "srv"), made(KeyslotUsed, 28.0, keyslot=1, volume="srv"), opened(61.0, "srv")),
    )
    headers = MappingProxyType({"var": header, "srv": header})
    outcome = judged([VAR, SRV], events, [typed(50.0), typed(51.0, "srv")], services=served(), headers=headers)
    assert {(volume.keyslot, volume.token) for volume in outcome.volumes.values()} == {(1, 0)}
    assert (outcome.keyslot, outcome.token, outcome.typed_bytes) == (None, None, 14)


def auto(volume: str) -> list[Event]:
    return [prompt(20.0, volume), answered(28.0, volume), opened(29.0, volume)]


def by_hand(volume: str) -> list[Event]:
    return [prompt(20.0, volume), opened(60.0, volume)]


def shut(volume: str) -> list[Event]:
    return [made(VolumeFailed, 60.0, volume=volume)]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("better", "worse", "expected"),
    [(auto, by_hand, Unlock.PASSPHRASE_FALLBACK), (by_hand, shut, Unlock.LOCKED), (auto, shut, Unlock.LOCKED)],
)
def test_the_worst_of_several_volumes_is_the_verdict(
    better: Callable[[str], list[Event]], worse: Callable[[str], list[Event]], expected: Unlock, first: bool
) -> None:
    said = [*better("var"), *worse("srv")]
    typing = [typed(55.0, name) for name, kind in (("var", better), ("srv", worse)) if kind is by_hand]
    volumes = [VAR, SRV] if first else [SRV, VAR]
    assert judged(volumes, said, typing, services=served("tang", 200, 200)).unlock is expected


def test_what_was_typed_within_the_hold_time_proves_nothing() -> None:
    with pytest.raises(RigError, match=r"typed 10\.0 s after the prompt, and no pin failed"):
        judged([VAR], (prompt(20.0), opened(40.0)), [typed(30.0)], services=served())


def test_the_hold_time_is_over_when_it_is_over() -> None:
    outcome = judged([VAR], (prompt(30.0), opened(70.0)), [typed(60.0)], services=served())
    assert outcome.unlock is Unlock.PASSPHRASE_FALLBACK


@pytest.mark.parametrize("wrong", [40.0, 50.0, 65.0])
def test_an_answer_of_clevis_that_was_refused_before_the_volume_opened_did_not_race(wrong: float) -> None:
    """Refused in the moment in which it was given, later, or in the moment in which ours opened it."""
    events = (prompt(20.0), answered(40.0), made(PassphraseWrong, wrong, volume="var"), opened(65.0))
    assert judged([VAR], events, [typed(60.0)], services=served()).unlock is Unlock.PASSPHRASE_FALLBACK


@pytest.mark.parametrize("answer", [40.0, 65.0])
def test_an_answer_of_clevis_that_was_not_refused_may_have_opened_it(answer: float) -> None:
    events = (prompt(20.0), answered(answer), opened(65.0))
    with pytest.raises(RigError, match="both clevis and we"):
        judged([VAR], events, [typed(60.0)], services=served())


def test_an_answer_that_came_later_than_the_opening_did_not_race() -> None:
    events = (prompt(20.0), opened(65.0), answered(66.0))
    assert judged([VAR], events, [typed(60.0)], services=served()).unlock is Unlock.PASSPHRASE_FALLBACK


def read(*lines: str, stream: Stream = Stream.JOURNAL) -> list[Event]:
    return BootReader().feed(stream, "".join(f"[    1.000000] {line}\n" for line in lines).encode(), 1.0)


def test_a_line_shows_an_event_once_however_many_patterns_it_meets() -> None:
    said = read("sulogin[3]: You are in emergency mode. Press Enter for maintenance")
    assert [type(event) for event in said] == [EmergencyShell]


def test_what_only_the_console_can_show_is_nothing_in_the_journal() -> None:
    line = "Please enter passphrase for disk var:"
    assert not [event for event in read(f"x[1]: {line}") if isinstance(event, PromptShown)]
    assert [event for event in read(line, stream=Stream.CONSOLE) if isinstance(event, PromptShown)]


def test_what_counts_once_counts_once() -> None:
    twice = BootReader().feed(Stream.CONSOLE, b"BdsDxe: loading Boot0001 x\r\nBdsDxe: loading Boot0002 y\r\n", 1.0)
    assert [type(event) for event in twice] == [FirmwareStarted]


TRIED, MADE = "Verifying key from keyslot 1, digest 0", "dm create var CRYPT-LUKS2 [ opencount ]"


def test_only_systemd_cryptsetup_tells_by_which_keyslot_it_opened() -> None:
    assert [
        event.keyslot
        for event in read(f"systemd-cryptsetup[9]: {TRIED}", f"systemd-cryptsetup[9]: {MADE}")
        if isinstance(event, KeyslotUsed)
    ] == [1]
    assert not [event for event in read(f"dracut[9]: {TRIED}", f"dracut[9]: {MADE}") if isinstance(event, KeyslotUsed)]
    assert not [event for event in read(TRIED, MADE) if isinstance(event, KeyslotUsed)], "nobody is named"


@pytest.mark.parametrize(
    ("method", "path", "status", "recovery"),
    [
        ("POST", "/rec/kid", 200, True),
        ("GET", "/rec/kid", 200, False),
        ("POST", "/adv/kid", 200, False),
        ("POST", "/rec/kid", 404, False),
        ("POST", "/x/rec/kid", 200, False),
    ],
)
def test_a_recovery_is_an_answered_post_to_rec_and_nothing_else(
    method: str, path: str, status: int, recovery: bool
) -> None:
    assert TangRequest(0.0, method, path, status, None).is_recovery is recovery
