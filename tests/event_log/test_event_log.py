"""The event log of a real boot, and what is said where another one parts from it."""

import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.event_log.decode import TOOL, decode_event_log, told_apart
from harness.event_log.difference import comparable, differences
from harness.event_log.events import MeasuredEvent, parse_event_log

HERE = Path(__file__).parent
CONTROL = parse_event_log((HERE / "control.yaml").read_text())


def changed(about: str, /, **changes: object) -> list[MeasuredEvent]:
    """The log with the first event about a subject changed."""
    index = next(number for number, event in enumerate(CONTROL) if event.subject == about)
    return [*CONTROL[:index], replace(CONTROL[index], **changes), *CONTROL[index + 1 :]]  # type: ignore[arg-type]


def test_a_real_log_is_read_in_words() -> None:
    assert len(CONTROL) == 43
    of_pcr_7 = [event.subject for event in CONTROL if event.pcr == 7]
    assert of_pcr_7[:2] == ["whether Secure Boot is on", "the platform key of Secure Boot (PK)"]
    assert "the section .cmdline of the boot image" in [event.subject for event in CONTROL if event.pcr == 11]
    assert all(event.subject and len(event.digest) == 64 for event in CONTROL)


def test_a_boot_that_measures_the_same_has_no_difference() -> None:
    assert differences(CONTROL, CONTROL) == ()


DB = "the signatures that Secure Boot allows (db)"
CASES: list[tuple[Callable[[], list[MeasuredEvent]], str]] = [
    (
        lambda: changed("whether Secure Boot is on", digest="1", content=("01",)),
        "PCR 7: whether Secure Boot is on: '01' instead of '00'",
    ),
    (lambda: changed(DB, digest="1", content=("X509 a", "X509 b")), f"PCR 7: {DB}: gained 2"),
    (lambda: changed("the version of the firmware", digest="1"), "PCR 0: the version of the firmware is another"),
    (lambda: changed("the settings of the firmware", digest="1"), "PCR 1: the settings of the firmware is another"),
    (
        lambda: [*CONTROL, MeasuredEvent(12, "EV_IPL", "1", "what the boot loader read or was told (quiet)")],
        "PCR 12: one more event: what the boot loader read or was told (quiet)",
    ),
    (lambda: list(CONTROL[:-1]), "PCR 5: one event fewer: a step of the firmware"),
    (
        lambda: changed(DB, digest="1", subject="the boot entry Boot0007"),
        f"PCR 7: the boot entry Boot0007, where {DB} was",
    ),
]


@pytest.mark.parametrize(("after", "said"), CASES, ids=[said for _, said in CASES])
def test_the_first_event_that_differs_is_told_in_words(after: Callable[[], list[MeasuredEvent]], said: str) -> None:
    assert [str(each) for each in differences(CONTROL, after())] == [said]


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"),
    [
        ("EV_EFI_VARIABLE_DRIVER_CONFIG", ("a", "b", "b"), ("b", "c"), "gained 1 and lost 2"),
        ("EV_EFI_VARIABLE_DRIVER_CONFIG", ("a", "b"), ("a",), "lost 1"),
        ("EV_EFI_VARIABLE_DRIVER_CONFIG", ("a", "b"), ("a", "b", "b"), "gained 1"),
        ("EV_EFI_VARIABLE_DRIVER_CONFIG", ("x" * 120,), ("y",), "gained 1 and lost 1"),
        ("EV_IPL", ("x" * 119,), ("y",), f"'y' instead of '{'x' * 119}'"),
        ("EV_IPL", ("y",), ("x" * 120,), None),
        ("EV_IPL", ("a", "b"), ("a", "c"), None),
        ("EV_EFI_VARIABLE_DRIVER_CONFIG", ("a", "b"), ("b", "a"), None),
    ],
)
def test_what_has_changed_is_told_as_shortly_as_it_can_be(
    kind: str, old: tuple[str, ...], new: tuple[str, ...], said: str | None
) -> None:
    (found,) = differences([MeasuredEvent(7, kind, "0", "it", old)], [MeasuredEvent(7, kind, "1", "it", new)])
    assert str(found) == (f"PCR 7: it: {said}" if said else "PCR 7: it is another")


