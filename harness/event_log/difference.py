"""The first event in which two boots differ, in words (pure)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from harness.event_log.events import MeasuredEvent

_VARIABLE = "EV_EFI_VARIABLE_DRIVER_CONFIG"
_LONGEST = 120
"""Characters of what is still shown as it is."""


@dataclass(frozen=True)
class Difference:
    """Where the measurements of one PCR part.

    Attributes:
        pcr: Which.
        words: What is otherwise in the second boot, in a sentence.
    """

    pcr: int
    words: str

    def __str__(self) -> str:
        return f"PCR {self.pcr}: {self.words}"


def comparable(before: Sequence[MeasuredEvent], after: Sequence[MeasuredEvent]) -> bool:
    """Whether the digests of two logs are of one bank: a TPM 1.2 has no other than sha1."""
    return len({len(event.digest) for event in (*before, *after)}) <= 1


def differences(before: Sequence[MeasuredEvent], after: Sequence[MeasuredEvent]) -> tuple[Difference, ...]:
    """Each PCR that two boots measured otherwise, by the first event in which they differ.

    Args:
        before: The log of one boot.
        after: That of another one, `comparable` with it.
    """
    indices = sorted({event.pcr for event in (*before, *after)})
    found = (_of_pcr(pcr, _only(before, pcr), _only(after, pcr)) for pcr in indices)
    return tuple(each for each in found if each)


def _only(events: Iterable[MeasuredEvent], pcr: int) -> list[MeasuredEvent]:
    return [event for event in events if event.pcr == pcr]


def _of_pcr(pcr: int, before: list[MeasuredEvent], after: list[MeasuredEvent]) -> Difference | None:
    for old, new in zip_longest(before, after):
        if old is None:
            return Difference(pcr, f"one more event: {new.subject}")
        if new is None:
            return Difference(pcr, f"one event fewer: {old.subject}")
        if old.digest != new.digest:
            return Difference(pcr, _changed(old, new))
    return None


def _changed(old: MeasuredEvent, new: MeasuredEvent) -> str:
    if old.subject != new.subject:
        return f"{new.subject}, where {old.subject} was"
    if len(old.content) == len(new.content) == 1 and max(map(len, (*old.content, *new.content))) < _LONGEST:
        return f"{new.subject}: {new.content[0]!r} instead of {old.content[0]!r}"
    had, has = Counter(old.content), Counter(new.content)
    gained, lost = (has - had).total(), (had - has).total()
    if old.kind == _VARIABLE and (gained or lost):
        parts = [f"gained {gained}"] if gained else []
        parts += [f"lost {lost}"] if lost else []
        return f"{new.subject}: {' and '.join(parts)}"
    return f"{new.subject} is another"
