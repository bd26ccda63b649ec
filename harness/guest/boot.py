"""Console bytes become events. No I/O, no clock: the same bytes give the same events, whole or one at a time (pure).

What words mean is said by `harness.guest.table`; here is only what needs memory: which process works on which volume,
what the TPM's tools said before a pin gave up, how often a volume was asked for.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from harness.guest.events import (
    ClevisTries,
    Event,
    KeyslotUsed,
    NoPromptPossible,
    PassphraseWrong,
    PinAnswered,
    PinFailed,
    PromptShown,
    Rebooting,
    Stream,
    TooManyAttempts,
    TpmToolError,
    VolumeAttaching,
)
from harness.guest.table import (
    FINAL_TPM_CODES,
    JOURNAL_PREFIX,
    KEYSLOT_DENIED,
    KEYSLOT_TRIED,
    MAPPING_MADE,
    TABLE,
    MessagePattern,
)
from harness.guest.text import LineReader, Text
from harness.policy.pins import tpm

_WHOLE = tuple(row for row in TABLE if not row.ends)
_PROMPTS = tuple(row for row in TABLE if row.ends)


class BootReader:
    """Reads one boot."""

    def __init__(self) -> None:
        self._readers = {stream: LineReader(interleaved=stream is Stream.CONSOLE) for stream in Stream}
        self._once: set[type[Event]] = set()
        self._prompts: dict[str, int] = {}
        self._working_on: dict[str | None, str] = {}
        self._keyslots: dict[str, int] = {}
        self._tpm_said: TpmToolError | None = None
        self._clevis_tries = ""

    def feed(self, stream: Stream, data: bytes, at: float) -> list[Event]:
        """Take what a stream brought.

        Args:
            stream: Where it came from.
            data: Any number of bytes.
            at: Seconds from power-on.

        Returns:
            What these bytes show, in the order in which it was said.
        """
        return [event for text in self._readers[stream].feed(data) for event in self._read(stream, text, at)]

    def _read(self, stream: Stream, text: Text, at: float) -> Iterator[Event]:
        found: set[type[Event]] = set()
        for row in _WHOLE if text.whole else (row for row in _PROMPTS if text.text.endswith(row.ends)):
            if (
                row.stream not in (None, stream)
                or row.event_type in found
                or (row.once and row.event_type in self._once)
            ):
                continue
            if match := row.pattern.search(text.text):
                found.add(row.event_type)
                if row.once:
                    self._once.add(row.event_type)
                event = _event(
                    row, {**row.constants, **match.groupdict()}, at=at, stream=stream, line=text.text.strip()
                )
                yield self._with_memory(event)
        if text.whole:
            yield from self._keyslot(stream, text.text, at)

    def _with_memory(self, event: Event) -> Event:
        speaker = JOURNAL_PREFIX.search(event.line)
        pid = speaker["pid"] if speaker else None
        match event:
            case VolumeAttaching():
                self._working_on[pid] = event.volume
            case PassphraseWrong(volume="") | TooManyAttempts(volume="") | NoPromptPossible(volume=""):
                return replace(event, volume=self._working_on.get(pid, ""))
            case PromptShown():
                number = self._prompts[event.volume] = self._prompts.get(event.volume, 0) + 1
                return replace(event, number=number)
            case ClevisTries():
                self._clevis_tries = event.device
            case TpmToolError():
                self._tpm_said = event
            case PinAnswered():
                return replace(event, about=event.about or self._working_on.get(pid, ""))
            case PinFailed():
                return self._explained(replace(event, about=self._working_on.get(pid, self._clevis_tries)))
            case Rebooting():
                self._once.clear()
        return event

    def _explained(self, event: PinFailed) -> PinFailed:
        """The same failure with what the TPM's tools said just before."""
        said = self._tpm_said
        if event.pin != tpm.REPORTED_AS or said is None:
            return event
        self._tpm_said = None
        final = event.final or int(said.code, 16) in FINAL_TPM_CODES
        return replace(event, reason=f"{event.reason} ({said.text})", final=final)

    def _keyslot(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        speaker = JOURNAL_PREFIX.search(line)
        if not speaker or speaker["name"] != "systemd-cryptsetup":
            return
        pid = speaker["pid"]
        if tried := KEYSLOT_TRIED.search(line):
            self._keyslots[pid] = int(tried["keyslot"])
        elif KEYSLOT_DENIED.search(line):
            self._keyslots.pop(pid, None)
        elif (made := MAPPING_MADE.search(line)) and pid in self._keyslots:
            yield KeyslotUsed(at, stream, line.strip(), self._keyslots.pop(pid), made["volume"])


def _event(row: MessagePattern, found: dict[str, object], **common: Any) -> Event:
    """The event that a row's match shows; words become what the event's fields are."""
    kinds: dict[str, Any] = {field.name: field.type for field in fields(row.event_type)}
    given = {name: kinds[name](value) for name, value in found.items() if value is not None}
    return row.event_type(**common, **given)
