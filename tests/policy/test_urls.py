"""Data URLs, to the byte, and the parts of others."""

import gzip
import hashlib
from base64 import b64encode

import pytest

from harness.policy import urls

EVEN = b"aaaa\0\0\0\0\0"
"""Escaped and in base64 of one length."""


@pytest.mark.parametrize(
    ("contents", "url"),
    [
        (b"", "data:,"),
        (b"a b/c", "data:,a%20b%2Fc"),
        (b"-_.!~*'()", "data:,-_.!~*'()"),
        (EVEN, "data:,aaaa%00%00%00%00%00"),
        (EVEN[1:] + b"\0", "data:;base64,YWFhAAAAAAAA"),
    ],
)
def test_contents_are_written_the_shortest_way(contents: bytes, url: str) -> None:
    assert urls.encode(contents) == (url, "")
    assert urls.encode(contents, compressed=True) == (url, "")
    assert urls.decode(url) == contents


def in_gzip(contents: bytes) -> str:
    return ";base64," + b64encode(gzip.compress(contents, mtime=0)).decode()


def in_base64(contents: bytes) -> str:
    return ";base64," + b64encode(contents).decode()


def test_contents_are_packed_if_that_is_shorter_with_the_word_that_says_so() -> None:
    packed = b"\0" * 1000
    assert urls.encode(packed) == (f"data:{in_gzip(packed)}", "gzip")
    assert urls.encode(packed, compressed=True) == (f"data:{in_base64(packed)}", "")
    even = next(
        zeros
        for zeros in (b"\0" * count for count in range(1, 200))
        if len(in_gzip(zeros)) + len("gzip") == len(in_base64(zeros))
    )
    assert urls.encode(even) == (f"data:{in_base64(even)}", "")
    longer = even + b"\0" * 3
    assert urls.encode(longer)[1] == "gzip"


@pytest.mark.parametrize(
    ("source", "elsewhere"), [(None, False), ("", False), ("data:,x", False), ("http://host/", True), ("data", True)]
)
def test_what_is_no_data_url_is_elsewhere(source: str | None, elsewhere: bool) -> None:
    assert urls.is_elsewhere(source) is elsewhere


@pytest.mark.parametrize(
    ("url", "contents"),
    [
        ("data:,a%20b,c", b"a b,c"),
        ("data:;base64,YQ==", b"a"),
        ("data:text/plain;base64,Y%51==", b"a"),
        ("data:;base64x,YQ==", b"YQ=="),
    ],
)
def test_a_data_url_is_decoded(url: str, contents: bytes) -> None:
    assert urls.decode(url) == contents


@pytest.mark.parametrize("url", ["", "data:", "data:;base64", "http://host/,x", "Data:,x"])
def test_another_one_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^not a data URL$"):
        urls.decode(url)


@pytest.mark.parametrize("url", ["data:;base64,Y", "data:;base64,Y!Q=="])
def test_base64_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        urls.decode(url)


def test_what_is_no_gzip_is_refused() -> None:
    packed = gzip.compress(b"text", mtime=0)
    assert urls.unpack(packed) == b"text"
    for wrong in (b"text", packed[:-3], packed[:10] + b"\xff" + packed[11:]):
        with pytest.raises(ValueError, match=r"^not gzip: .+"):
            urls.unpack(wrong)


def test_what_unpacks_to_more_than_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "MOST_BYTES", 3 << 20)
    assert len(urls.unpack(gzip.compress(bytes(3 << 20)))) == 3 << 20
    with pytest.raises(ValueError, match=r"^has more than 3 MiB unpacked$"):
        urls.unpack(gzip.compress(bytes((3 << 20) + 1)))
    with pytest.raises(ValueError, match=r"^has more than 3 MiB unpacked$"):
        urls.unpack(gzip.compress(bytes(16 << 20))[:-8])  # so far nobody reads


@pytest.mark.parametrize("function", ["sha256", "sha512"])
def test_a_hash_bears_the_name_of_its_function(function: str) -> None:
    assert urls.digest(b"x", function) == f"{function}-{hashlib.new(function, b'x').hexdigest()}"


def test_a_url_has_parts_unless_it_is_malformed() -> None:
    assert tuple(urls.parse("http://u@host:8080/path?q#f")) == ("http", "u@host:8080", "/path", "q", "f")
    for malformed in ("http://[", "http://host:70000/", "http://host:x/"):
        assert tuple(urls.parse(malformed)) == ("", "", "", "", "")


def test_an_address_is_no_name() -> None:
    assert [urls.is_ip(host) for host in ("10.0.2.2", "::1", "host", "10.0.2", "")] == [True, True, False, False, False]
