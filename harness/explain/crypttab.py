"""What crypttab(5) and the kernel command line say of a volume: its name, its key, its options (pure).

What they say decides as much as the header does, and the rules hold only a part of it: `Entry.untold` names the rest,
and of such a volume nothing is predicted.

Sources: crypttab(5) of systemd 257 and of Debian's cryptsetup 2.7; systemd-cryptsetup-generator(8).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from harness.policy.world import Stack

_NO_KEY = ("none", "-")
_TRUE = ("", "1", "yes", "y", "true", "t", "on")
"""What systemd takes for a yes (parse_boolean), an option without a value among it."""

_DECIDES = {
    "noauto": "no boot opens it unless something asks for it, such as a mount",
    "keyscript": "a script gives its key",
    "key-slot": "just one keyslot is tried, whatever the others hold",
    "keyslot": "just one keyslot is tried, whatever the others hold",
    "header": "its header lies elsewhere",
    "try-empty-password": "an empty passphrase is tried, and whether one opens it is not known",
    "plain": "it is opened as plain dm-crypt",
    "tcrypt": "it is opened as TrueCrypt's",
    "bitlk": "it is opened as BitLocker's",
    "swap": "it is made anew at each boot",
    "tmp": "it is made anew at each boot",
}
"""Options that decide what opens a volume, and that no rule is about."""

_NAMED = re.compile(r"(?:rd\.)?luks\.name=(?:luks-)?(?P<uuid>[^=]+)=(?P<value>.+)")
_OPTIONS = re.compile(r"(?:rd\.)?luks\.options=(?:(?:luks-)?(?P<uuid>[0-9a-fA-F-]{36})=)?(?P<value>.+)")
_KEY = re.compile(r"(?:rd\.)?luks\.key=(?:(?:luks-)?(?P<uuid>[0-9a-fA-F-]{36})=)?(?P<value>.+)")
_OFF = re.compile(r"(?:rd\.)?luks(?:\.crypttab)?=(?:0|no|off|false)")


@dataclass(frozen=True)
class Entry:
    """A volume's line.

    Attributes:
        name: Of the mapping.
        device: As the line names it: a path, ``UUID=…``, ``PARTLABEL=…``.
        key: What stands for its key, or None where a passphrase is asked for.
        options: Each with its value, "" where it has none.
    """

    name: str
    device: str
    key: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def spelled(self) -> tuple[str, ...]:
        """The options as they are written."""
        return tuple(f"{name}={value}" if value else name for name, value in self.options.items())

    @property
    def headless(self) -> bool:
        """Whether nobody is ever asked."""
        return self.options.get("headless", "no") in _TRUE

    @property
    def in_initrd(self) -> bool:
        """Whether it says that the initrd opens it."""
        return bool({"x-initrd.attach", "initramfs"} & self.options.keys())

    def untold(self, stack: Stack, *, is_root: bool) -> Iterator[str]:
        """What of the line decides something that the rules know nothing of.

        Args:
            stack: What opens the volumes of the machine.
            is_root: Whether the root file system lies in it.
        """
        for option, why in _DECIDES.items():
            if option in self.options:
                value = self.options[option]
                yield f"crypttab says {option}{f'={value}' if value else ''}: {why}"
        if self.options.get("token-timeout") in ("0", "0s", "infinity"):
            yield "crypttab says that it waits for its token for ever"
        if self.key is None or "keyscript" in self.options:
            return
        path, colon, device = self.key.partition(":")
        if colon or path.startswith("/dev/"):
            yield f"its key lies on another device, {device or path}"
        elif is_root or self.in_initrd:
            yield f"its key is the file {path}, and whether the initrd holds that is not known"
        elif {"pkcs11-uri", "fido2-device", "tpm2-device"} & self.options.keys() and stack is Stack.DR:
            yield f"the key in {path} is encrypted by a token"


def entries(text: str) -> tuple[Entry, ...]:
    """The lines of an /etc/crypttab."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0].startswith("#"):
            continue
        name, device, *rest = words
        key = rest[0] if rest and rest[0] not in _NO_KEY else None
        found.append(Entry(name, device.replace('"', ""), key, _options(rest[1] if len(rest) > 1 else "")))
    return tuple(found)


def entry_of(listed: Iterable[Entry], places: Iterable[str]) -> Entry | None:
    """The line about a volume, if there is one.

    Args:
        listed: Of the crypttab.
        places: All that the volume's device goes by: paths, ``UUID=…``, ``PARTLABEL=…``.
    """
    known = frozenset(map(_spelled, places))
    return next((entry for entry in listed if _spelled(entry.device) in known), None)


def with_arguments(entry: Entry | None, uuid: str, arguments: Iterable[str]) -> Entry | None:
    """What the kernel command line makes of it: systemd-cryptsetup-generator(8) in the initrd.

    Args:
        entry: Of the crypttab, or None where that has none.
        uuid: Of the volume.
        arguments: Of the kernel.
    """
    for word in arguments:
        if (named := _NAMED.fullmatch(word)) and named["uuid"] == uuid:
            entry = replace(entry, name=named["value"]) if entry else Entry(named["value"], f"UUID={uuid}")
    found = entry or Entry(f"luks-{uuid}", f"UUID={uuid}")
    for word in arguments:
        if (options := _OPTIONS.fullmatch(word)) and options["uuid"] in (None, uuid):
            found = replace(found, options={**found.options, **_options(options["value"])})
        if (key := _KEY.fullmatch(word)) and key["uuid"] in (None, uuid):
            # What the initrd is told by its command line, it opens.
            found = replace(found, key=key["value"], options={**found.options, "x-initrd.attach": ""})
    return found if found.options or found.key or entry else None


def switched_off(arguments: Iterable[str]) -> str:
    """The kernel argument that keeps systemd from opening anything, or nothing."""
    return next((word for word in arguments if _OFF.fullmatch(word)), "")


def _options(text: str) -> Mapping[str, str]:
    pairs = (option.partition("=") for option in text.split(",") if option)
    return {name: value for name, _, value in pairs}


def _spelled(place: str) -> str:
    for tag in ("uuid", "partuuid", "label", "partlabel"):
        prefix = f"/dev/disk/by-{tag}/"
        if place.startswith(prefix):
            return f"{tag.upper()}={place.removeprefix(prefix)}"
    return place
