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


def test_a_header_of_another_size_and_checksum_is_read() -> None:
    other = replace(PRIMARY, size=SIZES[1], subsystem="theirs", checksum_algorithm="sha512")
    assert decode_copy(other.encode()) == other


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


NONE = "that is no LUKS2 header at byte 0; it begins with"
OTHER = "the copy of the LUKS2 header at byte {} says that it is another; offset {}".format
SIZE = "a copy of a LUKS2 header cannot have {} bytes here; there are {}".format
DAMAGED = "the LUKS2 header at byte 0 is damaged: {}; ".format


@pytest.mark.parametrize(
    ("at", "broken", "why"),
    [
        pytest.param(0, b"", f"{NONE} nothing", id="nothing"),
        pytest.param(0, bytes(HEADER_BYTES), f"{NONE} 0000000000000000", id="zeros"),
        pytest.param(0, DEVICE[:7] + b"\1" + DEVICE[8:], f"{NONE} 4c554b53babe0001", id="LUKS1"),
        pytest.param(0, b"\0" + DEVICE[1:], f"{NONE} 00554b53babe0002", id="another magic"),
        pytest.param(0, DEVICE[:8], SIZE(0, 8), id="a magic alone"),
        pytest.param(0, DEVICE[: BINARY_BYTES - 1], SIZE(16384, 4095), id="half a binary header"),
        pytest.param(0, DEVICE[: PRIMARY.size - 1], SIZE(16384, 16383), id="half an area"),
        pytest.param(PRIMARY.size, DEVICE[: 2 * PRIMARY.size - 1], SIZE(16384, 16383), id="half the second one's area"),
        pytest.param(0, replace(PRIMARY, size=20_000).encode(), SIZE(20_000, 20_000), id="an odd size"),
        pytest.param(0, replace(PRIMARY, size=SIZES[1]).encode()[: SIZES[0]], SIZE(32768, 16384), id="too little"),
        pytest.param(0, DEVICE[PRIMARY.size :], OTHER(0, 16384), id="the second copy in the first one's place"),
        pytest.param(16384, DEVICE[:16384] * 2, OTHER(16384, 0), id="the first copy in the second one's place"),
        pytest.param(
            16384,
            DEVICE[:16384] + replace(SECONDARY, offset=32768).encode(),
            OTHER(16384, 32768),
            id="a second copy of a larger header",
        ),
        pytest.param(0, DEVICE[:100] + b"?" + DEVICE[101:], DAMAGED("wrong checksum"), id="another byte"),
        pytest.param(
            0, DEVICE[:72] + b"whirl\0" + DEVICE[78:], DAMAGED("checksum algorithm 'whirl'"), id="another algorithm"
        ),
        pytest.param(
            0,
            replace(PRIMARY, metadata=[]).encode(),  # type: ignore[arg-type]
            "that is no LUKS2 metadata, but a list; ",
            id="a list",
        ),
    ],
)
def test_what_is_no_header_is_refused(at: int, broken: bytes, why: str) -> None:
    with pytest.raises(LuksFormatError) as caught:
        decode_copy(broken, at)
    assert f"{caught.value.what}; {caught.value.detail}" == why


def test_metadata_that_does_not_fit_is_refused() -> None:
    room = PRIMARY.size - BINARY_BYTES
    empty = len(json.dumps({"x": ""}, separators=(",", ":")))
    replace(PRIMARY, metadata={"x": "y" * (room - empty - 1)}).encode()
    with pytest.raises(LuksFormatError, match="do not fit"):
        replace(PRIMARY, metadata={"x": "y" * (room - empty)}).encode()


def changed(**digest: object) -> str:
    return json.dumps({**METADATA, "digests": {"0": {**METADATA["digests"]["0"], **digest}}})


