"""LUKS2 headers: read, written, held to cryptsetup, and fed with rubbish."""

import hashlib
import json
import lzma
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.luks2 import splitter
from harness.luks2.header import (
    BINARY_BYTES,
    HEADER_BYTES,
    SIZES,
    HeaderCopy,
    LuksFormatError,
    decode_copy,
    decode_metadata,
    with_metadata,
)
from harness.luks2.metadata import LuksHeader, Token, parse_luks_dump, parse_luks_header

SALTS = bytes(range(64)), bytes(range(64, 128))
METADATA: dict[str, Any] = {
    "keyslots": {
        "10": {"type": "luks2", "kdf": {"type": "argon2id"}},
        "9": {"type": "luks2", "kdf": {"type": "pbkdf2"}},
    },
    "tokens": {"0": {"type": "clevis", "keyslots": ["9"], "jwe": {"protected": "e30"}}},
    "segments": {},
    "digests": {
        "0": {
            "type": "pbkdf2",
            "keyslots": ["9", "10"],
            "segments": ["0"],
            "hash": "sha256",
            "iterations": 1000,
            "salt": "",
            "digest": "AAAA",
        }
    },
    "config": {},
}
PRIMARY = HeaderCopy(METADATA, uuid="a90be931-3d68-5cd1-a54f-b227fc5688ee", salt=SALTS[0], sequence=7, label="root")
SECONDARY = replace(PRIMARY, salt=SALTS[1], offset=PRIMARY.size)
DEVICE = PRIMARY.encode() + SECONDARY.encode() + b"material"


def test_what_was_written_is_read() -> None:
    assert decode_copy(DEVICE) == PRIMARY
    assert decode_copy(DEVICE, PRIMARY.size) == SECONDARY


def test_the_metadata_is_read() -> None:
    header = parse_luks_header(DEVICE)
    assert header.keyslots == ((9, "pbkdf2"), (10, "argon2id"))  # by number, not by text
    assert header.tokens == (Token(0, "clevis", (9,), {"protected": "e30"}),)
    assert header.token_of(9) == header.tokens[0]
    assert header.token_of(10) is None
    assert header == parse_luks_dump(json.dumps(METADATA, indent=1) + "\n")


def test_other_metadata_goes_into_both_copies_and_leaves_the_rest() -> None:
    changed = with_metadata(DEVICE, lambda found: found["config"].update(more="x"))
    assert changed[2 * PRIMARY.size :] == b"material"
    for at, before in ((0, PRIMARY), (PRIMARY.size, SECONDARY)):
        found = decode_copy(changed, at)
        assert found.metadata["config"] == {"more": "x"}
        assert replace(found, metadata=METADATA) == before


