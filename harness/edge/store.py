"""A share on a host's disk, by the guest's own tools: `store.sh`, run wherever a shell is.

Where the tools run is all the same: among a guest's files with a TPM on a socket (`harness.real_tools.toolbox`), or in
a guest (`in_guest`).
"""

import shlex
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Protocol

from harness.edge.protection import Decision, Form, Found, ProtectWithTpm
from harness.errors import RigError, UsageError
from harness.guest.ssh import Shell

_SECONDS = 120.0
"""Of one call; a guest in emulation takes some seconds."""


class Tools(Protocol):
    """Where the tools run."""

    def attempt(self, script: str, timeout: float) -> tuple[int, str]:
        """Run lines of bash; returns their exit status, and what they said on either stream."""


@dataclass(frozen=True)
class Unreadable:
    """A host does not decrypt its own share.

    Attributes:
        reason: What its tools said.
    """

    reason: str


@dataclass(frozen=True)
class ShareStore:
    """The share of one host.

    Attributes:
        tools: Where they run.
        folder: Of the host, as the tools see it.
        tcti: Where the TPM is, for tpm2-tools; "" for the one of the kernel.
    """

    tools: Tools
    folder: str
    tcti: str = ""

    def probe(self, setting: ProtectWithTpm) -> Found:
        """What could protect a share here and now: under `never` nothing. It makes the TPM's key on its first use."""
        if setting is ProtectWithTpm.NEVER:
            return Found(None, reason="the TPM is not to be used")
        form, _, more = self._run("probe").strip().partition(" ")
        if form == "none":
            return Found(None, reason=more)
        return Found(Form(form), handle=more)

    def write(self, decision: Decision, share: str) -> None:
        """Write the share as was decided.

        Raises:
            UsageError: It was decided to write none.
            RigError: The tools failed.
        """
        if decision.form is None:
            raise UsageError("it was decided that no share is written yet")
        self._run("write_share", decision.form, decision.handle, share)

    def read(self, *, unchecked: bool = False) -> str | Unreadable:
        """The share, if its digest says that it is the one that was written.

        Args:
            unchecked: Whether to leave that out.
        """
        status, said = self._attempt("read_share", *(["unchecked"] if unchecked else []))
        return Unreadable(said.strip()) if status else said

    @property
    def form(self) -> Form | None:
        """How the share lies on the disk; None without one."""
        said = self._run("form_of").strip()
        return Form(said) if said else None

    def forget(self) -> None:
        """Remove all that the host had."""
        self._run("forget")

    def _run(self, function: str, *arguments: str) -> str:
        status, said = self._attempt(function, *arguments)
        if status:
            raise RigError(f"{function} of a controller host ended with status {status}", said[-1500:])
        return said

    def _attempt(self, function: str, *arguments: str) -> tuple[int, str]:
        call = shlex.join([function, self.folder, *arguments])
        tcti = f"export TPM2TOOLS_TCTI={shlex.quote(self.tcti)}\n" if self.tcti else ""
        script = f"set -euo pipefail\n{tcti}{functions()}\nmkdir -p {shlex.quote(self.folder)}\n{call}"
        return self.tools.attempt(script, _SECONDS)


@dataclass(frozen=True, repr=False)
class _Guest:
    shell: Shell

    def attempt(self, script: str, timeout: float) -> tuple[int, str]:
        lines = f"(\n{script}\n) </dev/null\nprintf '\\n%d' $?\n"
        text, _, status = self.shell.run("bash -s 2>&1", timeout, stdin=lines.encode()).rpartition("\n")
        return int(status), text


def in_guest(shell: Shell) -> Tools:
    """The tools of a guest that is on."""
    return _Guest(shell)


@cache
def functions() -> str:
    """The functions of `store.sh`, for bash."""
    return (resources.files("harness.edge") / "store.sh").read_text()
