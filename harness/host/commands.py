"""How the set-up speaks and acts: it prints every command that changes something before it runs."""

import os
import shlex
import shutil
import subprocess

from harness.errors import HostError
from harness.host.requirement import SYSTEM_PATH
from harness.paths import PACKAGE


def run(*argv: str, root: bool = False, stdin: str = "") -> None:
    """Print a command and run it, showing what it prints.

    Args:
        argv: Command and arguments.
        root: Run it by sudo when we are not root.
        stdin: What it reads.

    Raises:
        HostError: It is not installed, it failed, or it needs root and there is no sudo.
    """
    words = list(argv)
    if root and os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise HostError("this needs root, and there is no sudo", hint=f"as root: {shlex.join(argv)}")
        words = ["sudo", *words]
    print(f"$ {shlex.join(words)}", flush=True)
    path = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}"
    try:
        done = subprocess.run(
            words, input=stdin, text=True, env={**os.environ, "PATH": path}, cwd=PACKAGE.parent, check=False
        )
    except FileNotFoundError as error:
        raise HostError(f"{words[0]} is not installed", str(error)) from error
    if done.returncode != 0:
        raise HostError(f"status {done.returncode} from: {shlex.join(words)}", hint="see above for what it said")


def output(*argv: str) -> str:
    """What a command that changes nothing prints; nothing when it fails or is not there."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def say(what: str) -> None:
    """Tell the user what is about to happen, or what could not."""
    print(f"set-up: {what}", flush=True)
