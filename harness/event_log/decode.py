"""From the bytes of an event log to events, by tpm2_eventlog(1)."""

import shutil

from harness import process
from harness.errors import HostError, UsageError
from harness.event_log.difference import comparable, differences
from harness.event_log.events import MeasuredEvent, parse_event_log
from harness.temporary import temporary_folder

TOOL = "tpm2_eventlog"
_SECONDS = 20.0


def decode_event_log(log: bytes) -> tuple[MeasuredEvent, ...]:
    """The events of a log as the kernel gives it (``binary_bios_measurements``).

    Raises:
        HostError: tpm2-tools is missing, or refuses the log.
        UsageError: It printed something unexpected.
    """
    if shutil.which(TOOL) is None:
        raise HostError(f"{TOOL} is not installed, which decodes event logs", hint="apt install tpm2-tools")
    with temporary_folder() as folder:
        path = folder / "event-log"
        path.write_bytes(log)
        return parse_event_log(process.run([TOOL, path], timeout=_SECONDS))


def told_apart(before: bytes, after: bytes) -> tuple[str, ...]:
    """In words, where the logs of two boots part; or why that is not known, which takes no verdict away."""
    try:
        old, new = decode_event_log(before), decode_event_log(after)
    except (HostError, UsageError) as error:
        return (f"not known: {error.what}",)
    if not comparable(old, new):
        return ("every PCR: the digests are of another bank, as those of a TPM 1.2 are",)
    return tuple(map(str, differences(old, new)))