@pytest.mark.parametrize(
    ("at", "broken"),
    [
        pytest.param(0, b"", id="nothing"),
        pytest.param(0, bytes(HEADER_BYTES), id="zeros"),
        pytest.param(0, DEVICE[: BINARY_BYTES - 1], id="half a binary header"),
        pytest.param(0, DEVICE[: PRIMARY.size - 1], id="half an area"),
        pytest.param(0, DEVICE[:7] + b"\1" + DEVICE[8:], id="LUKS1"),
        pytest.param(0, DEVICE[PRIMARY.size :], id="the second copy in the first one's place"),
        pytest.param(PRIMARY.size, DEVICE[: PRIMARY.size] * 2, id="the first copy in the second one's place"),
        pytest.param(0, replace(PRIMARY, size=SIZES[1]).encode()[: SIZES[0]], id="more than there is"),
        pytest.param(0, DEVICE[:100] + b"?" + DEVICE[101:], id="another byte"),
        pytest.param(0, replace(PRIMARY, metadata=[]).encode(), id="a list"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_header_is_refused(at: int, broken: bytes) -> None:
    with pytest.raises(LuksFormatError):
        decode_copy(broken, at)


def test_metadata_that_does_not_fit_is_refused() -> None:
    room = PRIMARY.size - BINARY_BYTES
    empty = len(json.dumps({"x": ""}, separators=(",", ":")))
    replace(PRIMARY, metadata={"x": "y" * (room - empty - 1)}).encode()
    with pytest.raises(LuksFormatError, match="do not fit"):
        replace(PRIMARY, metadata={"x": "y" * (room - empty)}).encode()


def changed(**digest: object) -> str:
    return json.dumps({**METADATA, "digests": {"0": {**METADATA["digests"]["0"], **digest}}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "Device /dev/sda is not a valid LUKS device.",
        "[" * 100_000,
        json.dumps({**METADATA, "keyslots": []}),
        json.dumps({**METADATA, "keyslots": {"one": METADATA["keyslots"]["9"]}}),
        json.dumps({**METADATA, "tokens": {"0": {"type": "clevis", "keyslots": "12"}}}),
        json.dumps({**METADATA, "tokens": {"0": {"type": None, "keyslots": []}}}),
        changed(hash="shake_128"),
        changed(iterations=0),
        changed(iterations=2**31),
        changed(digest=""),
        changed(salt="not base64"),
    ],
)
def test_what_is_no_metadata_is_refused(text: str) -> None:
    with pytest.raises(LuksFormatError, match="no LUKS2 metadata"):
        parse_luks_dump(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def luks_metadata(segments: list[str]) -> dict[str, Any]:
    """Metadata whose digest is that of the key ``key``."""
    salt, digest = b"salt", hashlib.pbkdf2_hmac("sha256", b"key", b"salt", 1000, 32)
    held = {"type": "pbkdf2", "keyslots": ["0"], "segments": segments, "hash": "sha256", "iterations": 1000}
    held |= {"salt": b64encode(salt).decode(), "digest": b64encode(digest).decode()}
    return {"keyslots": {}, "tokens": {}, "digests": {"0": held}}


def test_a_header_vouches_for_its_volume_key_alone() -> None:
    header = parse_luks_header(replace(PRIMARY, metadata=luks_metadata(["0"])).encode())
    assert header.vouches_for(b"key")
    assert not header.vouches_for(b"another")


def test_the_key_of_an_unbound_keyslot_is_no_volume_key() -> None:
    assert not parse_luks_dump(json.dumps(luks_metadata([]))).vouches_for(b"key")


@given(st.binary(max_size=2 * BINARY_BYTES), st.integers(0, 100))
def test_rubbish_is_refused_and_nothing_worse(data: bytes, at: int) -> None:
    for text in (lambda: decode_copy(data, at), lambda: parse_luks_header(data), lambda: decode_metadata(data)):
        with pytest.raises(LuksFormatError):
            text()


@given(st.integers(0, len(DEVICE) - 1), st.integers(1, 255))
def test_a_byte_that_changed_is_seen_wherever_it_is(at: int, by: int) -> None:
    """But for the slack between the two copies and the key material, which no checksum covers."""
    damaged = bytearray(DEVICE)
    damaged[at] ^= by
    readable = 0
    for start in (0, PRIMARY.size):
        try:
            decode_copy(bytes(damaged), start)
        except LuksFormatError:
            continue
        readable += 1
    assert readable == (1 if at < 2 * PRIMARY.size else 2)


@given(JSON)
@example({"keyslots": {}, "tokens": {}, "digests": {}})
def test_any_json_is_read_or_refused(value: Any) -> None:
    with suppress(LuksFormatError):
        assert isinstance(parse_luks_dump(json.dumps(value)), LuksHeader)


@given(st.sampled_from(["keyslots", "tokens", "digests"]), JSON, st.data())
def test_any_value_in_the_place_of_another_is_read_or_refused(table: str, value: Any, data: st.DataObject) -> None:
    """Whatever a table holds in one place, what is read can also be asked."""
    entry = next(iter(METADATA[table].values()))
    key = data.draw(st.sampled_from(sorted(entry)))
    text = json.dumps({**METADATA, table: {"0": {**entry, key: value}}})
    try:
        header = parse_luks_dump(text)
    except LuksFormatError:
        return
    assert not any(digest.iterations < 10_000 and digest.matches(b"key") for digest in header.digests)
    assert header.token_of(3) is None or table == "tokens"


@given(st.binary(min_size=1, max_size=70), st.integers(0, 5), st.sampled_from(["sha1", "sha256", "sha512"]), st.data())
def test_a_key_that_was_split_comes_back(key: bytes, stripes: int, hash_name: str, data: st.DataObject) -> None:
    filling = data.draw(st.binary(min_size=stripes * len(key), max_size=stripes * len(key)))
    material = splitter.split(key, filling, hash_name)
    assert len(material) == (stripes + 1) * len(key)
    assert splitter.merge(material, len(key), hash_name) == key


def test_zeros_merge_to_what_cryptsetup_makes_of_them() -> None:
    """Cryptsetup 2.6.1 gave this key for a keyslot whose area decrypts to zeros."""
    key = splitter.merge(bytes(64 * splitter.STRIPES), 64)
    assert key.hex().startswith("82566fe92f942f7b30d94683c451103f")


def test_what_cryptsetup_wrote_is_read_and_written_again_the_same() -> None:
    """Cryptsetup 2.6.1: luksFormat --label theirs, luksAddKey by argon2id, token import; its first 32768 bytes."""
    device = lzma.decompress(Path(__file__).with_name("cryptsetup-2.6.1.header.xz").read_bytes())
    primary = decode_copy(device)
    secondary = decode_copy(device, primary.size)
    assert (primary.label, primary.sequence, secondary.metadata) == ("theirs", 5, primary.metadata)
    assert primary.encode() + secondary.encode() == device
    header = parse_luks_header(device)
    assert header.keyslots == ((0, "pbkdf2"), (1, "argon2id"))
    assert header.tokens == (Token(0, "clevis", (1,), {"protected": "e30", "ciphertext": "a/b"}),)
