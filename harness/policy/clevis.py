"""From a `clevis` section to the tree of pins that it makes.

What Ignition does with the section (its internal/exec/stages/disks/luks.go): without `custom` it always binds one `sss`
pin over Tang and TPM2, with threshold 1 unless told otherwise; with `custom` it hands pin and config to clevis as they
are.
Limits of the configs: clevis-encrypt-sss(1), clevis-encrypt-tang(1), clevis-encrypt-tpm2(1).
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.policy import urls
from harness.policy.document import Document, KeyPath
from harness.policy.pins import (
    GATEWAY,
    PLACEHOLDER,
    Pin,
    Sss,
    TangPin,
    Tpm2Pin,
    leaves,
    placeholder,
    placeholder_server,
)

_BANKS = ("sha1", "sha256", "sha384", "sha512", "sm3_256")
_PIN_KEYS = {
    "sss": ("t", "pins"),
    "tang": ("url", "thp", "adv"),
    "tpm2": ("hash", "key", "pcr_bank", "pcr_ids", "pcr_digest"),
}
_LAST_PCR = 23
_DEEPEST = 16
"""Thresholds within thresholds."""

_URL = re.compile(r"https?://[A-Za-z0-9._~:/?\[\]@%=+,-]+")
"""What can stand in a Tang URL: clevis hands it to a shell and to curl."""

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{27}|[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{64}|[A-Za-z0-9_-]{86}")
"""Base64url of a SHA-1, SHA-256, SHA-384 or SHA-512 digest (RFC 7638, section 3)."""

_RESERVED = ("passphrase",)
"""What opens a volume by hand is called so in an outcome."""


def read_pins(document: Document, path: KeyPath, clevis: dict[str, Any]) -> Pin | None:
    """The tree of pins that a `clevis` section of a config makes; mistakes go to the document.

    Thumbprints that were left to the harness are written into the section, so that it can be installed as it stands.

    Args:
        document: Where the section comes from.
        path: Of the section there.
        clevis: The section as the Ignition config has it.
    """
    tree: Pin | None
    custom = clevis.get("custom")
    if custom:
        for other in ("tang", "tpm2", "threshold"):
            if clevis.get(other):
                document.mistake((*path, other), "cannot stand beside custom")
        tree = _custom(document, (*path, "custom"), custom)
    else:
        tree = _simple(document, path, clevis)
    return _named(tree) if tree else None


def _simple(document: Document, path: KeyPath, clevis: dict[str, Any]) -> Pin | None:
    pins: list[Pin] = []
    for name, value in clevis.items():
        if name == "tpm2" and value:
            pins.append(Tpm2Pin())
        elif name == "tang":
            for index, tang in enumerate(value):
                pins.append(_tang(document, (*path, "tang", index), tang, "thumbprint"))
    if not pins and not document.broken(path):
        document.mistake(path, "no pin: it needs tpm2: true, tang, or custom")
    if not pins:
        return None
    urls = Counter(tang["url"] for tang in clevis.get("tang", ()))
    for index, tang in enumerate(clevis.get("tang", ())):
        if urls[tang["url"]] > 1:
            document.mistake((*path, "tang", index, "url"), "Ignition takes each url only once")
    threshold = clevis.get("threshold", 1)
    _check_threshold(document, (*path, "threshold"), threshold, len(pins))
    return Sss(threshold, tuple(pins))


def _check_threshold(document: Document, path: KeyPath, threshold: int, pins: int, prefix: str = "") -> None:
    if threshold < 1:
        document.mistake(path, f"{prefix}a threshold is at least 1, not {threshold}", inside=bool(prefix))
    elif threshold > pins:
        are = "pin is" if pins == 1 else "pins are"
        message = f"{prefix}a threshold of {threshold} can never be reached, {pins} {are} listed"
        document.mistake(path, message, inside=bool(prefix))


def _tang(document: Document, path: KeyPath, tang: dict[str, Any], thumbprint_key: str, prefix: str = "") -> TangPin:
    """A Tang pin; a thumbprint that was left to the harness is written into `tang`."""
    url, thumbprint = str(tang.get("url", "")), tang.get(thumbprint_key)
    url_server = placeholder_server(url, "URL")
    key_server = placeholder_server(thumbprint or "", "THUMBPRINT")
    parts = urls.parse(url)

    def wrong(key: str, message: str) -> None:
        document.mistake((*path, key) if not prefix else path, f"{prefix}{message}", inside=bool(prefix))

    if not url:
        wrong("url", "is empty")
        return TangPin("", url, thumbprint)
    if url_server is None:
        if PLACEHOLDER.search(url):
            wrong("url", "a placeholder is the whole url: @TANG_URL@ or @TANG_URL:name@")
        elif parts.scheme not in ("http", "https") or not parts.hostname:
            wrong("url", f"expected an http or https url or a placeholder, found {url!r}")
        elif not _URL.fullmatch(url):
            wrong("url", f"a Tang url has no blanks, quotes and other signs of a shell; found {url!r}")
    if thumbprint and PLACEHOLDER.search(thumbprint) and key_server is None:
        wrong(thumbprint_key, "a placeholder is the whole thumbprint: @TANG_THUMBPRINT@ or @TANG_THUMBPRINT:name@")
    elif url_server is not None and thumbprint is None:
        key_server = url_server
        tang[thumbprint_key] = thumbprint = placeholder("THUMBPRINT", url_server)
    elif url_server is not None and key_server != url_server:
        wrong(
            thumbprint_key, f"must be {placeholder('THUMBPRINT', url_server)} beside {url}: the harness makes that key"
        )
    elif not thumbprint and "adv" not in tang:
        wrong(thumbprint_key, f"{thumbprint_key} is missing: clevis would ask whom to trust, and nobody is there")
    elif key_server and not url_server and parts.scheme and (parts.scheme, parts.hostname) != ("http", GATEWAY):
        wrong("url", f"a server of the harness is at the guest's gateway, http://{GATEWAY}:PORT, or @TANG_URL@")
    elif thumbprint and not key_server and not _THUMBPRINT.fullmatch(thumbprint):
        wrong(
            thumbprint_key, "no thumbprint: it has 43 characters of base64url (27 for SHA-1), as tang-show-keys prints"
        )
    server = url_server or key_server or url
    if server.startswith("tpm2") or server in _RESERVED:
        wrong("url", f"a server cannot be called {server}: outcomes name another pin like that")
    return TangPin(server, url, thumbprint)


def _custom(document: Document, path: KeyPath, custom: dict[str, Any]) -> Pin | None:
    pin, text = custom["pin"], custom["config"]
    if pin not in _PIN_KEYS:
        document.mistake((*path, "pin"), _unknown_pin(pin))
        return None
    here = (*path, "config")
    try:
        config = json.loads(text, object_pairs_hook=_once)
        json.dumps(config, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        document.mistake(here, f"not JSON: {error}")
        return None
    before = json.dumps(config)
    tree = _CustomReader(document, here).pin(pin, config, "")
    if json.dumps(config) != before:
        custom["config"] = json.dumps(config)
    return tree


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"the key {twice[0]} is there twice")
    return dict(pairs)


def _unknown_pin(name: str) -> str:
    near = difflib.get_close_matches(name[:64], _PIN_KEYS, n=1)
    return f"{name[:64]!r} is not a pin that Ignition takes" + (
        f"; did you mean {near[0]}?" if near else f": {', '.join(_PIN_KEYS)}"
    )


class _CustomReader:
    """Reads the JSON of a custom pin; every mistake stands at the key `config`, with the place inside the JSON."""

    def __init__(self, document: Document, path: KeyPath) -> None:
        self.document = document
        self.path = path

    def wrong(self, where: str, message: str) -> None:
        self.document.mistake(self.path, f"{where or 'the JSON'}: {message}", inside=True)

    def pin(self, name: str, config: Any, where: str) -> Pin | None:
        if name not in _PIN_KEYS:
            self.wrong(where, _unknown_pin(name))
            return None
        if where.count(".pins.") > _DEEPEST:
            self.wrong(where[:40], f"thresholds nested deeper than {_DEEPEST} levels")
            return None
        if not isinstance(config, dict):
            self.wrong(where, f"the config of a {name} pin is an object")
            return None
        for key in config:
            if key not in _PIN_KEYS[name]:
                near = difflib.get_close_matches(key[:64], _PIN_KEYS[name], n=1)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(_PIN_KEYS[name])}"
                self.wrong(where, f"unknown key {key!r} of a {name} pin; {hint}")
                return None
        readers: dict[str, Callable[[dict[str, Any], str], Pin | None]] = {
            "sss": self.sss,
            "tang": self.tang,
            "tpm2": self.tpm2,
        }
        return readers[name](config, where)

    def sss(self, config: dict[str, Any], where: str) -> Pin | None:
        pins, threshold = config.get("pins"), config.get("t", 1)
        if not isinstance(threshold, int) or isinstance(threshold, bool):
            self.wrong(f"{where}.t".lstrip("."), f"expected a whole number, found {json.dumps(threshold)}")
            return None
        listed = [
            (name, child, f"{where}.pins.{name}".lstrip(".") + (f"[{index}]" if isinstance(configs, list) else ""))
            for name, configs in (pins.items() if isinstance(pins, dict) else ())
            for index, child in enumerate(configs if isinstance(configs, list) else [configs])
        ]
        if not listed:
            self.wrong(where, "an sss pin needs pins: an object with at least one pin")
            return None
        children = [self.pin(name, child, inside) for name, child, inside in listed]
        known = tuple(child for child in children if child)
        if len(known) < len(children):
            return None
        _check_threshold(self.document, self.path, threshold, len(known), f"{where}.t: ".lstrip("."))
        return Sss(threshold, known)

    def tang(self, config: dict[str, Any], where: str) -> Pin | None:
        if "url" not in config:
            self.wrong(where, "url is missing")
            return None
        for key in ("url", "thp"):
            if not isinstance(config.get(key, ""), str):
                self.wrong(f"{where}.{key}".lstrip("."), "expected a string")
                return None
        return _tang(self.document, self.path, config, "thp", f"{where or 'the JSON'}: ")

    def tpm2(self, config: dict[str, Any], where: str) -> Pin | None:
        bank, said = config.get("pcr_bank"), config.get("pcr_ids")
        if bank is not None and bank not in _BANKS:
            self.wrong(f"{where}.pcr_bank".lstrip("."), f"{bank!r} is not a PCR bank: {', '.join(_BANKS)}")
            return None
        ids = said.split(",") if isinstance(said, str) else said if isinstance(said, list) else []
        texts = [str(item).strip() for item in ids]
        fits = "pcr_ids" not in config or isinstance(said, str | list)
        if not fits or not all(re.fullmatch(r"[0-9]{1,2}", text) and int(text) <= _LAST_PCR for text in texts if said):
            # clevis itself fails on anything else, rather than to seal without a PCR policy.
            self.wrong(
                f"{where}.pcr_ids".lstrip("."),
                f'expected PCRs from 0 to {_LAST_PCR} as "1,7" or [1, 7], found {json.dumps(said)}',
            )
            return None
        return Tpm2Pin(tuple(int(text) for text in texts if text), bank)


def _named(tree: Pin) -> Pin:
    """The tree with TPM pins told apart by their PCRs when there are several."""
    tpm = [leaf for leaf in leaves(tree) if isinstance(leaf, Tpm2Pin)]
    if len(tpm) < 2:
        return tree

    def rename(pin: Pin) -> Pin:
        if isinstance(pin, Sss):
            return replace(pin, pins=tuple(rename(child) for child in pin.pins))
        if isinstance(pin, Tpm2Pin) and pin.pcr_ids:
            return replace(pin, name=f"tpm2-pcr{'+'.join(map(str, pin.pcr_ids))}")
        return pin

    return rename(tree)
