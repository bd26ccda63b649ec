"""CTAPHID: messages in reports of 64 bytes, as a FIDO2 authenticator exchanges them with its machine (pure).

Source: CTAP 2.1, 11.2 ("USB Human Interface Device").
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

REPORT_BYTES = 64
_FIRST = 57
_FURTHER = 59

PING, INIT, CBOR, CANCEL, ERROR = 0x01, 0x06, 0x10, 0x11, 0x3F
_LONGEST = _FIRST + 128 * _FURTHER
_INVALID_COMMAND = b"\x01"
_INVALID_LENGTH = b"\x03"
_VERSION = bytes([2, 1, 0, 0])
_CAN_CBOR_NO_MSG = bytes([0x0C])


@dataclass
class _Message:
    channel: int
    command: int
    size: int
    data: bytes


class Transport:
    """The authenticator's end: reports in, reports out.

    Args:
        answer: Answers one CTAP2 message.
    """

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._channels = 1
        self._message: _Message | None = None

    def feed(self, report: bytes) -> tuple[bytes, ...]:
        """Take a report, and give those that answer it: none while its message is not whole."""
        if len(report) != REPORT_BYTES:
            return ()
        channel, first = struct.unpack(">IB", report[:5])
        if first & 0x80:
            (size,) = struct.unpack(">H", report[5:7])
            if size > _LONGEST:
                self._message = None
                return tuple(reports(channel, ERROR, _INVALID_LENGTH))
            self._message = _Message(channel, first & 0x7F, size, report[7:])
        elif self._message and self._message.channel == channel:
            self._message.data += report[5:]
        message = self._message
        if message is None or len(message.data) < message.size:
            return ()
        self._message = None
        return tuple(self._reply(message, message.data[: message.size]))

    def _reply(self, message: _Message, data: bytes) -> Iterator[bytes]:
        if message.command == CANCEL:
            return
        if message.command == INIT:
            self._channels += 1
            body = data[:8] + struct.pack(">I", self._channels) + _VERSION + _CAN_CBOR_NO_MSG
            yield from reports(message.channel, INIT, body)
        elif message.command == CBOR:
            yield from reports(message.channel, CBOR, self._answer(data))
        elif message.command == PING:
            yield from reports(message.channel, PING, data)
        else:
            yield from reports(message.channel, ERROR, _INVALID_COMMAND)


def reports(channel: int, command: int, data: bytes) -> Iterator[bytes]:
    """The reports that carry a message."""
    first = struct.pack(">IBH", channel, command | 0x80, len(data)) + data[:_FIRST]
    yield first.ljust(REPORT_BYTES, b"\0")
    for sequence, at in enumerate(range(_FIRST, len(data), _FURTHER)):
        yield (struct.pack(">IB", channel, sequence) + data[at : at + _FURTHER]).ljust(REPORT_BYTES, b"\0")
