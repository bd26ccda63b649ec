"""A machine that runs already, as ``collect.sh`` found it: its volumes as the rules know them.

Nothing here asks the machine anything: the folder holds the metadata of its LUKS headers, its crypttab and kernel
command line, what its TPM measured, and versions.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import UsageError
from harness.explain.advice import Advice
from harness.explain.block_devices import LuksDevice, luks_devices
from harness.explain.crypttab import Entry, entries, entry_of, switched_off, with_arguments
from harness.files import read_whole, why_unread
from harness.luks2.header import LuksFormatError
from harness.luks2.sealed_pins import SealedPin, sealed_pin
from harness.plain import plain
from harness.policy.pins import KINDS, Pin, Sss
from harness.policy.policy import Policy, Volume
from harness.policy.world import Stack, TpmState

FORMAT = "1"
"""Of the folder that ``collect.sh`` fills."""

_HINT = "have `unlock-lab collect > collect.sh` write the script, and run it as root on the machine: sh collect.sh DIR"
_KINDS = {kind.header_type: kind for kind in KINDS if kind.header_type}
_RECOVERY = "systemd-recovery"
"""The type of the token beside a recovery key, which is typed (systemd-cryptenroll(1))."""
_TPM_FACTS = {
    TpmState.OWNER_AUTH_SET: "the TPM's owner authorization is set: clevis cannot make its primary key",
    TpmState.LOCKED_OUT: "the TPM is in dictionary-attack lockout; `tpm2_dictionarylockout --clear-lockout` ends it",
}


@dataclass(frozen=True)
class Collected:
    """What a folder says.

    Attributes:
        policy: The volumes with the pins that their headers hold, and the kernel arguments.
        stack: What opens them.
        event_log: The firmware's log (TCG PC Client Platform Firmware Profile, 10), as it was read; empty without one.
        facts: Lines for people: versions, Secure Boot, the TPM.
        unknown: Volumes with something that the rules know nothing of, and what: nothing is predicted of them.
        warnings: What crypttab and fstab say that an owner may not mean.
        tpm: How its TPM was found.
    """

    policy: Policy
    stack: Stack
    event_log: bytes
    facts: tuple[str, ...]
    unknown: Mapping[str, str]
    warnings: tuple[Advice, ...]
    tpm: TpmState


def read(folder: Path) -> Collected:
    """Read a folder that ``collect.sh`` filled.

    Raises:
        UsageError: It is no such folder, or something in it is damaged.
    """
    if _text(folder, "format").strip() != FORMAT:
        raise UsageError(f"{folder} is no folder of collect.sh", f"it has no file `format` that says {FORMAT}", _HINT)
    arguments = tuple(_text(folder, "cmdline").split())
    generators = _text(folder, "initrd-generator").split()
    stack = _stack(generators)
    listed, devices = entries(_text(folder, "crypttab")), _devices(folder)
    kept = tuple(_text(folder, "cryptsetup-keys").split())
    found = []
    for header in sorted(folder.glob("luks/*.json")):
        device = _text(folder, f"luks/{header.stem}.device").strip()
        lies = devices.get(device) or LuksDevice((device,), None, None)
        entry = entry_of(listed, (*lies.places, device, f"UUID={header.stem}"))
        if stack is Stack.DR:
            entry = with_arguments(entry, header.stem, arguments)
        each = _volume(header, device, _with_kept_key(entry, kept), lies, stack)
        other = _other_initrd(generators, arguments) if each.volume.mount_point == "/" else ()
        found.append(replace(each, unknown=(*each.unknown, *other)))
    if not found:
        raise UsageError(f"{folder} holds no LUKS2 header", "luks/ is empty: there is none, or it was not root", _HINT)
    root = next((each.volume for each in found if each.volume.mount_point == "/"), None)
    volumes = tuple(replace(each.volume, key_on=root) if each.volume.key_file else each.volume for each in found)
    policy = Policy(folder.name, {}, volumes, "", arguments, "")
    unknown = {each.volume.name: "; ".join(each.unknown) for each in found if each.unknown}
    if (off := switched_off(arguments)) and stack is Stack.DR:
        unknown = {volume.name: f"the kernel argument {off} keeps systemd from opening it" for volume in volumes}
    fstab = _text(folder, "fstab")
    warnings = tuple(warning for each in found for warning in _warnings(each, fstab, stack))
    return Collected(policy, stack, _bytes(folder, "event-log"), tuple(_facts(folder)), unknown, warnings, _tpm(folder))


def _stack(generators: Sequence[str]) -> Stack:
    """What opens the volumes: dracut of Debian 14 brings an update-initramfs of its own."""
    return Stack.IT if "update-initramfs" in generators and "dracut" not in generators else Stack.DR


def _other_initrd(generators: Sequence[str], arguments: Sequence[str]) -> Iterator[str]:
    """What opens root in the place of systemd or initramfs-tools."""
    if "booster" in generators and not {"dracut", "update-initramfs", "mkinitcpio"} & set(generators):
        yield "booster opens it, which has a clevis of its own"
    if any(word.startswith("cryptdevice=") for word in arguments):
        yield "the hook `encrypt` of mkinitcpio opens it, as the kernel argument cryptdevice= says"


def _with_kept_key(entry: Entry | None, kept: Collection[str]) -> Entry | None:
    """Where crypttab names no key, systemd takes that of the name in /etc/cryptsetup-keys.d (crypttab(5))."""
    if entry is None or entry.key or f"{entry.name}.key" not in kept:
        return entry
    return replace(entry, key=f"/etc/cryptsetup-keys.d/{entry.name}.key")


@dataclass(frozen=True)
class _Found:
    volume: Volume
    entry: Entry | None
    unknown: tuple[str, ...]


def _volume(header: Path, device: str, entry: Entry | None, lies: LuksDevice, stack: Stack) -> _Found:
    try:
        metadata = json.loads(_text(header.parent, header.name))
        tokens = [dict(metadata["tokens"][number]) for number in sorted(metadata["tokens"], key=int)]
        keyslots = set(metadata["keyslots"])
        claimed = {str(keyslot) for token in tokens for keyslot in token.get("keyslots", ())}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{header} is not the metadata of a LUKS2 header", repr(error), _HINT) from error
    is_root = lies.mount_point == "/"
    unknown = list(entry.untold(stack, is_root=is_root)) if entry else []
    pins: list[Pin] = []
    for token in tokens:
        try:
            pins += _pins(sealed_pin(token), entry.spelled if entry else (), unknown)
        except (LuksFormatError, ValueError, TypeError, OverflowError) as error:
            unknown.append(f"a token that is not as its tool writes it: {plain(str(error))[:200]}")
    recovery = any(token.get("type") == _RECOVERY for token in tokens)
    typed = bool(keyslots - claimed) or recovery
    volume = Volume(
        name=entry.name if entry else lies.mapping or f"luks-{header.stem}",
        device=device,
        pins=pins[0] if len(pins) == 1 else Sss(1, tuple(pins), separate=True) if pins else None,
        passphrase="" if typed else None,
        mount_point=lies.mount_point,
        key_file=bool(entry and entry.key),
        headless=bool(entry and entry.headless),
    )
    return _Found(volume, entry, tuple(unknown))


def _warnings(found: _Found, fstab: str, stack: Stack) -> Iterator[Advice]:
    """What crypttab and fstab say that an owner may not mean."""
    volume, options = found.volume, found.entry.options if found.entry else {}
    early = volume.mount_point in ("/", "/usr") or bool(found.entry and found.entry.in_initrd)
    if volume.tang_servers and not early and "_netdev" not in options and not _is_remote(volume.name, fstab):
        text = (
            "it needs Tang after the initrd, and neither crypttab nor fstab says _netdev: it is wanted before the "
            "network is up, so it asks, unless the initrd has brought the network up"
        )
        yield Advice(volume.name, text, "clevis-luks-unlockers(7); crypttab(5), _netdev; clevis#457; systemd#27101")
    if stack is Stack.DR and options.get("timeout", "0") not in ("0", ""):
        text = f"crypttab says timeout={options['timeout']}: after that its prompt is gone, and clevis with it"
        yield Advice(volume.name, text, "crypttab(5), timeout=")
    if "nofail" in options:
        text = "crypttab says nofail: the boot goes on without it, and it may open after the login, or never"
        yield Advice(volume.name, text, "crypttab(5), nofail")


def _is_remote(mapping: str, fstab: str) -> bool:
    """Whether what lies in a mapping is mounted after the network."""
    lines = (line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#"))
    return any(len(words) > 3 and words[0] == f"/dev/mapper/{mapping}" and "_netdev" in words[3] for words in lines)


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


def _devices(folder: Path) -> Mapping[str, LuksDevice]:
    try:
        return luks_devices(_text(folder, "lsblk.json"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{folder}/lsblk.json is not what lsblk prints", repr(error), _HINT) from error


def _tpm(folder: Path) -> TpmState:
    """How the TPM was found: by sysfs, and by tpm2_getcap(1) where the machine has it."""
    major = _text(folder, "tpm-version").strip()
    if major != "2":
        return TpmState.VERSION_1_2 if major else TpmState.ABSENT
    properties = dict(re.findall(r"(\w+): +([01])$", _text(folder, "tpm-properties"), re.MULTILINE))
    if properties.get("ownerAuthSet") == "1":
        return TpmState.OWNER_AUTH_SET
    return TpmState.LOCKED_OUT if properties.get("inLockout") == "1" else TpmState.PRESENT


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
    if fact := _TPM_FACTS.get(_tpm(folder)):
        yield fact
    for device in sorted(folder.glob("luks/*.device")):
        if not device.with_suffix(".json").exists():
            place = _text(device.parent, device.name).strip()
            yield f"{place} has no LUKS2 metadata, as LUKS1 has none: nothing is told of it"
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
        return read_whole(path) if path.is_file() else b""
    except OSError as error:
        raise UsageError(f"{path} cannot be read", why_unread(error)) from error
