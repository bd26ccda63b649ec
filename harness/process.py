"""The one function that runs a command to its end."""

import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import HostError
from harness.files import tail
from harness.paths import DOCTOR, SETUP


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | bytes | None = None,
    user: str | None = None,
    pass_fds: Sequence[int] = (),
    under: Sequence[str] = (),
) -> str:
    """Run a command and return what it printed on standard output.

    Args:
        argv: Command and arguments.
        timeout: Seconds after which it is killed.
        cwd: Working directory.
        env: The whole environment; the caller's by default.
        stdin: What it reads; nothing by default.
        user: The user to run as (root only); its groups become that user's main one alone.
        pass_fds: Descriptors that it gets too, under the same numbers.
        under: The head of the command line, of programs that become this one (`harness.host.user`).

    Raises:
        HostError: It is not installed or not allowed, it failed, or it took too long; with the end of
            what it said.
    """
    name, *rest = map(str, argv)
    words = [*under, name, *rest]
    if under and shutil.which(name) is None:
        raise HostError(f"{name} is not installed", hint=f"{DOCTOR} says what is missing")
    group = _group_of(user) if user else None
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            words,
            input=data if data is not None else b"",
            capture_output=True,
            timeout=timeout,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            user=user,
            group=group,
            extra_groups=[] if user else None,
            pass_fds=pass_fds,
            check=False,
        )
    except OSError as error:
        missing = isinstance(error, FileNotFoundError) and error.filename == words[0]
        raise HostError(
            f"{words[0]} is not installed" if missing else f"{words[0]} cannot be run",
            str(error),
            f"{DOCTOR} says what is missing",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise HostError(
            f"{name} did not finish within {timeout:.0f} s", tail(error.stderr or error.stdout or b"", 20)
        ) from error
    if done.returncode != 0:
        raise HostError(
            f"{name} failed with status {done.returncode}: {' '.join(words)}", tail(done.stderr or done.stdout, 20)
        )
    return done.stdout.decode(errors="replace")


def _group_of(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_gid
    except KeyError as error:
        raise HostError(f"there is no user {user}", hint=SETUP) from error
