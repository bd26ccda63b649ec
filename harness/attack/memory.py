"""Finds keys in memory without knowing them: AES keys by their schedules, clevis's passphrases by their shape (pure).

A cipher keeps its key expanded into the keys of its rounds, and that expansion is redundant: with AES-256 (FIPS 197,
5.2) each of its 60 words is the word before it XOR the word eight before it, but for every fourth. Nothing else in
memory looks like that. Source: Halderman et al., "Lest We Remember", USENIX Security 2008, section 6; aeskeyfind.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import permutations
from mmap import mmap

import numpy as np
from numpy.typing import NDArray

Memory = bytes | mmap

KEY_BYTES = 32
_WORDS = 60
"""Of a schedule, each of four bytes."""

_AT_ONCE = 2**22
"""Words that are looked at in one go: they fill a part of the host's memory several times over."""
_PIECE = 2**24
_OVERLAP = 64
"""Bytes that are searched in one go, and how many more: one search of it all lets no other thread run meanwhile, and
libvirt gives up a client that has not answered for 25 s."""


def aes256_keys(memory: Memory) -> tuple[bytes, ...]:
    """The AES-256 keys whose schedules lie in a memory, at any word of it; each once, in order."""
    words = np.frombuffer(memory, "<u4", len(memory) // 4)
    starts = range(0, max(len(words) - _WORDS + 1, 0), _AT_ONCE)
    return tuple(dict.fromkeys(key for start in starts for key in _keys(words[start : start + _AT_ONCE + _WORDS - 1])))


def xts_keys(keys: Iterable[bytes]) -> Iterator[bytes]:
    """What may be a key of aes-xts-plain64 with 512 bits: two AES keys in a row (IEEE 1619)."""
    for data, tweak in permutations(keys, 2):
        yield data + tweak


def clevis_passphrases(memory: Memory) -> tuple[bytes, ...]:
    """What looks like a passphrase that clevis was given for its keyslot; each once, in order.

    By hand ``clevis luks bind`` has it made by ``pwmake 256``: 52 to 56 characters, letters of both cases, digits (all
    but one in a thousand), and a few others. What Ignition had bound was base64url of 40 bytes in these guests (seen
    in three). One that answers a question of systemd's may stand behind a plus sign.
    Source: clevis-luks-common-functions; pwmake(1); systemd's "Password Agents" specification.
    """
    by_hand = _words(memory, _PWMAKE, (*_KINDS, _OTHER))
    with_and_without_plus = (each for word in by_hand for each in (word, word.removeprefix(b"+")) if len(each) <= 56)
    return tuple(dict.fromkeys((*with_and_without_plus, *_words(memory, _BASE64URL, _KINDS))))


def _words(memory: Memory, shape: re.Pattern[bytes], kinds: Iterable[re.Pattern[bytes]]) -> list[bytes]:
    """What has a shape, and a character of each kind."""
    found = (
        match[0]
        for start in range(0, len(memory), _PIECE)
        for match in shape.finditer(memory, start, start + _PIECE + _OVERLAP)
        if match.start() < start + _PIECE
    )
    return [word for word in found if all(kind.search(word) for kind in kinds)]


_PWMAKE = re.compile(rb"(?<![!-~])[A-Za-z0-9!#$%&()*+,.;=@[\]^-]{52,57}(?![!-~])")
_BASE64URL = re.compile(rb"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{54}(?![A-Za-z0-9_-])")
_KINDS = tuple(map(re.compile, (rb"[a-z]", rb"[A-Z]", rb"[0-9]")))
_OTHER = re.compile(rb"[^A-Za-z0-9]")


def _keys(words: NDArray[np.uint32]) -> list[bytes]:
    # The word at i of this is 0 if word i + 9 of the memory is the XOR of words i + 8 and i + 1.
    unexplained = words[9:] ^ words[8:-1] ^ words[1:-8]
    count = len(words) - _WORDS + 1
    # Nearly everything is ruled out by a few words, so only what is left is looked at further; zeros fit but for one.
    fits = (unexplained[:count] == 0) & (unexplained[1 : count + 1] == 0) & (unexplained[3 : count + 3] != 0)
    places = np.flatnonzero(fits)
    for number in range(9, _WORDS):
        places = places[(unexplained[places + number - 9] == 0) == (number % 4 != 0)]
    return [words[place : place + KEY_BYTES // 4].tobytes() for place in places]
