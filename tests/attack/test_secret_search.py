"""The search for a secret, and the search for keys in memory: each sees what is there, and nothing else."""

import base64
import json
import secrets
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.attack.memory import aes256_keys, clevis_passphrases, xts_keys
from harness.attack.secret_search import Found, canary_in, encodings, find_secret
from harness.errors import UsageError

SCHEDULE_BYTES = 240
SECRET = bytes.fromhex("fb7e22c0ffee2f3f00ff5c22a1b2c3d4e5f60718293a4b5c6d7e8f9001122ffe")
PASSPHRASE = b'k/7+pW"d\\mK2 q~'

PLANTED = {
    "raw": SECRET,
    "hex": SECRET.hex().encode(),
    "upper-case hex": SECRET.hex().upper().encode(),
    "base64": base64.b64encode(SECRET),
    "base64 inside": base64.b64encode(b"x" + SECRET + b"y"),
    "base64 two bytes on": base64.b64encode(b"xy" + SECRET + b"z"),
    "base64url": base64.urlsafe_b64encode(SECRET).rstrip(b"="),
    "base64url inside": base64.urlsafe_b64encode(b"." + SECRET + b"..").rstrip(b"="),
    "JSON": json.dumps({"k": base64.b64encode(SECRET).decode()}).encode(),
    "JSON with slashes": base64.b64encode(SECRET).replace(b"/", rb"\/"),
    "percent": urllib.parse.quote(base64.b64encode(SECRET), safe="").encode(),
    "percent of the bytes": urllib.parse.quote(SECRET).encode(),
    "percent throughout": "".join(f"%{byte:02x}" for byte in SECRET).encode(),
    "code points": "".join(f"\\u{byte:04x}" for byte in SECRET).encode(),
    "reversed": SECRET[::-1],
    "hex of reversed": SECRET[::-1].hex().encode(),
    "hex backwards": SECRET.hex().encode()[::-1],
    "base64url of reversed": base64.urlsafe_b64encode(SECRET[::-1]),
}


@pytest.mark.parametrize("text", PLANTED.values(), ids=PLANTED)
def test_a_planted_secret_is_found(text: bytes) -> None:
    noise = secrets.token_bytes(500)
    found = find_secret(noise + text + noise, SECRET)
    assert found is not None
    assert abs(found.at - len(noise)) <= 8


@pytest.mark.parametrize("text", [json.dumps(PASSPHRASE.decode()).encode(), urllib.parse.quote(PASSPHRASE).encode()])
def test_a_passphrase_is_found_with_its_special_characters_escaped(text: bytes) -> None:
    assert find_secret(b"GET /?" + text, PASSPHRASE)


def test_it_says_how_and_where() -> None:
    assert find_secret(b"...." + SECRET.hex().encode(), SECRET) == Found("hex", 4)


def test_what_is_not_there_is_not_found() -> None:
    wire = b"".join(PLANTED.values())
    other = bytes(byte ^ 0x55 for byte in SECRET)
    assert find_secret(wire, other) is None
    assert find_secret(wire.replace(SECRET, SECRET[:-1]), SECRET[1:] + b"!") is None


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(UsageError, match="by chance"):
        find_secret(b"", b"1234567")


