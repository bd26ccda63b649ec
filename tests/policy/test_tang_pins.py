"""Tang servers as a policy file writes them: which one a pin means, who runs it, and each mistake in its sentence."""

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.policy.document import Document
from harness.policy.pins import TangPin, Tpm2Pin
from harness.policy.pins.clevis_tang import why_not_run
from harness.policy.pins.reading import Place

KEY = "dx9dNzgs-DeXg0SCBQW5rb7WQkSIN1B8MIgcO6WxJfI"
"""A thumbprint (RFC 7638) by SHA-256."""
NO_THUMBPRINT = (
    "no thumbprint, since it has {}: that is the base64url of a SHA-256 (43 characters) or a SHA-1 (27) of the signing "
    "key, by RFC 7638, as tang-show-keys prints it"
)
SERVER = "http://tang.example"
HTTPS = "https://tang.example"


def in_section(*servers: dict[str, Any]) -> list[TangPin]:
    """The pins of a ``clevis`` section, whose mistakes are told."""
    document = Document(Path("a.bu"), "")
    pins = TangPin.read_section(Place(document, ("clevis",)), list(servers))
    document.check()
    return [pin for pin in pins if isinstance(pin, TangPin)]


def in_json(config: dict[str, Any]) -> TangPin | None:
    """The pin of clevis's own JSON, whose mistakes are told."""
    document = Document(Path("a.bu"), "")
    pin = TangPin.read(Place(document, ("config",), inside=""), config, lambda *_: None)
    document.check()
    return pin


