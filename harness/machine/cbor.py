"""CBOR as CTAP2 uses it: integers, bytes, text, lists, maps, true and false, in the canonical form (pure).

Sources: RFC 8949; CTAP 2.1, 8 ("Message Encoding").
"""

from collections.abc import Callable

Value = int | bytes | str | bool | list["Value"] | dict["int | str", "Value"]

_SIZES = ((24, 1), (25, 2), (26, 4), (27, 8))


def encode(value: Value) -> bytes:
    """The canonical encoding of a value; keys of a map are sorted by type, length and bytes."""
    match value:
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case list():
            return _head(4, len(value)) + b"".join(map(encode, value))
        case dict():
            items = sorted(
                ((encode(key), encode(item)) for key, item in value.items()),
                key=lambda item: (item[0][0] >> 5, len(item[0]), item[0]),
            )
            return _head(5, len(items)) + b"".join(key + item for key, item in items)


def _head(major: int, number: int) -> bytes:
    if number < _SIZES[0][0]:
        return bytes([major << 5 | number])
    for code, size in _SIZES:
        if number < 1 << (8 * size):
            return bytes([major << 5 | code]) + number.to_bytes(size, "big")
    raise ValueError(f"CBOR has no number as large as {number}")


def decode(data: bytes) -> Value:
    """The value that an encoding stands for.

    Raises:
        ValueError: It is cut short, goes on, is nested too deeply, or is of a kind that CTAP2 does not use.
    """
    try:
        value, end = _decode(data, 0)
    except IndexError as error:
        raise ValueError("the CBOR is cut short") from error
    except RecursionError as error:
        raise ValueError("the CBOR is nested too deeply") from error
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the CBOR")
    return value


def _decode(data: bytes, at: int) -> tuple[Value, int]:
    major, number = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        simple = {20: False, 21: True}
        if number not in simple:
            raise ValueError(f"a simple value {number}")
        return simple[number], at
    if number >= _SIZES[0][0]:
        size = dict(_SIZES).get(number, 0)
        if not size or at + size > len(data):
            raise ValueError("the CBOR is cut short, or of no fixed length")
        number, at = int.from_bytes(data[at : at + size], "big"), at + size
    readers: dict[int, Callable[[], tuple[Value, int]]] = {
        0: lambda: (number, at),
        1: lambda: (-1 - number, at),
        2: lambda: (_bytes(data, at, number), at + number),
        3: lambda: (_bytes(data, at, number).decode(), at + number),
        4: lambda: _list(data, at, number),
        5: lambda: _map(data, at, number),
    }
    if major not in readers:
        raise ValueError(f"a value of major type {major}")
    return readers[major]()


def _bytes(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ValueError("the CBOR is cut short")
    return data[at : at + size]


def _list(data: bytes, at: int, size: int) -> tuple[Value, int]:
    found: list[Value] = []
    for _ in range(size):
        value, at = _decode(data, at)
        found.append(value)
    return found, at


def _map(data: bytes, at: int, size: int) -> tuple[Value, int]:
    found: dict[int | str, Value] = {}
    for _ in range(size):
        key, at = _decode(data, at)
        if not isinstance(key, int | str):
            raise ValueError(f"a key of a map that is {key!r}")
        found[key], at = _decode(data, at)
    return found, at
