"""A machine that runs already, as ``collect.sh`` found it: its volumes as the rules know them.

Nothing here asks the machine anything: the folder holds the metadata of its LUKS headers, its crypttab and kernel
command line, what its TPM measured, and versions.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.evidence.artifacts import plain
from harness.luks2.header import LuksFormatError
from harness.luks2.sealed_pins import SealedPin, sealed_pin
from harness.policy.pins import KINDS, Pin, Sss
from harness.policy.policy import Policy, Volume
from harness.policy.world import Stack

FORMAT = "1"
"""Of the folder that ``collect.sh`` fills."""

_HINT = "have `unlock-lab collect > collect.sh` write the script, and run it as root on the machine: sh collect.sh DIR"
_KINDS = {kind.header_type: kind for kind in KINDS if kind.header_type}
_RECOVERY = "systemd-recovery"
"""The type of the token beside a recovery key, which is typed (systemd-cryptenroll(1))."""


@dataclass(frozen=True)
class Collected:
    """What a folder says.

    Attributes:
        policy: The volumes with the pins that their headers hold, and the kernel arguments.
        stack: What opens them.
        event_log: The firmware's log (TCG PC Client Platform Firmware Profile, 10), as it was read; empty without one.
        facts: Lines for people: versions, Secure Boot, the TPM.
        unknown: Volumes with something that the rules know nothing of, and what: nothing is predicted of them.
    """

    policy: Policy
    stack: Stack
    event_log: bytes
    facts: tuple[str, ...]
    unknown: Mapping[str, str]


def read(folder: Path) -> Collected:
    """Read a folder that ``collect.sh`` filled.

    Raises:
        UsageError: It is no such folder, or something in it is damaged.
    """
    if _text(folder, "format").strip() != FORMAT:
        raise UsageError(f"{folder} is no folder of collect.sh", f"it has no file `format` that says {FORMAT}", _HINT)
    crypttab = dict(_crypttab(_text(folder, "crypttab")))
    mounts = dict(_mounts(folder))
    volumes, unknown = [], {}
    for header in sorted(folder.glob("luks/*.json")):
        device = _text(folder, f"luks/{header.stem}.device").strip()
        found = _volume(header, device, crypttab, mounts)
        volumes.append(found.volume)
        if found.unknown:
            unknown[found.volume.name] = "; ".join(found.unknown)
    if not volumes:
        raise UsageError(f"{folder} holds no LUKS2 header", "luks/ is empty: there is none, or it was not root", _HINT)
    arguments = tuple(_text(folder, "cmdline").split())
    policy = Policy(folder.name, {}, tuple(volumes), "", arguments, "")
    stack = Stack.IT if "update-initramfs" in _text(folder, "initrd-generator").split() else Stack.DR
    return Collected(policy, stack, _bytes(folder, "event-log"), tuple(_facts(folder)), unknown)


@dataclass(frozen=True)
class _Found:
    volume: Volume
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """A line of crypttab(5)."""

    name: str
    key_file: str | None
    options: frozenset[str]


def _volume(header: Path, device: str, crypttab: Mapping[str, _Entry], mounts: Mapping[str, str]) -> _Found:
    try:
        metadata = json.loads(_text(header.parent, header.name))
        tokens = [dict(metadata["tokens"][number]) for number in sorted(metadata["tokens"], key=int)]
        keyslots = set(metadata["keyslots"])
        claimed = {str(keyslot) for token in tokens for keyslot in token.get("keyslots", ())}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{header} is not the metadata of a LUKS2 header", repr(error), _HINT) from error
    entry = crypttab.get(header.stem) or crypttab.get(device)
    unknown: list[str] = []
    pins: list[Pin] = []
    for token in tokens:
        try:
            pins += _pins(sealed_pin(token), entry.options if entry else (), unknown)
        except (LuksFormatError, ValueError, TypeError) as error:
            unknown.append(f"a token that is not as its tool writes it: {plain(str(error))[:200]}")
    recovery = any(token.get("type") == _RECOVERY for token in tokens)
    typed = bool(keyslots - claimed) or recovery
    volume = Volume(
        name=entry.name if entry else f"luks-{header.stem}",
        device=device,
        pins=pins[0] if len(pins) == 1 else Sss(1, tuple(pins), separate=True) if pins else None,
        passphrase="" if typed else None,
        mount_point=mounts.get(entry.name if entry else header.stem),
        key_file=bool(entry and entry.key_file),
        headless=bool(entry and entry.options & {"headless", "headless=yes", "headless=true", "headless=1"}),
    )
    return _Found(volume, tuple(unknown))


def _pins(sealed: SealedPin, crypttab: Collection[str], unknown: list[str]) -> Iterator[Pin]:
    if sealed.kind == Sss.clevis_name:
        children = [pin for child in sealed.children for pin in _pins(child, crypttab, unknown)]
        threshold = int(sealed.config.get("t", 1))
        if not 0 < threshold <= len(sealed.children):
            raise ValueError(f"a threshold of {threshold} of {len(sealed.children)} pins")
        yield Sss(threshold, tuple(children))
    elif kind := _KINDS.get(sealed.kind):
        try:
            yield kind.of_header(sealed.config, crypttab)
        except UsageError as error:
            unknown.append(error.what)
    elif sealed.kind != _RECOVERY:
        unknown.append(
            f"a token of the type {sealed.kind}, which the rules do not know: what it opens is not predicted"
        )


def _crypttab(text: str) -> Iterator[tuple[str, _Entry]]:
    """Entries by the UUID or the device that they name."""
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0].startswith("#"):
            continue
        name, device, *rest = words
        key_file = rest[0] if rest and rest[0] not in ("none", "-") else None
        options = frozenset(rest[1].split(",")) if len(rest) > 1 else frozenset()
        yield device.removeprefix("UUID=").removeprefix("/dev/disk/by-uuid/"), _Entry(name, key_file, options)


def _mounts(folder: Path) -> Iterator[tuple[str, str]]:
    """Where the file systems on mappings are mounted, by the mapping's name, as lsblk(8) says."""
    text = _text(folder, "lsblk.json")
    try:
        todo = list(json.loads(text)["blockdevices"]) if text else []
        while todo:
            device = todo.pop()
            todo += device.get("children") or []
            points = [point for point in device.get("mountpoints") or [device.get("mountpoint")] if point]
            if str(device.get("type")) == "crypt" and points:
                yield str(device["name"]).removeprefix("/dev/mapper/"), min(points, key=len)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{folder}/lsblk.json is not what lsblk prints", repr(error), _HINT) from error


def _facts(folder: Path) -> Iterator[str]:
    release = dict(line.partition("=")[::2] for line in _text(folder, "os-release").splitlines())
    if name := release.get("PRETTY_NAME"):
        yield name.strip('"')
    if on := _text(folder, "secure-boot").strip():
        yield f"Secure Boot is {'on' if on == '1' else 'off'}"
    if major := _text(folder, "tpm-version").strip():
        yield f"TPM {'2.0' if major == '2' else '1.2'}"
    else:
        yield "no TPM"
    if "ownerAuthSet:              1" in _text(folder, "tpm-properties"):
        yield "the TPM's owner authorization is set: clevis cannot make its primary key"
    yield from _text(folder, "versions").splitlines()


def _text(folder: Path, name: str) -> str:
    return _bytes(folder, name).decode(errors="replace")


def _bytes(folder: Path, name: str) -> bytes:
    """What a file holds; nothing when the machine had no such thing.

    Raises:
        UsageError: It cannot be read.
    """
    path = folder / name
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise UsageError(f"{path} cannot be read", str(error)) from error
