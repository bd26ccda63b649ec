"""A unified kernel image with other sections (pure): a PE file, in which systemd-stub looks for them by their names.

What is changed stays where it was, so each new content must fit into the old one's place; a signature is broken by it.
Source: UAPI specifications, "Unified Kernel Image"; systemd-stub(7).
"""

import pefile

from harness.errors import UsageError

_NAME_BYTES = 8


def section(uki: bytes, name: str) -> bytes:
    """What a section holds, such as ``.initrd``.

    Raises:
        UsageError: It has no such section, or is no PE file.
    """
    found = _find(uki, name)
    start = int(found.PointerToRawData)
    return uki[start : start + int(found.Misc_VirtualSize)]


def with_section(uki: bytes, name: str, data: bytes, padding: bytes = b"\0") -> bytes:
    """The same image, and other data in a section, filled up with `padding` to the old length.

    Raises:
        UsageError: It has no such section, or is no PE file, or the data does not fit.
    """
    found = _find(uki, name)
    start, size = int(found.PointerToRawData), int(found.Misc_VirtualSize)
    if len(data) > size:
        raise UsageError(f"{len(data)} bytes do not fit into the section {name} of {size} bytes")
    return uki[:start] + data.ljust(size, padding) + uki[start + size :]


def without_section(uki: bytes, name: str) -> bytes:
    """The same image, where systemd-stub does not find a section: it is under another name.

    Raises:
        UsageError: It has no such section, or is no PE file.
    """
    at = int(_find(uki, name).get_file_offset())
    return uki[:at] + b".none".ljust(_NAME_BYTES, b"\0") + uki[at + _NAME_BYTES :]


def _find(uki: bytes, name: str) -> pefile.SectionStructure:
    try:
        sections = pefile.PE(data=uki, fast_load=True).sections
    except pefile.PEFormatError as error:
        raise UsageError("this is no PE file", str(error)) from error
    wanted = name.encode().ljust(_NAME_BYTES, b"\0")
    found = next((each for each in sections if each.Name == wanted), None)
    if found is None:
        raise UsageError(f"this image has no section {name}")
    return found
