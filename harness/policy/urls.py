"""Data URLs as Butane writes them and Ignition reads them; the parts of others (pure).

Sources: Butane, base/util/url.go; RFC 2397.
"""

import base64
import gzip
import hashlib
import io
import ipaddress
import zlib
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

_UNRESERVED = "-_.!~*'()"
"""RFC 2396, section 2.3."""

MOST_BYTES = 64 * 2**20
"""Of one file's contents."""


def encode(contents: bytes, *, compressed: bool = False) -> tuple[str, str]:
    """The shortest of escaped, base64, and gzip in base64.

    Args:
        contents: What the URL shall hold.
        compressed: The user compressed it already; it is not compressed again.

    Returns:
        The URL and what `compression` must say: ``gzip`` or nothing.
    """
    opaque, compression = "," + quote(contents, safe=_UNRESERVED), ""
    if len(plain := ";base64," + base64.b64encode(contents).decode()) < len(opaque):
        opaque = plain
    if not compressed:
        packed = ";base64," + base64.b64encode(gzip.compress(contents, mtime=0)).decode()
        if len(packed) + len("gzip") < len(opaque):
            opaque, compression = packed, "gzip"
    return f"data:{opaque}", compression


def is_elsewhere(source: str | None) -> bool:
    """Whether what a config names there would have to be fetched: it is given, and no data URL."""
    return bool(source) and not str(source).startswith("data:")


def decode(url: str) -> bytes:
    """What a data URL holds.

    Raises:
        ValueError: It is not a data URL.
    """
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not comma:
        raise ValueError("not a data URL")
    contents = unquote_to_bytes(body)
    return base64.b64decode(contents, validate=True) if head.endswith(";base64") else contents


def unpack(contents: bytes) -> bytes:
    """What gzip packed.

    Raises:
        ValueError: It is not gzip, or more than is read: a thousandth may stand for the whole.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(contents)) as packed:
            unpacked = packed.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"not gzip: {error}") from error
    if len(unpacked) > MOST_BYTES:
        raise ValueError(f"has more than {MOST_BYTES // 2**20} MiB unpacked")
    return unpacked


def digest(contents: bytes, function: str) -> str:
    """The hash of contents as a config writes it: ``sha512-`` or ``sha256-`` and hex digits."""
    return f"{function}-{hashlib.new(function, contents).hexdigest()}"


def parse(url: str) -> SplitResult:
    """The parts of a URL; of one that is malformed, no parts."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at only when asked for
    except ValueError:
        return SplitResult("", "", "", "", "")
    return parts


def is_ip(host: str) -> bool:
    """Whether a host is given by its address, and not by a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