NO_JSON = ", since no JSON"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((text, NO_JSON) for text in ("", "Device /dev/sda is not a valid LUKS device.", "[" * 100_000, "\ud800")),
        ("[]", ", but a list"),
        ("{}", ": KeyError('keyslots')"),
        (json.dumps({**METADATA, "keyslots": []}), ": TypeError('no object of objects')"),
        (json.dumps({**METADATA, "keyslots": {"0": 1}}), ": TypeError('no object of objects')"),
        (json.dumps({**METADATA, "keyslots": {"one": METADATA["keyslots"]["9"]}}), ": ValueError("),
        (
            json.dumps({**METADATA, "tokens": {"0": {"type": "clevis", "keyslots": "12"}}}),
            ": TypeError('token 0: keyslots are no list')",
        ),
        (
            json.dumps({**METADATA, "tokens": {"0": {"type": "clevis", "keyslots": [1.5]}}}),
            ": TypeError('float where a number belongs')",
        ),
        (
            json.dumps({**METADATA, "tokens": {"0": {"type": 5, "keyslots": []}}}),
            ": TypeError('int where a string belongs')",
        ),
        *(
            (changed(**wrong), ': ValueError("no digest that can be computed: Digest(')
            for wrong in ({"hash": "shake_128"}, {"iterations": 0}, {"iterations": 2**31}, {"digest": ""})
        ),
        (changed(iterations=True), ": TypeError('bool where a number belongs')"),
        (changed(salt="not base64"), ": Error("),
    ],
)
def test_what_is_no_metadata_is_refused(text: str, why: str) -> None:
    with pytest.raises(LuksFormatError) as caught:
        parse_luks_dump(text)
    assert caught.value.what.startswith(f"that is no LUKS2 metadata{why}")
    assert caught.value.hint == "was it a LUKS1 device?"


def test_why_a_text_is_no_json_is_told() -> None:
    with pytest.raises(LuksFormatError) as caught:
        parse_luks_dump("")
    assert caught.value.detail == "Expecting value: line 1 column 1 (char 0)"


@pytest.mark.parametrize("iterations", [1, "1000", 2**31 - 1])
def test_iterations_are_any_number_that_can_be_computed(iterations: object) -> None:
    assert parse_luks_dump(changed(iterations=iterations)).digests[0].iterations == int(str(iterations))


def test_what_other_metadata_has_is_told_as_far_as_it_can_be_read() -> None:
    with pytest.raises(LuksFormatError) as caught:
        parse_luks_dump('{"one": 1, "two": 2}')
    assert caught.value.detail == "it has: one, two"
    with pytest.raises(LuksFormatError) as caught:
        parse_luks_dump(json.dumps({"x" * 500: 1}))
    assert caught.value.detail == "it has: " + "x" * 392


def test_a_token_without_a_jwe_is_one_of_another_tool() -> None:
    tokens = {"0": {"type": "clevis", "keyslots": [], "jwe": "text"}, "1": {"type": "systemd-tpm2", "keyslots": ["9"]}}
    header = parse_luks_dump(json.dumps({**METADATA, "tokens": tokens}))
    assert header.tokens == (Token(0, "clevis", ()), Token(1, "systemd-tpm2", (9,)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def luks_metadata(segments: list[str], digest_bytes: int = 32) -> dict[str, Any]:
    """Metadata whose digest is that of the key ``key``."""
    salt, digest = b"salt", hashlib.pbkdf2_hmac("sha256", b"key", b"salt", 1000, digest_bytes)
    held = {"type": "pbkdf2", "keyslots": ["0"], "segments": segments, "hash": "sha256", "iterations": 1000}
    held |= {"salt": b64encode(salt).decode(), "digest": b64encode(digest).decode()}
    return {"keyslots": {}, "tokens": {}, "digests": {"0": held}}


@pytest.mark.parametrize("digest_bytes", [20, 32, 64])
def test_a_header_vouches_for_its_volume_key_alone(digest_bytes: int) -> None:
    header = parse_luks_header(replace(PRIMARY, metadata=luks_metadata(["0"], digest_bytes)).encode())
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


def test_material_that_is_no_multiple_of_the_key_is_no_key() -> None:
    with pytest.raises(ValueError, match="shorter"):
        splitter.merge(bytes(65), 64)


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
