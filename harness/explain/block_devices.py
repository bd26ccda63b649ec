"""Which LUKS volumes a machine has, what they go by and what is mounted of them, as lsblk(8) prints it (pure)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LuksDevice:
    """A device with a LUKS header.

    Attributes:
        places: What it goes by: its path, ``UUID=…``, ``PARTLABEL=…``.
        mapping: The name under /dev/mapper while it is open, or None.
        mount_point: The shortest of those of all that lies in it, LVM in it included.
    """

    places: tuple[str, ...]
    mapping: str | None
    mount_point: str | None


def luks_devices(text: str) -> Mapping[str, LuksDevice]:
    """The devices with a LUKS header, by their path.

    Args:
        text: What ``lsblk --json --paths`` printed, or nothing.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, RecursionError: lsblk prints no such thing.
    """
    devices = json.loads(text)["blockdevices"] if text else []
    return {
        str(device["name"]): LuksDevice(tuple(_places(device)), *_opened(device))
        for device in _below(devices)
        if device.get("fstype") == "crypto_LUKS"
    }


def _below(devices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    todo = list(devices)
    while todo:
        device = todo.pop()
        yield device
        todo += device.get("children") or []


def _places(device: dict[str, Any]) -> Iterator[str]:
    path = str(device["name"])
    yield path
    for tag in ("uuid", "partuuid", "label", "partlabel"):
        if device.get(tag):
            yield f"{tag.upper()}={device[tag]}"
    if path.startswith("/dev/mapper/") and (names := path.removeprefix("/dev/mapper/").replace("--", "\0")).count("-"):
        group, _, volume = names.partition("-")
        yield f"/dev/{group}/{volume}".replace("\0", "-")


def _opened(device: dict[str, Any]) -> tuple[str | None, str | None]:
    crypt = next((child for child in device.get("children") or [] if str(child.get("type")) == "crypt"), None)
    if crypt is None:
        return None, None
    points = [point for inner in _below([crypt]) for point in _points(inner)]
    return str(crypt["name"]).removeprefix("/dev/mapper/"), min(points, key=len, default=None)


def _points(device: dict[str, Any]) -> list[str]:
    return [str(point) for point in device.get("mountpoints") or [device.get("mountpoint")] if point]
