"""What is fuzzed: functions that take any bytes, and what must hold whatever they are.

A target raises nothing but what its reader promises (`UsageError`, `LuksFormatError`), and ends in time; `console` and
`forged_boot` also hold that no bytes on a console or in a journal make an auto-unlock where no pin answered.
"""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path

from forged_boots import believe
from rich.console import Console

from harness.attestation.structures import read_public, read_quote
from harness.errors import RigError, UsageError
from harness.event_log.events import parse_event_log
from harness.explain.collected import FORMAT
from harness.explain.command import explained_machine
from harness.explain.show import show
from harness.guest.boot import BootReader
from harness.guest.events import Event, Stream
from harness.guest.judge import judge
from harness.guest.outcome import Unlock
from harness.guest.volumes import VolumePlan
from harness.guest.witness import End, ExternalEvidence, Observation
from harness.luks2.header import BINARY_BYTES, SIZES, HeaderCopy, LuksFormatError
from harness.luks2.metadata import parse_luks_dump, parse_luks_header
from harness.luks2.sealed_pins import sealed_pin
from harness.machine.tpm_log import decode_log
from harness.policy.butane import read_policy
from harness.policy.pins import ServiceId, Sss, TangPin, Tpm2Pin
from harness.services.tang_log import TangCalls, parse_log

SECONDS = 2.0
"""What a target may take at the most."""

_VOLUME = VolumePlan("var", pins=Sss(2, (Tpm2Pin(), TangPin("tang", "@TANG_URL@"))), typing=("passphrase",))
_HEADER = HeaderCopy({}, uuid="7f1c", salt=bytes(64)).encode()[:BINARY_BYTES]
_CHECKSUM = slice(448, 512)  # LUKS2 On-Disk Format Specification, 2.1
_NOBODY_ANSWERED = ExternalEvidence(
    {ServiceId("tang", "tang"): TangCalls("tang").testimony}, tpm=(), open=frozenset({"var"})
)


def butane(data: bytes) -> None:
    """A policy file."""
    with tempfile.TemporaryDirectory(prefix="unlock-lab-fuzz-") as folder:
        path = Path(folder, "fuzzed.bu")
        path.write_bytes(data)
        with suppress(UsageError):
            read_policy(path)


def ignition(data: bytes) -> None:
    """An Ignition config."""
    with tempfile.TemporaryDirectory(prefix="unlock-lab-fuzz-") as folder:
        path = Path(folder, "fuzzed.ign")
        path.write_bytes(data)
        with suppress(UsageError):
            read_policy(path)


def console(data: bytes) -> None:
    """A boot in which no pin answered and nothing was typed: it is judged, or its evidence does not agree."""
    outcome = None
    with suppress(RigError):
        seen = Observation(tuple(_events(data)), (), End.UP, "the boot went through", 100.0, 60.0)
        outcome = judge([_VOLUME], seen, _NOBODY_ANSWERED)
    assert outcome is None or outcome.unlock is not Unlock.AUTO, "a false auto-unlock"


def _events(data: bytes) -> list[Event]:
    """What the two streams of a boot show; the first byte says where the console ends and the journal begins."""
    reader, at = BootReader(), data[0] * (len(data) - 1) // 255 + 1 if data else 0
    halves = ((Stream.CONSOLE, data[1:at]), (Stream.JOURNAL, data[at:]))
    return [event for stream, part in halves for event in reader.feed(stream, part, 1.0)]


def forged_boot(data: bytes) -> None:
    """The same of lines that are real and not true: see `forged_boots`."""
    believe(data[:400])


def tpm_log(data: bytes) -> None:
    """The log of swtpm."""
    decode_log(data.decode(errors="replace"))


def tang_log(data: bytes) -> None:
    """The log of tangd."""
    parse_log(data.decode(errors="replace"))


def luks_header(data: bytes) -> None:
    """The beginning of a LUKS2 device, and the metadata in it: also behind a checksum, which no fuzzer guesses."""
    for device in (data, _with_checksum(data)):
        with suppress(LuksFormatError):
            parse_luks_header(device)
    with suppress(LuksFormatError):
        parse_luks_dump(data.decode(errors="replace"))


def _with_checksum(metadata: bytes) -> bytes:
    """A header that is whole, with this for its metadata."""
    room = SIZES[0] - BINARY_BYTES
    device = bytearray(_HEADER + metadata[:room].ljust(room, b"\0"))
    device[_CHECKSUM] = bytes(64)
    device[_CHECKSUM] = hashlib.sha256(device).digest().ljust(64, b"\0")
    return bytes(device)


def jwe(data: bytes) -> None:
    """The protected header of a token of clevis."""
    with suppress(LuksFormatError):
        sealed_pin({"type": "clevis", "jwe": {"protected": data.decode(errors="replace")}})


def event_log(data: bytes) -> None:
    """What tpm2_eventlog prints."""
    with suppress(UsageError):
        parse_event_log(data.decode(errors="replace"))


def tpm_key(data: bytes) -> None:
    """The public area of a key, as a node sends it to a verifier."""
    with suppress(ValueError):
        read_public(data)


def quote(data: bytes) -> None:
    """A quote whose signature was checked."""
    with suppress(ValueError):
        read_quote(data)


def collected(data: bytes) -> None:
    """What an owner collected of a machine: the metadata of a header, crypttab and lsblk's JSON, NUL between them."""
    with tempfile.TemporaryDirectory(prefix="unlock-lab-fuzz-") as name:
        folder = Path(name, "machine")
        (folder / "luks").mkdir(parents=True)
        (folder / "format").write_text(FORMAT)
        for file, part in zip(("luks/7f1c.json", "crypttab", "lsblk.json"), data.split(b"\0"), strict=False):
            (folder / file).write_bytes(part)
        with suppress(UsageError):
            show(explained_machine(folder), Console(file=StringIO()))


_TARGETS = (
    *(console, forged_boot, butane, ignition, tpm_log, tang_log, luks_header),
    *(event_log, jwe, quote, tpm_key, collected),
)
TARGETS: Mapping[str, Callable[[bytes], None]] = {target.__name__: target for target in _TARGETS}
