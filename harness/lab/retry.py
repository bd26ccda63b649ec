"""One more try, for when the emulation and not the guest went wrong; both tries stay in the evidence."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from harness import untrusted
from harness.errors import StallError
from harness.machine.spec import Machine
from harness.progress import Progress

T = TypeVar("T")

_HINT_OF_BOTH = (
    "what comes in the same words each time is hardly chance: a kernel that crashes so does it by itself (its build, "
    "its command line, its memory), and a processor or a TPM that stalls so has too busy a host; both consoles are in "
    "the evidence"
)


def retry_on_stall(attempt: Callable[[], T], restore: Callable[[], object], what: str, progress: Progress) -> T:
    """Do it, and after a `StallError` once more from the same state.

    Args:
        attempt: What to do.
        restore: Brings back the state that it began with.
        what: Whose boot, as people will see it.
        progress: Says that it is tried again, and why.

    Raises:
        RigError: The second try failed, or the first in a way that another would not mend; if both failed in the same
            words, it says so.
    """
    before: list[str] = []

    def begin_again(state: RetryCallState) -> None:
        assert state.outcome
        why = str(state.outcome.exception()).partition("\n")[0]
        before.append(_without_times(why))
        progress.say(f"! {what}: trying once more, since {why}")
        restore()

    trying = Retrying(
        retry=retry_if_exception_type(StallError), stop=stop_after_attempt(2), before_sleep=begin_again, reraise=True
    )
    try:
        return trying(attempt)
    except StallError as error:
        if _without_times(error.what) in before:
            error.what, error.hint = f"both tries ended alike: {error.what}", _HINT_OF_BOTH
        raise


def _without_times(words: str) -> str:
    """The same without the kernel's time stamps, of which each try has its own."""
    return re.sub(r"\[ *\d+\.\d+\] ?", "", words)


def saved(machine: Machine, to: Path) -> Callable[[], None]:
    """Keep a copy of what a machine writes to, and return what brings it back.

    Args:
        machine: It must be off.
        to: An empty folder.
    """
    paths = [machine.nvram, *(disk.path for disk in machine.disks), *([machine.tpm.state] if machine.tpm else [])]
    paths += [machine.security_key.state] if machine.security_key else []
    copies = {path: to / f"{number}-{path.name}" for number, path in enumerate(paths)}
    for path, copy in copies.items():
        _copy(path, copy)

    def restore() -> None:
        for path, copy in copies.items():
            if path.is_dir():
                shutil.rmtree(path)
            elif not copy.exists():
                path.unlink(missing_ok=True)
            _copy(copy, path)

    return restore


def _copy(path: Path, to: Path) -> None:
    """A file, a folder (a TPM's state, without the lock of one that is off), or nothing: it is made at power-on."""
    if path.exists():
        untrusted.copy(path, to, without=".lock")
