"""The rules for `boot_device` and `grub`; source: coreos/butane 0.29, config/fcos/v1_3 to v1_7, validate.go (pure)."""

import json
import re
from typing import Any

from harness.policy.document import Document, KeyPath

_LAYOUTS = ("aarch64", "ppc64le", "x86_64")
_LAYOUTS_S390X = ("s390x-eckd", "s390x-virt", "s390x-zfcp")
_DEVICES = {"s390x-eckd": r"/dev/dasd[a-z]", "s390x-zfcp": r"/dev/sd[a-z]"}


def check_boot_device(document: Document) -> None:
    """Note every broken rule in `boot_device`."""
    if "boot_device" not in document.data:
        return
    section = document.data["boot_device"]
    luks, layout, keys = section.get("luks", {}), section.get("layout"), document.variant.keys
    here: KeyPath = ("boot_device",)
    layouts = (*_LAYOUTS, *(_LAYOUTS_S390X if keys >= 6 else ()))
    if layout is not None and layout not in layouts:
        document.mistake((*here, "layout"), f"{layout!r} is not one of {', '.join(layouts)}")
    _mirror(document, section, layout)
    check_advertisements(document, (*here, "luks"), luks)
    if layout in _DEVICES and not re.fullmatch(f".*{_DEVICES[layout]}", luks.get("device", "")):
        document.mistake((*here, "layout"), f"{layout} needs luks.device, like {_DEVICES[layout][:-5]}a")
    if luks.get("cex", {}).get("enabled"):
        if not str(layout).startswith("s390x"):
            document.mistake((*here, "luks", "cex"), "is of the s390x architecture alone")
        if luks.get("tang") or luks.get("tpm2"):
            document.mistake((*here, "luks", "cex"), "cannot stand beside tang or tpm2")
    elif luks and not luks.get("tang") and not luks.get("tpm2"):
        document.mistake((*here, "luks"), "no method: it needs tpm2: true or tang")


def check_advertisements(document: Document, path: KeyPath, section: dict[str, Any]) -> None:
    """Note what is wrong with the advertisements of a section's Tang servers."""
    for index, tang in enumerate(section.get("tang", [])):
        try:
            json.loads(tang.get("advertisement") or "{}")
        except (ValueError, RecursionError) as error:
            document.mistake((*path, "tang", index, "advertisement"), f"not JSON: {error}")


def _mirror(document: Document, section: dict[str, Any], layout: str | None) -> None:
    devices = section.get("mirror", {}).get("devices", [])
    here: KeyPath = ("boot_device", "mirror")
    if len(devices) == 1:
        document.mistake((*here, "devices"), "a mirror needs at least two devices")
    if devices and layout is None and document.variant.keys >= 7:
        document.mistake(here, "needs boot_device.layout beside it, since Butane fcos 1.7.0")
    if devices and str(layout).startswith("s390x"):
        document.mistake(("boot_device", "layout"), "there is no mirror on s390x")
    for index, device in enumerate(devices):
        if device in devices[:index]:
            document.mistake((*here, "devices", index), f"the device {device!r} is there twice")
