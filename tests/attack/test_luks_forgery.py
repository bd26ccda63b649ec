"""Forged LUKS2 headers: whole, with right checksums, and what they claim."""

import hashlib
import json
from collections.abc import Callable
from functools import partial

import pytest

from harness.attack import luks_forgery as forgery
from harness.images.luks import LuksLayout, header
from harness.luks2.header import HEADER_BYTES, LuksFormatError, metadata, with_metadata
from harness.luks2.metadata import parse_luks_header


@pytest.fixture
def genuine() -> bytes:
    """A header with one keyslot, and a token that leads to it."""
    bare = header(LuksLayout("test", "a90be931-3d68-5cd1-a54f-b227fc5688ee", "secret")).ljust(HEADER_BYTES, b"\0")
    token = {"type": "clevis", "keyslots": ["0"], "jwe": {}}
    return with_metadata(bare, lambda found: found["tokens"].update({"0": token}))


FORGERIES: list[Callable[[bytes], bytes]] = [
    lambda genuine: genuine,
    partial(forgery.without_material, keyslot=0),
    partial(forgery.without_binding, keyslot=0),
    partial(forgery.null_cipher, keyslot=0),
    partial(forgery.decryption_in_progress, hot_bytes=2**20),
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_both_copies_say_the_same_and_have_right_checksums(genuine: bytes, forge: Callable[[bytes], bytes]) -> None:
    forged = forge(genuine)
    assert len(forged) == len(genuine)
    size = int.from_bytes(forged[8:16], "big")
    texts = set()
    for at, magic in ((0, b"LUKS\xba\xbe"), (size, b"SKUL\xba\xbe")):
        copy = bytearray(forged[at : at + size])
        assert copy.startswith(magic)
        checksum, copy[448:512] = bytes(copy[448:512]), bytes(64)
        assert checksum == hashlib.sha256(copy).digest().ljust(64, b"\0")
        texts.add(bytes(copy[4096:]))
    assert len(texts) == 1
    assert forged[168:208] == genuine[168:208], "the UUID is another"


def area(header_bytes: bytes) -> bytes:
    found = json.loads(header_bytes[4096:16384].rstrip(b"\0"))["keyslots"]["0"]["area"]
    return header_bytes[int(found["offset"]) :][: int(found["size"])]


def test_material_is_gone_and_the_token_still_leads_there(genuine: bytes) -> None:
    forged = forgery.without_material(genuine, 0)
    assert any(area(genuine))
    assert not any(area(forged))
    assert parse_luks_header(forged) == parse_luks_header(genuine)


def test_an_unbound_token_leads_nowhere(genuine: bytes) -> None:
    found = parse_luks_header(forgery.without_binding(genuine, 0))
    assert found.keyslots == ()
    assert [token.keyslots for token in found.tokens] == [()]


def test_a_null_cipher_holds_a_key_that_is_known(genuine: bytes) -> None:
    forged = forgery.null_cipher(genuine, 0)
    key = forgery.null_key(genuine, 0)
    # cryptsetup 2.6.1 gave this key for a keyslot whose area decrypts to zeros.
    assert key.hex().startswith("82566fe92f942f7b30d94683c451103f")
    assert parse_luks_header(forged).vouches_for(key)
    assert not parse_luks_header(genuine).vouches_for(key)
    assert parse_luks_header(forged).tokens == parse_luks_header(genuine).tokens
    assert metadata(forged)["keyslots"]["0"]["area"]["encryption"] == "cipher_null-ecb"


def test_a_decryption_is_said_to_be_at_work(genuine: bytes) -> None:
    found = metadata(forgery.decryption_in_progress(genuine, 2**20))
    assert [segment.get("flags") for segment in found["segments"].values()] == [
        ["in-reencryption"],
        None,
        ["backup-previous"],
        ["backup-final"],
    ]
    assert found["keyslots"]["1"]["mode"] == "decrypt"
    assert int(found["segments"]["1"]["offset"]) - int(found["segments"]["0"]["offset"]) == 2**20


def test_what_is_no_header_or_no_longer_fits_is_refused(genuine: bytes) -> None:
    with pytest.raises(LuksFormatError, match="no LUKS2 header"):
        metadata(bytes(4096))
    with pytest.raises(LuksFormatError, match="do not fit"):
        with_metadata(genuine, lambda found: found["config"].update(more="x" * 12288))
