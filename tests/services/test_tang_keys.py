"""Keys and log of a Tang server: pure parts, on what real servers wrote."""

import json
from pathlib import Path

import pytest

from harness.errors import HarnessError, UsageError
from harness.services.held import save, to_tar
from harness.services.log import stamp
from harness.services.tang_keys import TangKeys, thumbprint
from harness.services.tang_log import TangRequest, parse_log

# Made by tangd 15; tangd names each file by the thumbprint that `jose jwk thp` computes.
SIGNING = "f4qz0yEYaaSHswPLHeWzd-aaNv9NtH-ngrupB0WsQJI"
EXCHANGE = "w8Lql6jIKdh2wVNKwYbPwi-4sMf6m-fYNZ8wvkJFeR4"
JWK = {
    SIGNING: {
        "alg": "ES512",
        "kty": "EC",
        "crv": "P-521",
        "x": "AOkOwxrpnNXUlyElqcgHQmBWXQPxnLPq5YgbEZmMdnrkrp36q0V6M9k8qr97qx_JHdg8wJtH0TXA0Kw4wGjPq1dY",
        "y": "AP39Yyp-7nQC4AgDhCGdmVLoqWUsqLOb4YgB8Dv7BVq7wtGL1Ely5BNMfyfTFVbUvRSByhpM3D9oWlR0Qk7PPdGK",
        "d": "AYv3lhIzaEQGxoHW_u_C9-MRrmSoDaLDtwSZIwbJ8GuYgSv9BHp-CMaErrujvLFAHmwG2Hhrk5vsNlVtnCK1oIYZ",
        "key_ops": ["sign", "verify"],
    },
    EXCHANGE: {
        "alg": "ECMR",
        "kty": "EC",
        "crv": "P-521",
        "x": "ABqalEXgIu6zpIetfH9S6p23GnyiZdM4PnuTcS-Q9_RUFn4IUDOmNqS6HUB08YL0D1OAGoH6Zujk4PgK2wilMXBc",
        "y": "ANMpFBYh9MKmQPrKd3h6-Vq4qx_bbpqvNfUj3pJSBzrGVBUMQzbYx1WVqD9yxOVYnqX5xauaZJeH15rFamgK46s-",
        "d": "AIqX4yIFLFM9NZRScreg6KU8YGs2pN9tKfwtGOwqK2rVpDzXKCfQ2lG8UW7k7rCiF2qNyqw8gei6iMqNo9qFif59",
        "key_ops": ["deriveKey"],
    },
}
FILES = {f"{name}.jwk": json.dumps(jwk).encode() for name, jwk in JWK.items()}


@pytest.mark.parametrize("name", JWK)
def test_the_thumbprint_is_that_of_jose(name: str) -> None:
    assert thumbprint(JWK[name]) == name


def test_the_servers_thumbprint_is_that_of_its_signing_key() -> None:
    assert TangKeys.of(FILES).thumbprint == SIGNING
    assert TangKeys.of(dict(reversed(FILES.items()))) == TangKeys.of(FILES)


def test_hidden_keys_are_not_advertised() -> None:
    keys = TangKeys.of({f".{name}": data for name, data in FILES.items()})
    assert (keys.advertised, keys.hidden) == ((), (f".{SIGNING}.jwk", f".{EXCHANGE}.jwk"))
    with pytest.raises(HarnessError, match="no advertised signing key"):
        _ = keys.thumbprint


@pytest.mark.parametrize(("operation", "left"), [("verify", EXCHANGE), ("deriveKey", SIGNING)])
def test_one_key_of_a_rotated_pair_is_deleted(operation: str, left: str) -> None:
    rotated = TangKeys.of({f".{name}": data for name, data in FILES.items()} | {"new.jwk": FILES[f"{SIGNING}.jwk"]})
    assert [name for name, _ in rotated.without_hidden(operation).files] == [f".{left}.jwk", "new.jwk"]


def test_a_key_that_was_not_rotated_out_is_not_deleted() -> None:
    with pytest.raises(UsageError, match="no key for verify was rotated out"):
        TangKeys.of(FILES).without_hidden("verify")


def test_an_exchange_key_alone_has_no_servers_thumbprint() -> None:
    with pytest.raises(HarnessError, match="no advertised signing key"):
        _ = TangKeys.of({f"{EXCHANGE}.jwk": FILES[f"{EXCHANGE}.jwk"]}).thumbprint


def test_keys_survive_a_folder_hidden_ones_too(tmp_path: Path) -> None:
    keys = TangKeys.of({f"{SIGNING}.jwk": FILES[f"{SIGNING}.jwk"], f".{EXCHANGE}.jwk": FILES[f"{EXCHANGE}.jwk"]})
    folder = tmp_path / "keys"
    save(keys, folder)
    assert TangKeys.load(folder) == keys
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_folder_without_keys_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        TangKeys.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"no \.jwk"):
        TangKeys.load(tmp_path)


def test_keys_survive_an_archive() -> None:
    keys = TangKeys.of(FILES)
    packed = to_tar(keys)
    assert TangKeys.from_tar([packed[:100], packed[100:]]) == keys


LOG = """\
2026-11-22T02:57:00.100000Z Listening on 0.0.0.0:8080
2026-11-22T02:57:01.500000Z <unknown> GET /adv => 200 (../src/tangd.c:101)
2026-11-22T02:57:02.000000Z <unknown> GET /adv/xxxx => 404 (../src/tangd.c:94)
2026-11-22T02:57:03.000000Z 10.0.2.2 POST /rec/w8Lql6jIKdh2wVNKwYbPwi-4sMf6m-fYNZ8wvkJFeR4 => 200 (../src/tangd.c:173)
2026-11-22T02:57:04.000000Z <unknown> POST /rec/xxx => 400 (../src/tangd.c:135)
2026-11-22T02:57:05.000000Z <unknown> PUT / => 404 (../src/http.c:128)
2026-11-22T02:57:06.000000Z Killed
"""


def test_requests_are_read_from_the_log() -> None:
    requests = parse_log(LOG)
    assert [(each.method, each.path.split("/")[1], each.status) for each in requests] == [
        ("GET", "adv", 200),
        ("GET", "adv", 404),
        ("POST", "rec", 200),
        ("POST", "rec", 400),
        ("PUT", "", 404),
    ]
    assert [each.is_recovery for each in requests] == [False, False, True, False, False]
    assert [each.is_advertisement for each in requests] == [True, False, False, False, False]
    assert requests[2] == TangRequest(1795316223.0, "POST", f"/rec/{EXCHANGE}", 200, "10.0.2.2")
    assert requests[0].address is None


def test_a_client_cannot_write_a_line_that_looks_like_a_recovery() -> None:
    assert parse_log("2026-11-22T02:57:03.000000Z oops 1.2.3.4 POST /rec/x => 200 (a:1)\n") == ()
    assert parse_log("1.2.3.4 POST /rec/x => 200 (a:1)\n") == ()


def test_an_empty_log_has_no_requests() -> None:
    assert parse_log("") == ()


@pytest.mark.parametrize("time", [0.0, 1795316223.0, 1795316223.25, 1795316223.123456])
def test_the_time_of_a_line_is_read_as_it_was_written(time: float) -> None:
    [request] = parse_log(stamp(time, "<unknown> GET /adv => 200 (../src/tangd.c:101)"))
    assert request.time == pytest.approx(time, abs=1e-6)
