"""The config that a guest gets."""

import copy
import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.policy import urls
from harness.policy.ignition import GuestFile, fill_placeholders, render
from harness.policy.pins import Sss, TangPin
from harness.policy.pins.placeholders import TangAddress
from harness.policy.policy import Policy, Volume

THUMBPRINT = "dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI"
TANG = TangAddress("http://10.0.2.2:1234", THUMBPRINT)
TWO = TangAddress("http://10.0.2.2:5678/", "x" * 43)

CONFIG: dict[str, Any] = {
    "ignition": {"version": "3.3.0"},
    "storage": {
        "directories": [{"path": "/etc/lab"}],
        "files": [{"path": "/etc/file"}],
        "links": [{"path": "/etc/link", "target": "/srv"}],
        "luks": [
            {"clevis": {"tang": [{"url": "@TANG_URL@", "thumbprint": "@TANG_THUMBPRINT@"}], "threshold": 1}},
            {"clevis": {"custom": {"config": '{"url": "@TANG_URL:two@", "thp": "@TANG_THUMBPRINT:two@"}'}}},
        ],
    },
}


def policy(*pins: TangPin) -> Policy:
    tree = Sss(1, pins or (TangPin("tang", "@TANG_URL@"), TangPin("two", "@TANG_URL:two@")))
    return Policy("name", copy.deepcopy(CONFIG), (Volume("a", "/dev/a", tree, None, None),), "/dev/vda", (), "")


def test_placeholders_are_filled_also_in_the_json_of_a_custom_pin() -> None:
    first, second = json.loads(render(policy(), {"tang": TANG, "two": TWO}))["storage"]["luks"]
    assert first["clevis"]["tang"] == [{"url": TANG.url, "thumbprint": THUMBPRINT}]
    assert json.loads(second["clevis"]["custom"]["config"]) == {"url": TWO.url, "thp": TWO.thumbprint}


def test_the_same_arguments_give_the_same_bytes_and_the_policy_stays_as_it_was() -> None:
    servers = {"tang": TANG, "two": TWO}
    subject = policy()
    first = render(subject, servers, [GuestFile("/a", "text " * 100)])
    again = render(subject, dict(reversed(servers.items())), [GuestFile("/a", "text " * 100)])
    assert first == again
    assert subject.config == CONFIG


def test_extra_files_are_added() -> None:
    (*_, file) = json.loads(
        render(policy(), {"tang": TANG, "two": TWO}, [GuestFile("/etc/lab/canary", "s e c r e t", 0o600)])
    )["storage"]["files"]
    assert file == {
        "path": "/etc/lab/canary",
        "mode": 0o600,
        "overwrite": True,
        "contents": {"source": "data:,s%20e%20c%20r%20e%20t", "compression": ""},
    }


def test_extra_files_of_a_policy_without_storage() -> None:
    bare = replace(policy(), config={"ignition": {"version": "3.3.0"}}, volumes=())
    assert len(json.loads(render(bare, {}, [GuestFile("/a", "")]))["storage"]["files"]) == 1


@pytest.mark.parametrize("path", ["/etc/file", "/etc/lab", "/etc/link", "/etc/link/a", "/etc/file/a", "/etc"])
def test_a_path_that_is_taken(path: str) -> None:
    with pytest.raises(UsageError, match=f"the harness's own file {path} collides with /etc/"):
        render(policy(), {"tang": TANG, "two": TWO}, [GuestFile(path, "")])


def test_two_extra_files_collide() -> None:
    with pytest.raises(UsageError, match=r"/a collides with /a in storage\.files of the policy name"):
        render(policy(), {"tang": TANG, "two": TWO}, [GuestFile("/a", ""), GuestFile("/a", "")])


def test_a_server_that_was_not_given() -> None:
    with pytest.raises(UsageError, match="needs a Tang server called two, and none was given") as caught:
        render(policy(), {"tang": TANG, "three": TWO})
    assert caught.value.detail == "given: tang, three"


def test_a_placeholder_that_no_pin_knows() -> None:
    with pytest.raises(UsageError, match=r"the placeholder @TANG_URL:two@ names no Tang server"):
        render(policy(TangPin("tang", "@TANG_URL@")), {"tang": TANG})


@pytest.mark.parametrize(
    "address",
    [TangAddress('http://a"', THUMBPRINT), TangAddress("ftp://a", THUMBPRINT), TangAddress("http://a", 'x"y')],
)
def test_an_address_that_would_break_the_json(address: TangAddress) -> None:
    with pytest.raises(UsageError, match="the address of the Tang server tang is malformed"):
        render(policy(), {"tang": address, "two": TWO})


