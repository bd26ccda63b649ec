"""Finds AES keys in memory without knowing them, by their key schedules (pure).

A cipher keeps its key expanded into the keys of its rounds, and that expansion is redundant: with AES-256 (FIPS 197,
5.2) each of its 60 words is the word before it XOR the word eight before it, but for every fourth. Nothing else in
memory looks like that. Source: Halderman et al., "Lest We Remember", USENIX Security 2008, section 6; aeskeyfind.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import permutations
from mmap import mmap

Memory = bytes | mmap

KEY_BYTES = 32
SCHEDULE_BYTES = 240

_PAGE = 4096
_BLANK = bytes(_PAGE)
_WORD = 32
_REGULAR = re.compile(rb"(?=(?:\0{12}(?!\0{4}).{4}){12}\0{12})", re.DOTALL)
"""What the words 9 to 59 of a schedule leave: three words that are explained, and one that is not, thirteen times."""


def aes256_keys(memory: Memory) -> tuple[bytes, ...]:
    """The AES-256 keys whose schedules lie in a memory, each once, in order."""
    return tuple(dict.fromkeys(_keys(memory)))


def _keys(memory: Memory) -> Iterator[bytes]:
    for start in range(0, len(memory), _PAGE):
        window = memory[start : start + _PAGE + SCHEDULE_BYTES]
        if window.startswith(_BLANK):
            continue
        words = int.from_bytes(window, "little")
        # The word at i of this is 0 if word i + 9 is the XOR of words i + 8 and i + 1.
        unexplained = (words >> 9 * _WORD) ^ (words >> 8 * _WORD) ^ (words >> _WORD)
        for match in _REGULAR.finditer(unexplained.to_bytes(len(window), "little")):
            if match.start() % 4 == 0 and match.start() < _PAGE:
                yield window[match.start() : match.start() + KEY_BYTES]


def xts_keys(keys: Iterable[bytes]) -> Iterator[bytes]:
    """What may be a key of aes-xts-plain64 with 512 bits: two AES keys in a row (IEEE 1619)."""
    for data, tweak in permutations(keys, 2):
        yield data + tweak