def test_each_pcr_is_told_once_by_its_first_difference() -> None:
    after = [replace(event, digest="1") if event.pcr in (4, 11) else event for event in CONTROL]
    assert [each.pcr for each in differences(CONTROL, after)] == [4, 11]


def test_the_log_of_a_1_2_is_read_and_told_apart_from_one_of_a_2_0() -> None:
    log = parse_event_log((HERE / "tpm12.yaml").read_text())
    assert log[0].subject == "the version of the firmware"
    assert {len(event.digest) for event in log} == {40}
    assert comparable(log, log)
    assert comparable(CONTROL, CONTROL)
    assert not comparable(CONTROL, log)


@pytest.mark.parametrize(
    "text", ["", "[]", "events: 3", "events: [{}]", "a: [", "events:\n- EventType: EV_IPL\n", f"*{'a' * 400}"]
)
def test_what_is_no_decoded_log_is_one_message(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_event_log(text)
    assert refused.value.what == "an event log was not decoded as tpm2_eventlog does it"
    assert "Error(" in refused.value.detail
    assert len(refused.value.detail) <= 300


def told(event: str, kind: str = "EV_IPL", digests: str = "[{AlgorithmId: sha256, Digest: d}]") -> MeasuredEvent:
    """The only event of a log that holds an event."""
    entry = f"{{PCRIndex: 9, EventType: {kind}, Digests: {digests}, Event: {event}}}"
    (only,) = parse_event_log(f"events:\n- {{EventNum: 0, EventType: EV_NO_ACTION}}\n- {entry}")
    return only


@pytest.mark.parametrize(
    ("digests", "digest"),
    [
        ("[{AlgorithmId: sha1, Digest: a}, {AlgorithmId: sha256, Digest: b}, {AlgorithmId: sha384, Digest: c}]", "b"),
        ("[{AlgorithmId: sha1, Digest: a}, {AlgorithmId: sha384, Digest: c}]", "a"),
        ("[]", ""),
        ("", ""),
    ],
)
def test_the_digest_of_an_event_is_of_sha256_where_there_is_one(digests: str, digest: str) -> None:
    assert told("x", digests=digests).digest == digest


TAG = "ec223b8f0d000000"
"""Whose it is and its length, of a tagged event."""


@pytest.mark.parametrize(
    ("kind", "event", "subject", "content"),
    [
        ("EV_NEW", "{DevicePath: 7fff0400}", "EV_NEW (7fff0400)", ()),
        (
            "EV_EFI_BOOT_SERVICES_DRIVER",
            "{DevicePath: 7fff0400}",
            "a driver that the firmware loaded (7fff0400)",
            (),
        ),
        ("EV_NEW", "{String: some words}", "EV_NEW (some words)", ("some words",)),
        ("EV_NEW", "more", "EV_NEW", ()),
        ("EV_NEW", "{BlobBase: 1}", "EV_NEW", ()),
        ("EV_IPL", r"""{String: '"quiet\0"'}""", "what the boot loader read or was told (quiet)", ("quiet",)),
        ("EV_IPL", f"{{String: {'x' * 90}}}", f"what the boot loader read or was told ({'x' * 90})", ("x" * 90,)),
        ("EV_IPL", f"{{String: {'x' * 91}}}", f"what the boot loader read or was told ({'x' * 89}…)", ("x" * 91,)),
        ("EV_IPL", "{String: X11}", "what the boot loader read or was told (X11)", ("X11",)),
        ("EV_IPL", "{String: .profile}", "the section .profile of the boot image", ()),
        ("EV_EVENT_TAG", f"{TAG}4c696e757800", "what the boot stub passed on (Linux)", ()),
        ("EV_EVENT_TAG", f"{TAG}4c69c3b86e757800", "what the boot stub passed on (Linux)", ()),
        ("EV_EVENT_TAG", f"{TAG}{'78' * 91}", f"what the boot stub passed on ({'x' * 89}…)", ()),
        ("EV_EVENT_TAG", "not hex", "what the boot stub passed on ()", ()),
        ("EV_EVENT_TAG", "[]", "what the boot stub passed on", ()),
        (
            "EV_IPL",
            "{String: \u00a0\u200bx\ufffdy\u200bz\u00a0}",
            "what the boot loader read or was told (x\ufffdyz)",
            ("x\ufffdyz",),
        ),
        ("EV_IPL", "{UnicodeName: Boot0001}", "the boot entry Boot0001", ()),
        ("EV_IPL", "{UnicodeName: Lang, VariableData: de  en}", "the variable Lang", ("de en",)),
        ("EV_IPL", "{UnicodeName: 007, VariableData: 0012}", "the variable 007", ("0012",)),
        ("EV_IPL", "{UnicodeName: '', VariableData: ''}", "the variable ", ()),
        ("EV_IPL", "{UnicodeName: MokListTrusted}", "the variable MokListTrusted", ()),
        ("EV_EFI_VARIABLE_AUTHORITY", "{UnicodeName: Shim}", "the key by which the boot image was let in (Shim)", ()),
    ],
)
def test_what_an_event_tells_is_told_in_words(kind: str, event: str, subject: str, content: tuple[str, ...]) -> None:
    assert told(event, kind) == MeasuredEvent(9, kind, "d", subject, content)


ONE, TWO = f"{'01' * 16}aa", f"{'02' * 16}bb"
"""Two signatures, each behind its owner."""


def lists(*signatures: str, kind: str = "0f" * 16, header: str = "", size: int | None = None) -> str:
    """A list of signatures."""
    body = header + "".join(signatures)
    lengths = (28 + len(body) // 2, len(header) // 2, len(signatures[0]) // 2 if size is None else size)
    return kind + struct.pack("<III", *lengths).hex() + body


@pytest.mark.parametrize("name", ["PK", "KEK", "db", "dbx", "dbt", "dbr"])
@pytest.mark.parametrize(
    ("data", "content"),
    [
        (lists(ONE, TWO), (f"{'0f' * 16} {ONE}", f"{'0f' * 16} {TWO}")),
        (lists(ONE, header="ffff"), (f"{'0f' * 16} {ONE}",)),
        (lists(ONE) + lists(TWO, kind="0e" * 16), (f"{'0f' * 16} {ONE}", f"{'0e' * 16} {TWO}")),
        ("", ()),
    ],
)
def test_a_variable_of_secure_boot_holds_signatures(name: str, data: str, content: tuple[str, ...]) -> None:
    event = f"{{UnicodeName: {name}, VariableData: '{data}'}}"
    assert told(event, "EV_EFI_VARIABLE_DRIVER_CONFIG").content == content


@pytest.mark.parametrize(
    "data",
    ["0", "00", "no digits", lists(ONE)[:-2], lists(ONE, size=0), lists(ONE, size=16), lists(ONE[:32]), lists("")],
)
def test_what_is_no_list_of_signatures_is_told_as_it_is(data: str) -> None:
    event = f"{{UnicodeName: db, VariableData: '{data}'}}"
    assert told(event, "EV_EFI_VARIABLE_DRIVER_CONFIG").content == (data,)


@pytest.mark.parametrize(
    ("name", "kind"), [("db", "EV_EFI_VARIABLE_AUTHORITY"), ("SecureBoot", "EV_EFI_VARIABLE_DRIVER_CONFIG")]
)
def test_another_variable_holds_what_it_holds(name: str, kind: str) -> None:
    assert told(f"{{UnicodeName: {name}, VariableData: '{lists(ONE)}'}}", kind).content == (lists(ONE),)


@pytest.mark.skipif(shutil.which(TOOL) is None, reason="tpm2-tools is not installed here")
def test_the_tool_decodes_the_bytes_of_the_same_boot() -> None:
    assert decode_event_log((HERE / "control.log").read_bytes()) == CONTROL
    assert decode_event_log((HERE / "tpm12.log").read_bytes()) == parse_event_log((HERE / "tpm12.yaml").read_text())


@pytest.mark.skipif(shutil.which(TOOL) is None, reason="tpm2-tools is not installed here")
def test_two_logs_that_cannot_be_compared_say_why() -> None:
    log, old = (HERE / "control.log").read_bytes(), (HERE / "tpm12.log").read_bytes()
    assert told_apart(log, log) == ()
    assert told_apart(log, old) == ("every PCR: the digests are of another bank, as those of a TPM 1.2 are",)
    (said,) = told_apart(log, log[:100])
    assert said.startswith("not known: ")