@pytest.mark.parametrize(
    ("wanted", "given", "fits"),
    [
        ("http://10.0.2.2:1234", "http://10.0.2.2:1234", True),
        ("http://10.0.2.2:1234/", "http://10.0.2.2:1234", True),
        ("http://10.0.2.2", "http://10.0.2.2:80", True),
        ("http://10.0.2.2:1234", "http://10.0.2.2:1235", False),
    ],
)
def test_a_server_at_a_fixed_port(wanted: str, given: str, fits: bool) -> None:
    subject = policy(TangPin("tang", wanted, "@TANG_THUMBPRINT@"), TangPin("two", "@TANG_URL:two@"))
    servers = {"tang": TangAddress(given, THUMBPRINT), "two": TWO}
    if fits:
        assert render(subject, servers)
    else:
        with pytest.raises(UsageError, match=f"wants the Tang server tang at {wanted}, not at {given}"):
            render(subject, servers)


# --- data URLs


@given(st.binary(max_size=300), st.booleans())
def test_data_urls_hold_what_they_were_given(contents: bytes, compressed: bool) -> None:
    url, compression = urls.encode(contents, compressed=compressed)
    data = urls.decode(url)
    assert (urls.unpack(data) if compression else data) == contents
    assert url.isascii()
    assert not (compressed and compression)


@pytest.mark.parametrize(
    ("contents", "head", "compression"),
    [
        (b"password", "data:,password", ""),
        (b"a b\n#%", "data:,a%20b%0A%23%25", ""),
        (b"-_.!~*'()", "data:,-_.!~*'()", ""),
        (bytes(range(200, 240)), "data:;base64,", ""),
        (b"again " * 50, "data:;base64,H4sI", "gzip"),
    ],
)
def test_the_shortest_encoding_is_taken(contents: bytes, head: str, compression: str) -> None:
    url, said = urls.encode(contents)
    assert url.startswith(head)
    assert said == compression


