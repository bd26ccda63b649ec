"""Debian's archive: where it is, which state it is in, and single pinned files out of it.

``UNLOCK_LAB_DEBIAN_MIRROR`` names another mirror than http://deb.debian.org/debian. What a mirror serves is checked:
the package lists by their signature and their date (mmdebstrap, apt), single packages by the hash in their recipe. The
lists of a mirror that stands still, such as snapshot.debian.org, are past their date: ``UNLOCK_LAB_DEBIAN_EXPIRED=yes``
takes them all the same.
"""

import hashlib
import os
import urllib.error
import urllib.request
from functools import cache
from http.client import HTTPException

from harness.cache import entry, shelf
from harness.errors import HostError
from harness.files import write_whole

_HINT = "name a mirror that this host reaches: UNLOCK_LAB_DEBIAN_MIRROR=http://…/debian"

_PACKAGE_SECONDS = 60.0
"""Without an answer from the mirror."""


def mirror() -> str:
    """The mirror's URL, without a slash at its end."""
    return (os.environ.get("UNLOCK_LAB_DEBIAN_MIRROR") or "http://deb.debian.org/debian").rstrip("/")


def date_options() -> list[str]:
    """What mmdebstrap is told about the date of package lists; their signatures count in any case (apt.conf(5))."""
    takes_expired = os.environ.get("UNLOCK_LAB_DEBIAN_EXPIRED", "") == "yes"
    return ['--aptopt=Acquire::Check-Valid-Until "false"'] if takes_expired else []


def fetch(path: str, *, timeout: float) -> bytes:
    """Fetch a file of the archive.

    Args:
        path: Below the mirror's URL.
        timeout: Seconds without an answer after which it fails.

    Raises:
        HostError: The mirror is not reachable or has no such file.
    """
    url = f"{mirror()}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise HostError(f"{url}: {error.code} {error.reason}", hint=_HINT) from error
    except (OSError, ValueError, HTTPException) as error:
        raise HostError(f"{url} is not reachable", str(error), _HINT) from error


def fetch_package(pool: str, sha256: str, where: str) -> bytes:
    """Fetch a pinned package.

    Args:
        pool: Path of the .deb in the archive.
        sha256: What it must hash to.
        where: The recipe line that pins it, for the error.

    Raises:
        HostError: The mirror is not reachable, the version is gone from it, or the content is another.
    """
    try:
        data = fetch(pool, timeout=_PACKAGE_SECONDS)
    except HostError as error:
        if "404" not in error.what:
            raise
        raise HostError(
            f"{pool.rpartition('/')[2]} is gone from the mirror {mirror()}",
            f"it is pinned by {where}",
            "a newer version replaced it: put its path, version and SHA256 (apt-cache show) into that line,"
            " or name a mirror that still has it, such as http://snapshot.debian.org/archive/debian/YYYYMMDDT000000Z,"
            " in UNLOCK_LAB_DEBIAN_MIRROR",
        ) from error
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise HostError(f"{pool}: the mirror {mirror()} serves something else", f"sha256 {found}, pinned by {where}")
    return data


@cache
def archive_state(suite: str) -> str:
    """A hash that changes whenever any package version of a suite may have.

    Of a stable release the suite changes at point releases, every two months or so. Without a mirror the state seen
    last counts, so that what was built stays usable offline.

    Raises:
        HostError: The mirror is not reachable, and never was.
    """
    seen = entry("archive", suite)
    try:
        state = hashlib.sha256(fetch(f"dists/{suite}/InRelease", timeout=20.0)).hexdigest()
    except HostError:
        if not seen.is_file():
            raise
        return seen.read_text()
    shelf("archive")
    write_whole(seen, state)
    return state
