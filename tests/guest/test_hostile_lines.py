"""What a hostile guest writes keeps the reader of its console no longer than an honest one does, and breaks nothing.

A fuzzer by coverage finds neither: it does not guess words that are long, and it does not look for what is slow.
"""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate

import pytest
from fuzz_targets import SECONDS

from harness.guest.boot import BootReader
from harness.guest.events import KeyslotUsed, Stream, TokenUsed
from harness.guest.table import JOURNAL_PREFIX, KEYSLOT_DENIED, KEYSLOT_TRIED, MAPPING_MADE, TABLE

LINE = 2048
LINE_SECONDS = SECONDS / 8 / 16
"""Of the processor. At the worst a pattern takes the square of a line's length: eight lines of 8192 are 64 KiB."""

MARKED = re.compile(r"\\[dsSwWb][+*?]*|\.[*+?]+|\[\^?[^]]*\][+*?]*|\(\?(?:P<\w+>|[:!=>]|<[!=])|[()|^$]\??")
"""All of a regular expression that is not literal."""
PADS = ("a", "a ", ": ", " (", ") ", "] ", "0", "a.", "'", " on /")

PATTERNS = {
    **{f"{number}-{row.event_type.__name__}": row.pattern for number, row in enumerate(TABLE)},
    **{"who": JOURNAL_PREFIX, "tried": KEYSLOT_TRIED, "denied": KEYSLOT_DENIED, "made": MAPPING_MADE},
}


def words(pattern: str) -> list[str]:
    """The literal parts of a regular expression, in order."""
    escaped = re.sub(r"\\([^dsSwWb\d])", lambda match: chr(0xE000 + ord(match[1])), pattern)
    return [
        re.sub("[\ue000-\ue0ff]", lambda m: chr(ord(m[0]) - 0xE000), part) for part in MARKED.split(escaped) if part
    ]


def hostile_lines(pattern: str) -> Iterator[str]:
    """Lines that begin like what a pattern looks for, and then repeat a part of it, or all."""
    parts = words(pattern)
    begun = {"", *accumulate(parts), *accumulate(parts, lambda line, part: f"{line}0{part}")}
    for begins in sorted(begun):
        for again in sorted({*parts, *PADS}):
            yield (begins + again * LINE)[:LINE]
            yield ((begins + again) * LINE)[:LINE]
            yield (begins + again) * (LINE // 2 // len(begins + again)) + again * (LINE // 2 // len(again))


def took(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_no_line_keeps_a_pattern_long(pattern: re.Pattern[str]) -> None:
    for line in hostile_lines(pattern.pattern):
        if took(partial(pattern.search, line)) > LINE_SECONDS:
            again = took(partial(pattern.search, line))
            assert again <= LINE_SECONDS, f"{again:.3f} s for {line[:80]!r}…"


@pytest.mark.parametrize(
    "again",
    [
        *(" ", ":", ": ", "a: ", ") ", "] ", "a login: ", "\x1b[", "\r", "a", "\n", "[    1.000000] x\n"),
        *("Please enter passphrase for disk ((: ", "Please enter passphrase for disk : ", "Please enter passphrase"),
        *(
            "lease enter PIN for security token :",
            "Password (a) [1/1]: ",
            "Error loading : ",
            "a.",
            "ab[    1.000000] x\n",
        ),
    ],
    ids=repr,
)
def test_no_console_keeps_the_reader_long(again: str) -> None:
    data = (again * 16384)[:16384].encode()
    for stream in Stream:
        assert took(partial(BootReader().feed, stream, data, 1.0)) < SECONDS / 4


def read(line: str) -> list[object]:
    return list(BootReader().feed(Stream.JOURNAL, line.encode() + b"\n", 1.0))


def test_a_number_that_nobody_can_read_is_none() -> None:
    giant = "9" * 5000
    assert read(f"Key slot {giant} unlocked") == []
    token = read(f"systemd-cryptsetup[1]: Volume var activated with a LUKS token id {giant}.")
    assert [event.token for event in token if isinstance(event, TokenUsed)] == [-1]
    made = (
        f"systemd-cryptsetup[1]: Verifying key from keyslot {giant}, digest 0.\nsystemd-cryptsetup[1]: dm create var x"
    )
    assert not [event for event in read(made) if isinstance(event, KeyslotUsed)]
    assert len(read(f"[ {giant}.1] systemd[1]: Timed out waiting for device x")) == 1
