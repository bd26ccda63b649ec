"""Looks for a secret in bytes, however it may be written there (pure)."""

import base64
import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap

from harness.errors import UsageError

SHORTEST = 8
"""Bytes; what is shorter can be found anywhere."""

Haystack = bytes | mmap


@dataclass(frozen=True)
class Found:
    """Where a secret was found.

    Attributes:
        encoding: How it was written there.
        at: At which byte.
    """

    encoding: str
    at: int


def find_secret(haystack: Haystack, secret: bytes) -> Found | None:
    """The first place where a secret lies in any encoding, or None.

    Raises:
        UsageError: It is too short to be told from chance.
    """
    places = ((name, haystack.find(text)) for name, text in encodings(secret).items())
    return next((Found(name, at) for name, at in places if at >= 0), None)


def canary_in(said: str) -> str | None:
    """The canary that stands at the head of a line: 32 hexadecimal digits, as an installation draws them."""
    found = re.search(r"^[0-9a-f]{32}\b", said, re.MULTILINE)
    return found[0] if found else None


def encodings(secret: bytes) -> dict[str, bytes]:
    """Every way to write a secret that is looked for, by name; what looks the same is there once.

    Those are raw, hexadecimal, base64 and base64url (RFC 4648), at any place in a longer text; each as it is and
    escaped for JSON (RFC 8259, 7) and for URLs (RFC 3986, 2.1); forwards, with its bytes in reverse, and backwards.

    Raises:
        UsageError: It is too short to be told from chance.
    """
    if len(secret) < SHORTEST:
        raise UsageError(f"a secret of {len(secret)} bytes is found by chance; it needs {SHORTEST}")
    found: dict[bytes, str] = {}
    for order, data in (("", secret), ("reversed, ", secret[::-1])):
        for writing, write in _WRITINGS.items():
            for escaping, escape in _ESCAPES.items():
                text = escape(write(data))
                found.setdefault(text, f"{order}{writing}{escaping}")
                found.setdefault(text[::-1], f"{order}{writing}{escaping}, backwards")
    return {name: text for text, name in found.items()}


def _base64(data: bytes, shift: int, encode: Callable[[bytes], bytes]) -> bytes:
    """The characters that are the data's alone when so many bytes stand before it, and anything after it."""
    text = encode(bytes(shift) + data)
    return text[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]


def _json_text(data: bytes) -> bytes:
    """As a JSON string that is not ASCII only: control characters, quotes and backslashes are escaped."""
    return json.dumps(data.decode("latin-1"), ensure_ascii=False)[1:-1].encode("latin-1")


_WRITINGS: dict[str, Callable[[bytes], bytes]] = {
    "raw": bytes,
    "hex": lambda data: data.hex().encode(),
    "upper-case hex": lambda data: data.hex().upper().encode(),
    **{
        f"{name} after {shift} bytes": lambda data, shift=shift, encode=encode: _base64(data, shift, encode)  # type: ignore[misc]
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode))
        for shift in range(3)
    },
}

_ESCAPES: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ", JSON": _json_text,
    ", JSON with slashes": lambda text: text.replace(b"/", rb"\/"),
    ", JSON in code points": lambda text: b"".join(rb"\u%04x" % byte for byte in text),
    ", JSON in upper-case code points": lambda text: b"".join(rb"\u%04X" % byte for byte in text),
    ", percent": lambda text: urllib.parse.quote_from_bytes(text, safe="").encode(),
    ", percent but for slashes": lambda text: urllib.parse.quote_from_bytes(text, safe="/").encode(),
    ", percent throughout": lambda text: b"".join(b"%%%02x" % byte for byte in text),
    ", upper-case percent throughout": lambda text: b"".join(b"%%%02X" % byte for byte in text),
}
