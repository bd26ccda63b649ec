"""Measured events in words (pure)."""

import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from harness.errors import UsageError


@dataclass(frozen=True)
class MeasuredEvent:
    """One entry of an event log that extended a PCR.

    Attributes:
        pcr: Which.
        kind: ``EV_…``, as the specification calls it (TCG PFP 10.4.1).
        digest: What the PCR was extended with, in hex, of the bank sha256; of another bank where that is not there.
        subject: What the event is about, in words: one thing keeps its name from boot to boot.
        content: What the log tells of it, for comparing; empty when it tells nothing.
    """

    pcr: int
    kind: str
    digest: str
    subject: str
    content: tuple[str, ...] = ()


_NOT_EXTENDED = "EV_NO_ACTION"
_SUBJECTS: Mapping[str, str] = {
    "EV_S_CRTM_VERSION": "the version of the firmware",
    "EV_S_CRTM_CONTENTS": "the firmware's first code",
    "EV_EFI_PLATFORM_FIRMWARE_BLOB": "a part of the firmware",
    "EV_EFI_PLATFORM_FIRMWARE_BLOB2": "a part of the firmware",
    "EV_EFI_HANDOFF_TABLES": "the tables of the firmware (ACPI, SMBIOS)",
    "EV_EFI_HANDOFF_TABLES2": "the tables of the firmware (ACPI, SMBIOS)",
    "EV_EFI_GPT_EVENT": "the partition table of the boot disk",
    "EV_EFI_GPT_EVENT2": "the partition table of the boot disk",
    "EV_SEPARATOR": "the end of the firmware's own measurements",
    "EV_EFI_BOOT_SERVICES_APPLICATION": "a program that the firmware started",
    "EV_EFI_BOOT_SERVICES_DRIVER": "a driver that the firmware loaded",
    "EV_EFI_RUNTIME_SERVICES_DRIVER": "a runtime driver that the firmware loaded",
    "EV_EFI_ACTION": "a step of the firmware",
    "EV_IPL": "what the boot loader read or was told",
    "EV_EVENT_TAG": "what the boot stub passed on",
    "EV_POST_CODE": "a part of the firmware",
    "EV_POST_CODE2": "a part of the firmware",
    "EV_TABLE_OF_DEVICES": "the firmware's table of devices",
    "EV_EFI_HCRTM_EVENT": "the firmware's root of trust",
    "EV_PLATFORM_CONFIG_FLAGS": "the settings of the firmware",
}
_VARIABLES: Mapping[str, str] = {
    "SecureBoot": "whether Secure Boot is on",
    "PK": "the platform key of Secure Boot (PK)",
    "KEK": "the key exchange keys of Secure Boot (KEK)",
    "db": "the signatures that Secure Boot allows (db)",
    "dbx": "the signatures that Secure Boot forbids (dbx)",
    "dbt": "the time stamps of Secure Boot (dbt)",
    "dbr": "the recovery keys of Secure Boot (dbr)",
    "BootOrder": "the order of the boot entries",
}
_OF_SHIM: Mapping[str, str] = {
    "SbatLevel": "the versions that shim takes for revoked (SbatLevel)",
    "MokListTrusted": "whether the system trusts shim's list of the owner's keys (MokListTrusted)",
}
"""What shim measures as it measures the key that let an image in, and is none (its README.tpm)."""

_UKI_SECTIONS = frozenset(
    {".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey", ".profile"}
)
"""What systemd-stub measures into PCR 11 (systemd-stub(7)): the name of each section, then what is in it."""

_SIGNATURE_LISTS = ("PK", "KEK", "db", "dbx", "dbt", "dbr")
_SIGNATURE_LIST = struct.Struct("<16sIII")
"""What a list of signatures begins with: its kind, its length and those of its header and of each signature."""


