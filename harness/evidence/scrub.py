"""Take secrets out of what is kept as evidence: passphrases, PINs and canaries, however a config encodes them. Pure."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from harness.policy.urls import decode, unpack

SHORTEST = 6
"""Characters. A shorter secret is taken out of configs alone: in a log it would match by chance."""

_FIXED = frozenset({"test", "result", "unlock", "kind", "label", "machine", "evidence", "policy", "image", "started"})
"""Keys of ``outcome.json`` whose values are identifiers."""


def scrubbed_config(data: bytes, secrets: Mapping[str, str]) -> bytes:
    """A Butane file or an Ignition config without secrets.

    Args:
        data: The file.
        secrets: What stands in the place of each secret, by secret.
    """
    try:
        config = json.loads(data)
    except ValueError:
        return _replaced(data, secrets)
    return json.dumps(_without(config, secrets), ensure_ascii=False).encode()


def scrubbed_log(data: bytes, secrets: Mapping[str, str]) -> bytes:
    """A log without secrets of `SHORTEST` characters or more; see `scrubbed_config`."""
    return _replaced(data, _long(secrets))


def scrubbed_document(value: Any, secrets: Mapping[str, str]) -> Any:
    """A document (``outcome.json``) whose texts hold no secrets of `SHORTEST` characters or more."""
    return _texts(value, _long(secrets))


def _texts(value: Any, secrets: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: each if key in _FIXED else _texts(each, secrets) for key, each in value.items()}
        case list():
            return [_texts(each, secrets) for each in value]
        case str():
            return _replaced(value.encode(errors="surrogatepass"), secrets).decode(errors="surrogatepass")
    return value


def _without(value: Any, secrets: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _without(each, secrets) for key, each in value.items()}
        case list():
            return [_without(each, secrets) for each in value]
        case str() if value.startswith("data:"):
            held = _held(value)
            return next((f"data:,{quote(what)}" for secret, what in secrets.items() if secret.encode() in held), value)
        case str():
            return _replaced(value.encode(errors="surrogatepass"), secrets).decode(errors="surrogatepass")
    return value


def _held(url: str) -> bytes:
    try:
        contents = decode(url)
    except ValueError:
        return url.encode()
    try:
        return unpack(contents)
    except ValueError:
        return contents


def _replaced(data: bytes, secrets: Mapping[str, str]) -> bytes:
    # The longest first: one secret may be a part of another.
    for secret in sorted(secrets, key=len, reverse=True):
        for form in _forms(secret):
            data = data.replace(form, secrets[secret].encode())
    return data


def _forms(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    yield json.dumps(secret)[1:-1].encode()
    yield quote(secret, safe="").encode()
    for text in (f"{secret}\n", secret):
        yield base64.b64encode(text.encode())


def _long(secrets: Mapping[str, str]) -> dict[str, str]:
    return {secret: what for secret, what in secrets.items() if len(secret) >= SHORTEST}
