"""Which folders the harness may change or remove: those that bear its marker file and belong to the calling user.

A path from outside (a variable, an option, a name in /tmp) is another's until it contains the file `MARK`, owned by the
caller, in a folder that the caller owns, that is no symbolic link, and that no other user can replace. A folder that is
new or empty gets the marker; any other is refused by name, with nothing changed. A folder is removed as a whole only if
it bears the marker itself.

Standard library only, so that a folder can be claimed before there is a venv: ``python3 -m harness.ownership FOLDER``.
"""

import errno
import os
import pwd
import shutil
import stat
import sys
from pathlib import Path

from harness.errors import HarnessError, HostError, UsageError
from harness.paths import cache_dir, run_dir

MARK = ".unlock-lab"
"""The marker file."""

_TEXT = "This folder is unlock-lab's own: it changes and removes what is in here.\n"

_BEGINNING_BYTES = 16384

SHARED = 0o755 if os.geteuid() == 0 else 0o700
"""Mode of a folder that the user who runs QEMU must be able to enter: another user for root, else the caller."""


def claimed_run_dir() -> Path:
    """The folder for sockets and what machines write to, claimed.

    Raises:
        UsageError: It is not ours.
        HostError: It cannot be made.
    """
    return claim(run_dir(), "UNLOCK_LAB_RUN", adopt=_is_named_after_us("UNLOCK_LAB_RUN", "XDG_RUNTIME_DIR"))


def claimed_cache_dir() -> Path:
    """The cache, claimed.

    Raises:
        UsageError: It is not ours.
        HostError: It cannot be made.
    """
    return claim(cache_dir(), "UNLOCK_LAB_CACHE", adopt=_is_named_after_us("UNLOCK_LAB_CACHE", "XDG_CACHE_HOME"))


def _is_named_after_us(*variables: str) -> bool:
    """Whether a folder is this program's by its name: in /run, /var/cache or ~/.cache, where no variable named it."""
    in_tmp = os.geteuid() != 0 and "XDG_RUNTIME_DIR" in variables
    return not in_tmp and not any(os.environ.get(name) for name in variables)


def claim(folder: Path, named_by: str, mode: int = SHARED, *, adopt: bool = False) -> Path:
    """Make a folder and mark it as ours, or see that it is, and that it can be written to; returns it.

    Args:
        folder: One that is there must bear our mark, or be ours and empty.
        named_by: The variable or option that names the folder, for the hint: ``UNLOCK_LAB_CACHE``, ``--artifacts``.
        mode: Its permissions.
        adopt: Whether to mark one that is not empty too, if we own it: in a folder of ours, every name we use is ours.

    Raises:
        UsageError: It is not ours, or another user can replace it. Nothing was changed.
        HostError: It cannot be made, or not be written to.
    """
    folder = folder.absolute()
    _require_safe_way(folder, named_by)
    try:
        for above in reversed(folder.parents):
            above.mkdir(mode=0o755, exist_ok=True)  # whatever the umask: in 0777 others could replace the folder
        folder.mkdir(exist_ok=True, mode=mode)
        handle = _opened(folder, named_by)
        try:
            if not (_holds_mark(handle) if adopt else _marked(handle, folder, named_by)):
                _mark(handle)
            if stat.S_IMODE(os.fstat(handle).st_mode) != mode:
                os.fchmod(handle, mode)  # whatever the umask, or whoever made it empty
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=handle, effective_ids=True):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # its owner's mode allows it: its disk does not
        finally:
            os.close(handle)
    except OSError as error:
        raise HostError(
            f"the folder {folder} cannot be made or written to",
            f"{error.filename or folder}: {error.strerror}",
            f"let {named_by} name one that can be written to",
        ) from error
    return folder


def is_ours(folder: Path) -> bool:
    """Whether a folder bears our mark and is owned by us; one that is not there does not."""
    try:
        handle = _opened(folder.absolute(), "")
    except (OSError, UsageError):
        return False
    try:
        return _holds_mark(handle)
    finally:
        os.close(handle)


