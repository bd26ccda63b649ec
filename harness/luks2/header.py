"""The binary layout of a LUKS2 header. Pure.

::

    0                  primary copy:   4096 bytes of binary header, then JSON up to `size`
    size               secondary copy: the same with another magic, salt and checksum
    2 × size           areas of the keyslots
    HEADER_BYTES       the data, where cryptsetup's defaults put it

A right checksum shows that the bytes are whole, and nothing else: anyone who can write to the disk can write one.

Source: LUKS2 On-Disk Format Specification 1.1.3, 2.1 (binary header) and 2.2 (JSON area).
"""

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import RigError

HEADER_BYTES = 16 * 2**20
"""Size of a header with its keyslots as cryptsetup makes it: both copies of the metadata, and the key material."""

SIZES = tuple(2**power for power in range(14, 23))
"""What one copy may take, bytes: 16 KiB to 4 MiB."""

HASHES = frozenset({"sha1", "sha224", "sha256", "sha384", "sha512"})
"""Hash functions that are understood here, of those that cryptsetup may be built with."""

NO_LUKS2 = "was it a LUKS1 device?"

Metadata = dict[str, Any]
"""The JSON area as it is. Numbers of 64 bits are strings in it."""

_LAYOUT = struct.Struct(">6sHQQ48s32s64s40s48sQ184x64x3584x")
BINARY_BYTES = _LAYOUT.size  # 4096
_CHECKSUM = slice(448, 512)
_MAGICS = {b"LUKS\xba\xbe": False, b"SKUL\xba\xbe": True}
_VERSION = 2


class LuksFormatError(RigError):
    """The bytes are no LUKS2 header, or not a whole one."""


@dataclass(frozen=True)
class HeaderCopy:
    """One of the two copies.

    Attributes:
        metadata: The JSON area.
        uuid: Of the volume.
        salt: 64 bytes that make the checksum unique; each copy has its own.
        offset: Where the copy begins on the device, bytes: 0 for the primary one.
        size: Of the copy, bytes: binary header and JSON area.
        sequence: How often the header was written; the higher copy is the newer one.
        label: Of the volume, may be empty.
        subsystem: Another label, may be empty.
        checksum_algorithm: Of `HASHES`.
    """

    metadata: Metadata
    uuid: str
    salt: bytes
    offset: int = 0
    size: int = SIZES[0]
    sequence: int = 1
    label: str = ""
    subsystem: str = ""
    checksum_algorithm: str = "sha256"

    def encode(self) -> bytes:
        """The copy as it stands on the device, with a right checksum.

        Raises:
            LuksFormatError: The metadata does not fit.
        """
        room = self.size - BINARY_BYTES
        text = json.dumps(self.metadata, separators=(",", ":")).encode()
        if len(text) >= room:  # a NUL ends it
            raise LuksFormatError(f"{len(text)} bytes of metadata do not fit into a header of {self.size} bytes")
        binary = bytearray(
            _LAYOUT.pack(
                b"SKUL\xba\xbe" if self.offset else b"LUKS\xba\xbe",
                _VERSION,
                self.size,
                self.sequence,
                self.label.encode(),
                self.checksum_algorithm.encode(),
                self.salt,
                self.uuid.encode(),
                self.subsystem.encode(),
                self.offset,
            )
        )
        area = text.ljust(room, b"\0")
        binary[_CHECKSUM] = _checksum(self.checksum_algorithm, bytes(binary) + area)
        return bytes(binary) + area


def decode_copy(data: bytes, at: int = 0) -> HeaderCopy:
    """Read one copy of a header.

    Args:
        data: The beginning of a device.
        at: Where the copy begins.

    Raises:
        LuksFormatError: There is none, or its checksum or its JSON is wrong.
    """
    binary = data[at : at + BINARY_BYTES].ljust(BINARY_BYTES, b"\0")
    magic, version, size, sequence, label, algorithm, salt, uuid, subsystem, offset = _LAYOUT.unpack(binary)
    if magic not in _MAGICS or version != _VERSION:
        raise LuksFormatError(
            f"that is no LUKS2 header at byte {at}", f"it begins with {data[at : at + 8].hex() or 'nothing'}"
        )
    if _MAGICS[magic] is not bool(at) or offset != at:
        raise LuksFormatError(f"the copy of the LUKS2 header at byte {at} says that it is another", f"offset {offset}")
    if size not in SIZES or len(data) < at + size:
        raise LuksFormatError(f"a copy of a LUKS2 header cannot have {size} bytes here", f"there are {len(data) - at}")
    try:
        hash_name = _text(algorithm)
        if hash_name not in HASHES:
            raise ValueError(f"checksum algorithm {hash_name!r}")
        if _checksum(hash_name, data[at : at + size]) != binary[_CHECKSUM]:
            raise ValueError("wrong checksum")
        return HeaderCopy(
            metadata=decode_metadata(data[at + BINARY_BYTES : at + size]),
            uuid=_text(uuid),
            salt=salt,
            offset=offset,
            size=size,
            sequence=sequence,
            label=_text(label),
            subsystem=_text(subsystem),
            checksum_algorithm=hash_name,
        )
    except ValueError as error:
        raise LuksFormatError(f"the LUKS2 header at byte {at} is damaged: {error}") from error


def metadata(device: bytes) -> Metadata:
    """The JSON area of the primary copy, at the beginning of a device.

    Raises:
        LuksFormatError: There is none, or its checksum or its JSON is wrong.
    """
    return decode_copy(device).metadata


def decode_metadata(area: bytes) -> Metadata:
    """Read a JSON area, which a NUL ends.

    Raises:
        LuksFormatError: It is no JSON object.
    """
    try:
        found = json.loads(area.partition(b"\0")[0].decode())
    except (ValueError, RecursionError) as error:
        raise LuksFormatError("that is no LUKS2 metadata, since no JSON", str(error), NO_LUKS2) from error
    if not isinstance(found, dict):
        raise LuksFormatError(f"that is no LUKS2 metadata, but a {type(found).__name__}", hint=NO_LUKS2)
    return found


def with_metadata(device: bytes, change: Callable[[Metadata], None]) -> bytes:
    """The beginning of a device with other metadata in both copies, each with a right checksum.

    Args:
        device: The beginning of a device, both copies at least.
        change: Edits the metadata of the primary copy, which both then hold.

    Raises:
        LuksFormatError: A copy is missing or damaged, or the metadata does not fit any more.
    """
    primary = decode_copy(device)
    secondary = decode_copy(device, primary.size)
    change(primary.metadata)
    copies = primary.encode() + replace(secondary, metadata=primary.metadata).encode()
    return copies + device[len(copies) :]


def _checksum(algorithm: str, copy: bytes) -> bytes:
    """It is computed with zeros where it stands."""
    digest = hashlib.new(algorithm, copy[: _CHECKSUM.start] + bytes(64) + copy[_CHECKSUM.stop :]).digest()
    return digest.ljust(64, b"\0")


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode()