def parse_event_log(text: str) -> tuple[MeasuredEvent, ...]:
    """Read what ``tpm2_eventlog`` prints.

    Raises:
        UsageError: It is something else.
    """
    try:
        found = yaml.load(_listed(text), yaml.CBaseLoader)  # all is text, as a variable that is called 007 or off
        return tuple(_events(found["events"]))
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError("an event log was not decoded as tpm2_eventlog does it", repr(error)) from error


def _listed(text: str) -> str:
    """The log of a TPM 1.2 is printed without a dash before each event (seen, tpm2-tools 5.4), so as no list."""
    return text if "- EventNum:" in text else re.sub("^  PCRIndex:", "- PCRIndex:", text, flags=re.MULTILINE)


def _events(entries: list[dict[str, Any]]) -> Iterator[MeasuredEvent]:
    for entry in entries:
        if entry["EventType"] == _NOT_EXTENDED:
            continue
        digests = {each["AlgorithmId"]: str(each["Digest"]) for each in entry.get("Digests") or ()}
        digest = digests.get("sha256") or next(iter(digests.values()), "")
        subject, content = _told(entry["EventType"], entry.get("Event"))
        yield MeasuredEvent(int(entry["PCRIndex"]), entry["EventType"], digest, subject, content)


def _told(kind: str, event: Any) -> tuple[str, tuple[str, ...]]:
    """What an event is about, and what it holds."""
    detail = event if isinstance(event, dict) else {}
    name = detail.get("UnicodeName")
    if name is not None:
        return _variable(str(name), kind, detail.get("VariableData", ""))
    if path := detail.get("DevicePath"):
        return f"{_SUBJECTS.get(kind, kind)} ({_short(str(path))})", ()
    if text := detail.get("String"):
        words = _words(str(text))
        if words in _UKI_SECTIONS:
            return f"the section {words} of the boot image", ()
        return f"{_SUBJECTS.get(kind, kind)} ({_short(words)})", (words,)
    if kind == "EV_EVENT_TAG" and isinstance(event, str):
        return f"{_SUBJECTS[kind]} ({_short(_tag(event))})", ()
    return _SUBJECTS.get(kind, kind), ()


def _tag(event: str) -> str:
    """The words of a tagged event: whose it is and its length, four bytes each, then text (TCG PFP 10.4.2.1)."""
    try:
        return _words(bytes.fromhex(event)[8:].decode("ascii", errors="ignore"))
    except ValueError:
        return ""


def _variable(name: str, kind: str, data: Any) -> tuple[str, tuple[str, ...]]:
    if kind == "EV_EFI_VARIABLE_AUTHORITY":
        subject = _OF_SHIM.get(name, f"the key by which the boot image was let in ({name})")
    else:
        subject = _VARIABLES.get(name, f"the boot entry {name}" if name.startswith("Boot") else f"the variable {name}")
    held = _flat(data)
    if kind == "EV_EFI_VARIABLE_DRIVER_CONFIG" and name in _SIGNATURE_LISTS:
        with suppress(ValueError, struct.error):
            return subject, tuple(_signatures(bytes.fromhex(held)))
    return subject, (held,) if held else ()


def _signatures(lists: bytes) -> Iterator[str]:
    """Each of some EFI_SIGNATURE_LISTs: its kind, then its owner and itself (UEFI 2.10, 32.4.1)."""
    while lists:
        kind, size, header, length = _SIGNATURE_LIST.unpack_from(lists)
        signatures, owner = lists[_SIGNATURE_LIST.size + header : size], 16
        if length <= owner or not signatures or len(signatures) % length:
            raise ValueError
        for start in range(0, len(signatures), length):
            yield f"{kind.hex()} {signatures[start : start + length].hex()}"
        lists = lists[size:]


def _flat(value: Any) -> str:
    return " ".join(f"{value}".split())


def _words(text: str) -> str:
    return "".join(letter for letter in text.replace("\\0", "") if letter.isprintable()).strip().strip('"')


def _short(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