@given(st.binary(min_size=8, max_size=66), st.binary(max_size=7), st.binary(max_size=7))
def test_base64_is_found_at_any_place(secret: bytes, before: bytes, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert find_secret(encode(before + secret + after), secret)


def test_no_encoding_is_so_short_that_it_is_found_by_chance() -> None:
    assert min(map(len, encodings(SECRET).values())) >= len(SECRET)


def test_a_canary_is_told_from_other_digits() -> None:
    canary = "0123456789abcdef" * 2
    assert canary_in(f"cat: no\r\n{canary}\r\n# ") == canary_in(f"{canary}[   33.078947] clevis") == canary
    assert canary_in(f"{canary}{canary}\n {canary}\n{canary[:31]}\n{canary.upper()}") is None


# --- key schedules ---


def sbox() -> bytes:
    """The S-box of AES, computed (FIPS 197, 5.1.1)."""
    table = bytearray(256)
    table[0] = 0x63
    p = q = 1
    while True:
        p ^= (p << 1 ^ (0x11B if p & 0x80 else 0)) & 0x1FF
        p &= 0xFF
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        turned = q
        for turn in range(1, 5):
            turned ^= (q << turn | q >> 8 - turn) & 0xFF
        table[p] = turned ^ 0x63
        if p == 1:
            return bytes(table)


SBOX = sbox()


def schedule(key: bytes) -> bytes:
    """AES-256's key expansion (FIPS 197, 5.2)."""
    words = [key[at : at + 4] for at in range(0, 32, 4)]
    for number in range(8, 60):
        word = words[-1]
        if number % 8 == 0:
            word = bytes(SBOX[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ 1 << number // 8 - 1]) + word[1:]
        elif number % 8 == 4:
            word = bytes(SBOX[byte] for byte in word)
        words.append(bytes(a ^ b for a, b in zip(word, words[-8], strict=True)))
    return b"".join(words)


def test_the_test_expands_keys_as_the_standard_does() -> None:
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    expanded = schedule(key)
    assert len(expanded) == SCHEDULE_BYTES
    assert expanded[32:36].hex() == "9ba35411"  # FIPS 197, A.3: w8
    assert expanded[-4:].hex() == "706c631e"  # w59


@pytest.mark.parametrize("at", [0, 16, 4096 - 240, 4096 - 32, 4096 - 4, 8192, 3 * 4096 - 240])
def test_a_schedule_is_found_wherever_it_lies(at: int) -> None:
    key = secrets.token_bytes(32)
    memory = bytearray(3 * 4096)
    memory[at : at + SCHEDULE_BYTES] = schedule(key)
    assert aes256_keys(bytes(memory)) == (key,)


@pytest.mark.parametrize("at", [1024 - 240, 1024 - 236, 1024 - 4, 1024])
def test_a_schedule_is_found_across_the_pieces_that_are_looked_at(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.attack.memory._AT_ONCE", 256)
    key = secrets.token_bytes(32)
    assert aes256_keys(bytes(at) + schedule(key) + bytes(1024)) == (key,)


def test_a_key_alone_is_no_schedule() -> None:
    key = secrets.token_bytes(32)
    damaged = bytearray(schedule(key))
    damaged[150] ^= 1
    memory = secrets.token_bytes(4096) + key + bytes(4096) + damaged + b"\xaa" * 4096 + bytes(range(256)) * 16
    assert aes256_keys(memory) == ()


def test_both_halves_of_an_xts_key_are_joined_in_either_order() -> None:
    data, tweak = secrets.token_bytes(32), secrets.token_bytes(32)
    memory = secrets.token_bytes(512) + schedule(tweak) + bytes(16) + schedule(data) + schedule(data)
    assert set(xts_keys(aes256_keys(memory))) == {data + tweak, tweak + data}


def test_passphrases_made_by_hand_are_known_by_their_shape() -> None:
    made = b"Uf!Yk@fdeHEv.ohUtyc4pw4HBEticLEK,0vwyjOLowOMObpynbuc2O"
    plus = b"+If70H2ys3bypehhOz*yMOhvyseRujimOs@M0rs3N=@caK4SS0hR4b"
    token = b"eyJhbGciOiJFQ0RILUVTIiwiY2xldmlzIjp7InBpbiI6InRhbmcifX0"
    unit = b"systemd-cryptsetup@dev-disk-by-partlabel-root.service=ok"
    memory = b"\0".join((b"", made, b"+" + made, plus + b"\n", token, unit, made + b"0123", made[:40], b""))
    assert clevis_passphrases(memory) == (made, b"+" + made, plus, plus[1:])


def test_passphrases_that_ignition_had_bound_are_known_by_their_shape() -> None:
    made = b"cMvKPWmyoMvTt1-uUPno229vDb1SKBjHTjYCsnrVOvw6KrwKAlM__w"
    answered = b"1GNfNaLKnmVFJM0qdMvwQFEIm35FpVBm8zV1na7ERSiEx9icCV9ypg"
    memory = b"\0".join((made, b"+" + answered, b"x" + made, made[:-1], b"a" * 54, made, b""))
    assert set(clevis_passphrases(memory)) == {made, answered, b"+" + answered}
    assert clevis_passphrases(bytes(1024)) == ()


@pytest.mark.parametrize("at", range(0, 210, 3))
def test_a_passphrase_is_found_once_wherever_the_pieces_end(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """A memory is searched in pieces, so that what the rest of the process has to do is done meanwhile."""
    monkeypatch.setattr("harness.attack.memory._PIECE", 100)
    word = b"aB1." * 14
    assert clevis_passphrases(bytes(at) + word + bytes(400 - at)) == (word,)