@pytest.mark.parametrize("url", ["http://a", "data:a", "data:;base64,@", "data:;base64,a"])
def test_what_is_no_data_url(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        urls.decode(url)


@pytest.mark.parametrize(
    "packed", [b"x", gzip.compress(b"text", mtime=0)[:-5], b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xff\xff"]
)
def test_what_is_not_gzip(packed: bytes) -> None:
    with pytest.raises(ValueError, match="not gzip"):
        urls.unpack(packed)


def test_a_server_that_runs_in_the_place_of_the_users_has_its_own_key() -> None:
    literal = TangPin("tang-example", "http://tang.example", "x" * 43)
    other = {"url": "http://other.example", "thumbprint": "x" * 43}
    sss = {"t": 1, "pins": {"tang": [{"url": "http://tang.example", "thp": "x" * 43}]}}
    asked = policy(literal)
    asked.config["storage"]["luks"] = [
        {"clevis": {"tang": [{"url": "http://tang.example", "thumbprint": "x" * 43}, other]}},
        {"clevis": {"custom": {"pin": "sss", "config": json.dumps(sss)}}},
    ]
    rendered = json.loads(render(asked, {"tang-example": TangAddress("http://tang.example", THUMBPRINT)}))
    by_section, by_hand = (luks["clevis"] for luks in rendered["storage"]["luks"])
    assert by_section["tang"] == [{"url": "http://tang.example", "thumbprint": THUMBPRINT}, other]
    (nested,) = json.loads(by_hand["custom"]["config"])["pins"]["tang"]
    assert nested == {"url": "http://tang.example", "thp": THUMBPRINT}
    assert asked.config["storage"]["luks"][0]["clevis"]["tang"][0]["thumbprint"] == "x" * 43


# --- rule by rule


def bare(config: dict[str, Any], *pins: TangPin) -> Policy:
    """A policy of that config alone."""
    tree = Sss(1, pins) if pins else None
    return Policy("name", config, (Volume("a", "/dev/a", tree, None, None),), "/dev/vda", (), "")


def test_the_config_is_json_that_people_can_read() -> None:
    text = render(bare({"passwd": {}, "ignition": {"version": "3.3.0"}}), {}).decode()
    assert text == '{\n  "ignition": {\n    "version": "3.3.0"\n  },\n  "passwd": {}\n}\n'


def test_the_config_is_fitted_to_the_spec_that_the_guest_takes() -> None:
    config = {"ignition": {"version": "3.6.0"}}
    assert [json.loads(render(bare(config), {}, spec=spec))["ignition"]["version"] for spec in (3, 6)] == [
        *("3.3.0", "3.6.0")
    ]
    assert json.loads(render(bare(config), {}))["ignition"]["version"] == "3.6.0"


def test_what_is_said_of_a_server_that_is_missing_or_malformed() -> None:
    pin = TangPin("tang", "@TANG_URL@")
    with pytest.raises(UsageError) as caught:
        render(bare(copy.deepcopy(CONFIG), pin), {})
    assert caught.value.what == "the policy name needs a Tang server called tang, and none was given"
    assert caught.value.detail == "given: none"
    address = TangAddress("ftp://a", THUMBPRINT)
    with pytest.raises(UsageError) as caught:
        render(bare(copy.deepcopy(CONFIG), pin), {"other": TANG, "tang": address})
    assert caught.value.what == "the address of the Tang server tang is malformed"
    assert caught.value.detail == repr(address)


@pytest.mark.parametrize(
    ("wanted", "given", "fits"),
    [
        ("http://10.0.2.2/a", "http://10.0.2.2/a/", True),
        ("http://10.0.2.2/a", "http://10.0.2.2/b", False),
        ("http://10.0.2.2:80", "http://10.0.2.2", True),
        ("http://10.0.2.2:81", "http://10.0.2.2", False),
        ("http://10.0.2.2", "http://10.0.2.3", False),
    ],
)
def test_a_server_is_where_the_policy_wants_it(wanted: str, given: str, fits: bool) -> None:
    subject = bare({"ignition": {"version": "3.3.0"}}, TangPin("tang", wanted, "@TANG_THUMBPRINT@"))
    servers = {"tang": TangAddress(given, THUMBPRINT)}
    if fits:
        assert render(subject, servers)
        return
    with pytest.raises(UsageError) as caught:
        render(subject, servers)
    assert caught.value.what == f"the policy name wants the Tang server tang at {wanted}, not at {given}"


def test_each_server_is_looked_at_by_its_own_pins() -> None:
    pins = (TangPin("tang", "@TANG_URL@"), TangPin("two", "http://10.0.2.2:5678", "@TANG_THUMBPRINT:two@"))
    assert render(bare(copy.deepcopy(CONFIG), *pins), {"tang": TANG, "two": TWO})


def test_placeholders_are_filled_wherever_they_stand() -> None:
    servers = {"tang": TANG, "two": TWO}
    given = {
        "a": ["x @TANG_URL@ y", {"b": "@TANG_THUMBPRINT:two@@TANG_URL:two@"}],
        "c": 5,
        "d": None,
        "@TANG_URL@": True,
    }
    assert fill_placeholders(given, servers) == {
        "a": [f"x {TANG.url} y", {"b": f"{TWO.thumbprint}{TWO.url}"}],
        "c": 5,
        "d": None,
        "@TANG_URL@": True,
    }
    with pytest.raises(UsageError) as caught:
        fill_placeholders(["@TANG_URL:three@"], servers)
    assert (caught.value.what, caught.value.detail) == (
        "the placeholder @TANG_URL:three@ names no Tang server",
        "given: tang, two",
    )
    with pytest.raises(UsageError) as caught:
        fill_placeholders("@TANG_URL@", {})
    assert caught.value.detail == "given: none"


def test_a_custom_pin_stays_as_it_was_written_where_no_key_is_the_harnesss_own() -> None:
    written = '{"url" :"@TANG_URL@"}'
    config = {"ignition": {"version": "3.3.0"}, "a": {"pin": "tang", "config": written}}
    given = json.loads(render(bare(config, TangPin("tang", "@TANG_URL@")), {"tang": TANG}))
    assert given["a"]["config"] == written.replace("@TANG_URL@", TANG.url)


def test_a_file_of_the_harness_is_beside_those_of_the_policy() -> None:
    storage = {
        "directories": [{"path": "/etc/lab"}],
        "files": [{"path": "/etc/file"}],
        "links": [{"path": "/etc/link", "target": "/srv"}],
    }
    subject = bare({"ignition": {"version": "3.3.0"}, "storage": storage})
    paths = ["/etc/lab/a", "/etc/laboratory", "/etc/file2", "/etc/links", "/et"]
    made = json.loads(render(subject, {}, [GuestFile(path, "a") for path in paths]))["storage"]
    assert [file["path"] for file in made["files"]] == ["/etc/file", *paths]
    assert [file["mode"] for file in made["files"][1:]] == [0o644] * 5
    for path, other, kind in (
        ("/etc/file/a", "/etc/file", "files"),
        ("/etc/link/a", "/etc/link", "links"),
        ("/etc", "/etc/file", "files"),
        ("/etc/lab", "/etc/lab", "directories"),
    ):
        with pytest.raises(UsageError) as caught:
            render(subject, {}, [GuestFile(path, "")])
        assert caught.value.what == (
            f"the harness's own file {path} collides with {other} in storage.{kind} of the policy name"
        )


def test_a_large_file_of_the_harness_is_packed() -> None:
    subject = bare({"ignition": {"version": "3.3.0"}})
    (file,) = json.loads(render(subject, {}, [GuestFile("/a", "again " * 99)]))["storage"]["files"]
    assert file["contents"]["compression"] == "gzip"
    assert urls.unpack(urls.decode(file["contents"]["source"])) == b"again " * 99
