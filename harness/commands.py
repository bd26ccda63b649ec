"""The commands around the tests: ``unlock-lab doctor``, ``images``, ``report``, ``matrix`` and more.

Each is imported when it is called, so that the doctor works where half of what the others need is missing.
"""

import argparse
import contextlib
import errno
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence

from harness.errors import HarnessError, HostError
from harness.files import is_full
from harness.paths import CHECKOUT, SETUP
from harness.plain import plain
from harness.progress import takes_escapes

COMMANDS = {
    "setup": ("harness.host.setup:main", "install what is missing on this host; --start: and start what must run"),
    "collect": ("harness.explain.command:collect", "print the script that looks at a machine of yours for explain"),
    "explain": ("harness.explain.command:main", "what a Butane file will do and what a thief gets, told in a second"),
    "try": (
        "harness.real_tools.command:main",
        "try a policy by the guest's own tools, a TPM and Tang; no machine",
    ),
    "prove": (
        "harness.prove.command:main",
        "boot what explain says of a Butane file: fewest boots, most in doubt first",
    ),
    "doctor": ("harness.doctor:main", "what this host has, lacks, and how to get it; status 0 when scenarios can run"),
    "images": ("harness.housekeeping:images", "list guest images, firmware and cache; `images build` makes them all"),
    "report": (
        "harness.evidence.command:main",
        "one HTML page of what the last run left in artifacts/, or of all jobs of a night",
    ),
    "list": ("harness.campaign.listing:main", "the scenarios, their machines, and how long each takes; --json for CI"),
    "suite": ("harness.campaign.suite:main", "what became of every scenario in real runs, and which have not run"),
    "prepare": ("harness.campaign.prepare:main", "make what the first boots need, all at once, and measure this host"),
    "matrix": ("harness.matrix.command:main", "boot the truth table, or what is left of it, and draw it"),
    "bench": ("harness.bench:main", "where the time of a boot goes, and what the harness adds to it"),
    "clean": ("harness.housekeeping:clean", "remove what dead runs left; --cache: also what is slow to make"),
    "start": ("harness.housekeeping:start", "start what must run and does not: the Docker daemon (as root)"),
}
"""Where each command is: a function that takes the rest of the command line and returns the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: its own, or 2 for an error that explains itself.

    A reader of its output that has seen enough (``unlock-lab list | head``) ends it with 141, as SIGPIPE would.
    """
    _open_what_is_closed()
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]  # it means that the width is not known; rich would print nothing
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 gets ``?`` and no traceback
    parser = argparse.ArgumentParser(prog="unlock-lab", description="A laboratory for automatic disk unlock.")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, (_, help_text) in COMMANDS.items():
        commands.add_parser(name, help=help_text, add_help=False)
    chosen, rest = parser.parse_known_args(argv)
    module, _, function = COMMANDS[chosen.command][0].partition(":")
    try:
        status = _imported(module, function)(rest)
        sys.stdout.flush()
        return status
    except HarnessError as error:
        complain(error)
        return 2
    except BrokenPipeError:
        # Python would complain once more when it flushes at its end (signal(3), note on SIGPIPE).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if not (told := _of_the_host(error)):
            raise
        complain(told)
        return 2


def _open_what_is_closed() -> None:
    """Have what is written to a closed standard stream go nowhere, and not into the next file that is opened."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115, it stays open to the end


def _imported(module: str, function: str) -> Callable[[Sequence[str]], int]:
    """A command.

    Raises:
        HostError: A package that it needs is not there.
    """
    try:
        found: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "harness":
            raise
        program = CHECKOUT / ".venv" / "bin" / "unlock-lab" if CHECKOUT else "unlock-lab"
        raise HostError(
            f"{sys.executable} has no package {error.name}",
            hint=f"run `{SETUP}`, and then `{program}`: it has what {module} needs",
        ) from error
    return found


def _of_the_host(error: OSError) -> HostError | None:
    """What an error of the system says of the host, if it does not say that something is wrong in here."""
    if is_full(error):
        hint = "free some room, or point TMPDIR, UNLOCK_LAB_RUN or UNLOCK_LAB_CACHE at a larger disk"
        return HostError("no room left on a disk", str(error), hint)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP):
        hint = "let this user read and write there, or name another place: TMPDIR, UNLOCK_LAB_RUN, UNLOCK_LAB_CACHE"
        return HostError("a file or a folder cannot be used", str(error), hint)
    try:
        os.getcwd()  # noqa: PTH109, Path.cwd() is the same
    except FileNotFoundError:
        return HostError("the folder in which this was called is gone", str(error), "go to one that is there")
    return None


def complain(error: HarnessError) -> None:
    """Print an error on standard error, if that takes it: what happened, the evidence, what to do.

    What it quotes, the name of a file among it, moves no cursor and colours nothing.
    """
    red, cyan, end = ("\033[1;31m", "\033[36m", "\033[0m") if takes_escapes(sys.stderr) else ("", "", "")
    with contextlib.suppress(OSError):  # a full disk, or nobody reads it: then the status alone tells
        print(f"{red}{plain(error.what)}{end}", file=sys.stderr)
        if error.detail:
            print(plain(error.detail).rstrip(), file=sys.stderr)
        if error.hint:
            print(f"{cyan}hint: {plain(error.hint)}{end}", file=sys.stderr)