@pytest.mark.parametrize(
    ("written", "pin"),
    [
        ({"url": "@TANG_URL@"}, TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")),
        ({"url": "@TANG_URL:two@"}, TangPin("two", "@TANG_URL:two@", "@TANG_THUMBPRINT:two@")),
        (
            {"url": "http://10.0.2.2:7500", "thumbprint": "@TANG_THUMBPRINT:two@"},
            TangPin("two", "http://10.0.2.2:7500", "@TANG_THUMBPRINT:two@"),
        ),
        ({"url": f"{SERVER}:7500/", "thumbprint": KEY}, TangPin("tang-example-7500", f"{SERVER}:7500/", KEY)),
        ({"url": "http://Keys.Example", "thumbprint": KEY}, TangPin("tang-keys-example", "http://Keys.Example", KEY)),
        ({"url": HTTPS, "thumbprint": KEY}, TangPin(HTTPS, HTTPS, KEY)),
        ({"url": SERVER, "thumbprint": KEY, "advertisement": "{}"}, TangPin(SERVER, SERVER, KEY)),
    ],
)
def test_which_server_a_section_means(written: dict[str, Any], pin: TangPin) -> None:
    assert in_section(written) == [pin]
    assert written["thumbprint"] == pin.thumbprint, "what was left to the harness is written into the config"


@pytest.mark.parametrize(
    ("written", "pin"),
    [
        ({"url": "@TANG_URL@"}, TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")),
        ({"url": SERVER, "thp": KEY}, TangPin("tang-example", SERVER, KEY)),
        ({"url": SERVER, "adv": "adv.jws"}, TangPin(SERVER, SERVER)),
    ],
)
def test_which_server_the_json_of_clevis_means(written: dict[str, Any], pin: TangPin) -> None:
    assert in_json(written) == pin
    assert written.get("thp") == pin.thumbprint


NO_KEY = "is missing: clevis would ask whether to trust the server, and Ignition cannot answer"
EXPECTED = "url: expected an http or https url or a placeholder, found"


@pytest.mark.parametrize(
    ("written", "mistake"),
    [
        ({"url": ""}, f"{EXPECTED} ''"),
        ({"url": "x@TANG_URL@"}, "url: a placeholder is the whole url: @TANG_URL@ or @TANG_URL:name@"),
        ({"url": "ftp://tang.example"}, f"{EXPECTED} 'ftp://tang.example'"),
        ({"url": "http:///adv"}, f"{EXPECTED} 'http:///adv'"),
        (
            {"url": "http://tang.example/$(reboot)"},
            "url: a Tang url has no blanks, quotes and other signs of a shell; found 'http://tang.example/$(reboot)'",
        ),
        (
            {"url": "@TANG_URL@", "thumbprint": "x@TANG_THUMBPRINT@"},
            "thumbprint: a placeholder is the whole thumbprint: @TANG_THUMBPRINT@ or @TANG_THUMBPRINT:name@",
        ),
        (
            {"url": "@TANG_URL:two@", "thumbprint": "@TANG_THUMBPRINT@"},
            "thumbprint: must be @TANG_THUMBPRINT:two@ beside @TANG_URL:two@: the harness makes that key",
        ),
        ({"url": SERVER, "thumbprint": None}, f"thumbprint: thumbprint {NO_KEY}"),
        (
            {"url": "http://10.0.2.3", "thumbprint": "@TANG_THUMBPRINT@"},
            "url: the harness runs no server there: of that network a guest reaches 10.0.2.2 alone; write @TANG_URL@",
        ),
        ({"url": SERVER, "thumbprint": KEY[1:]}, f"thumbprint: {NO_THUMBPRINT.format('42 characters')}"),
        ({"url": SERVER, "thumbprint": f"{KEY}="}, f"thumbprint: {NO_THUMBPRINT.format(repr('='))}"),
        *(
            (
                {"url": f"@TANG_URL:{name}@", "thumbprint": f"@TANG_THUMBPRINT:{name}@"},
                f"url: a server cannot be called {name}: outcomes name another pin like that",
            )
            for name in ("tpm2", "tpm2-pcr7", "passphrase")
        ),
    ],
)
def test_what_is_wrong_with_a_server_of_a_section(written: dict[str, Any], mistake: str) -> None:
    with pytest.raises(UsageError) as caught:
        in_section({"thumbprint": KEY, **written})
    assert caught.value.what == f"a.bu:1: clevis.tang[0].{mistake}"


@pytest.mark.parametrize(
    ("written", "mistake"),
    [
        ({}, "the JSON: url is missing"),
        ({"url": 5}, "url: expected a string"),
        ({"url": SERVER, "thp": 5}, "thp: expected a string"),
        ({"url": SERVER}, f"thp: thp {NO_KEY}"),
    ],
)
def test_what_is_wrong_with_the_json_of_clevis(written: dict[str, Any], mistake: str) -> None:
    with pytest.raises(UsageError) as caught:
        in_json(written)
    assert caught.value.what == f"a.bu:1: config: {mistake}"


def test_a_server_stands_in_a_section_once() -> None:
    other = {"url": f"{SERVER}:1", "thumbprint": KEY}
    with pytest.raises(UsageError) as caught:
        in_section({"url": SERVER, "thumbprint": KEY}, other, {"url": SERVER, "thumbprint": KEY})
    mistakes = [f"a.bu:1: clevis.tang[{index}].url: Ignition takes each url only once" for index in (0, 2)]
    assert caught.value.detail.splitlines() == mistakes


@pytest.mark.parametrize(
    ("url", "why"),
    [
        *((url, "") for url in (SERVER, "http://192.168.77.3:8080/", "http://10.0.2.2", "http://keys.local")),
        (HTTPS, "no guest trusts a certificate of the laboratory"),
        *(
            (f"http://{rest}", "the laboratory serves http://HOST:PORT, without a path, alone")
            for rest in ("tang.example/path", "tang.example/X", "tang.example?a", "tang.example#a", "me@tang.example")
        ),
        *((url, "that is no name of a host") for url in ("http://a_b", "http://")),
        ("http://10.0.2.7", "of that network a guest reaches 10.0.2.2 alone"),
        *(
            (f"http://{odd}", "no other machine is at such an address")
            for odd in ("127.0.0.1", "224.0.0.1", "0.0.0.0", "240.0.0.1")
        ),
        ("http://[2001:db8::1]", "a guest's network is IPv4"),
    ],
)
def test_at_which_places_the_harness_runs_a_server(url: str, why: str) -> None:
    assert why_not_run(url) == why


@pytest.mark.parametrize(
    ("pin", "why"),
    [
        (TangPin("tang", "@TANG_URL@"), ""),
        (TangPin("tang-example", SERVER, KEY), ""),
        (TangPin(HTTPS, HTTPS, KEY), "no guest trusts a certificate of the laboratory"),
        (TangPin(SERVER, SERVER, KEY), "its advertisement is that of another server"),
        (Tpm2Pin(), ""),
    ],
)
def test_why_a_pins_server_is_not_run(pin: TangPin | Tpm2Pin, why: str) -> None:
    assert pin.not_run == why


def test_the_harness_writes_its_own_key_where_it_runs_a_server_in_the_users_place() -> None:
    there = TangPin("tang-example", SERVER, KEY)
    assert there.own_keys == {(SERVER, KEY): "@TANG_THUMBPRINT:tang-example@"}
    elsewhere = (
        TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@"),
        TangPin("tang", "@TANG_URL@", KEY),
        TangPin("tang", "http://10.0.2.2", "@TANG_THUMBPRINT@"),
        TangPin("tang-example", SERVER),
        TangPin(SERVER, SERVER, KEY),
    )
    assert [dict(pin.own_keys) for pin in elsewhere] == [{}] * len(elsewhere)