def require(folder: Path, named_by: str) -> None:
    """See that a folder is ours, or could become so by `claim`, and change nothing.

    Raises:
        UsageError: It is not ours.
    """
    folder = folder.absolute()
    _require_safe_way(folder, named_by)
    try:
        handle = _opened(folder, named_by)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostError(f"{folder} cannot be looked at", str(error)) from error
    try:
        _marked(handle, folder, named_by)
    finally:
        os.close(handle)


def require_own_file(path: Path, sign: str) -> None:
    """See that a file to be replaced is not there yet, or was written by us.

    Args:
        path: The file.
        sign: What the beginning of such a file of ours holds.

    Raises:
        UsageError: It is something else; nothing was changed.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} is not ours to replace", str(error), "name another file") from error
    try:
        regular = stat.S_ISREG(os.fstat(handle).st_mode)
        beginning = os.read(handle, _BEGINNING_BYTES) if regular else b""
    finally:
        os.close(handle)
    if sign.encode() not in beginning:
        raise UsageError(f"{path} is not ours to replace: unlock-lab did not write it", "", "name another file")


def emptied(folder: Path) -> list[Path]:
    """Remove the folders in a folder of ours that bear the marker themselves; returns what else is in it.

    Raises:
        UsageError: The folder itself does not bear our mark.
    """
    if not is_ours(folder):
        raise UsageError(f"{folder} is not ours", f"it has no {MARK}", "nothing was removed")
    left = []
    for child in sorted(folder.iterdir()):
        if is_ours(child):
            shutil.rmtree(child)
        elif not child.name.startswith(MARK):
            left.append(child)
    return left


def _opened(folder: Path, named_by: str) -> int:
    """A descriptor of a folder that we own and that no link stands for."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError as error:
        what = f"a link to {folder.readlink()}" if folder.is_symlink() else "no folder"
        raise _refusal(folder, what, named_by) from error
    owner = os.fstat(handle).st_uid
    if owner != os.geteuid():
        os.close(handle)
        raise _refusal(folder, f"{_name(owner)}'s", named_by)
    return handle


def _marked(handle: int, folder: Path, named_by: str) -> bool:
    """Whether a folder bears the mark; one that does not must be empty."""
    if _holds_mark(handle):
        return True
    names = sorted(os.listdir(handle))
    # Another process of ours may have marked it between the two looks, and begun to fill it.
    if not names or _holds_mark(handle):
        return bool(names)
    raise UsageError(
        f"{folder} is not ours: it has no {MARK}, and holds {', '.join(names[:3])}" + (" …" if len(names) > 3 else ""),
        "nothing in it was changed",
        f"let {named_by} name another folder, a new or an empty one; if unlock-lab made this one before it marked its "
        f"folders: touch {folder}/{MARK}",
    )


def _holds_mark(handle: int) -> bool:
    try:
        found = os.stat(MARK, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _mark(handle: int) -> None:
    mark = os.open(MARK, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644, dir_fd=handle)
    try:
        os.write(mark, _TEXT.encode())
    finally:
        os.close(mark)


def _require_safe_way(folder: Path, named_by: str) -> None:
    """Refuse a folder that another user could replace by a link, as sshd does for its files (StrictModes)."""
    for above in folder.parents:
        try:
            who = changed_by_others(above)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise HostError(f"{folder} cannot be reached", str(error)) from error
        if who:
            raise _refusal(folder, f"in the hands of {who}, who can change {above}", named_by)


def changed_by_others(folder: Path) -> str:
    """Who, besides root and the caller, can replace an entry of a folder; "" for no other user."""
    found = folder.stat()
    for owner in (found.st_uid, folder.lstat().st_uid):
        if owner not in (0, os.geteuid()):
            return _name(owner)
    group_is_one_user = found.st_gid == found.st_uid
    writable = found.st_mode & (0o002 if group_is_one_user else 0o022) and not found.st_mode & stat.S_ISVTX
    return "others" if writable else ""


def _refusal(folder: Path, what: str, named_by: str) -> UsageError:
    return UsageError(
        f"{folder} is not ours: it is {what}", "nothing was changed", f"let {named_by} name a folder of your own"
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


if __name__ == "__main__":
    try:
        for name in sys.argv[1:]:
            claim(Path(name), "the command line")
    except HarnessError as refused:
        sys.exit(str(refused))
