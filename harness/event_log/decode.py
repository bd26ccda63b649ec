"""From the bytes of an event log to events, by tpm2_eventlog(1)."""

import shutil

from harness import process
from harness.errors import HostError
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
