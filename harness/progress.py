"""Progress with elapsed time, for whatever runs long enough to make a person wonder."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO


def takes_escapes(stream: TextIO) -> bool:
    """Whether escape sequences (ECMA-48) do what they should where this stream ends: not with TERM=dumb."""
    return stream.isatty() and (os.environ.get("TERM") or "dumb") != "dumb"


@dataclass(frozen=True)
class Progress:
    """Says what is under way. A terminal gets a line that counts; a file gets a line at start and end.

    Attributes:
        stream: Where to write; under pytest, a duplicate of standard error that capturing does not see.
        several: Whether several steps are on at once, so that a line that counts would be another's, too.
    """

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    several: bool = False

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show `what` with the seconds it has taken until the block ends."""
        start = time.monotonic()
        live = takes_escapes(self.stream) and not self.several
        done = threading.Event()

        def tick() -> None:
            self._write(f"· {what} …")
            while not done.wait(1.0):
                self._write(f"\r\033[2K· {what} … {time.monotonic() - start:.0f} s")

        ticker = threading.Thread(target=tick, daemon=True) if live else None
        if ticker:
            ticker.start()
        else:
            self._write(f"· {what} …\n")
        mark = "✗"
        try:
            yield
            mark = "✓"
        finally:
            done.set()
            if ticker:
                ticker.join()
            self._write(("\r\033[2K" if live else "") + f"{mark} {what} ({time.monotonic() - start:.1f} s)\n")

    def say(self, line: str) -> None:
        """Write one line."""
        self._write(line + "\n")

    def _write(self, text: str) -> None:
        encoding = self.stream.encoding or "utf-8"
        self.stream.write(text.encode(encoding, errors="replace").decode(encoding))
        self.stream.flush()
