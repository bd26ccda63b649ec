"""The pins that a LUKS header's tokens describe."""

from typing import Any

import pytest

from harness.errors import UsageError
from harness.policy.pins import CryptenrollPin, Fido2Pin, Pkcs11Pin, TangPin, Tpm2Pin

NO_TOUCH = {"fido2-up-required": False}


@pytest.mark.parametrize(
    ("config", "crypttab", "pin"),
    [
        ({}, (), CryptenrollPin()),
        ({"tpm2-pcrs": [11, 7]}, (), CryptenrollPin(pcr_ids=(7, 11))),
        ({"tpm2_pubkey_pcrs": [11]}, (), CryptenrollPin(signed_pcr_ids=(11,))),
        ({"tpm2-pin": True}, (), CryptenrollPin(asks_pin=True)),
        ({"tpm2-pin": False}, (), CryptenrollPin()),
        ({"tpm2_pcrlock": True}, (), CryptenrollPin(pcrlock=True)),
        ({"tpm2_pcrlock": False}, (), CryptenrollPin()),
        ({}, ("luks", "tpm2-measure-pcr=yes"), CryptenrollPin(measures=True)),
        ({}, ("luks", "tpm2-device=auto"), CryptenrollPin()),
    ],
)
def test_a_token_of_systemd_in_a_tpm(config: dict[str, Any], crypttab: tuple[str, ...], pin: CryptenrollPin) -> None:
    """systemd 257, src/shared/tpm2-util.c, tpm2_make_luks2_json()."""
    assert CryptenrollPin.of_header(config, crypttab) == pin


@pytest.mark.parametrize(
    ("config", "asks_pin"),
    [(NO_TOUCH, True), ({**NO_TOUCH, "fido2-clientPin-required": False}, False)],
)
def test_a_security_key_is_asked_with_its_pin_unless_the_header_says_otherwise(
    config: dict[str, Any], asks_pin: bool
) -> None:
    assert Fido2Pin.of_header({**config, "fido2-uv-required": False}, ()) == Fido2Pin(asks_pin=asks_pin)
    assert Fido2Pin.of_header(config, ()) == Fido2Pin(asks_pin=asks_pin)


@pytest.mark.parametrize("config", [{}, {"fido2-up-required": True}, {**NO_TOUCH, "fido2-uv-required": True}])
def test_a_security_key_that_wants_a_person_is_not_predicted(config: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=r"^a FIDO2 security key that a person must touch: whether it is touched is not pr"
    ):
        Fido2Pin.of_header(config, ())


@pytest.mark.parametrize(
    ("config", "pin"),
    [
        ({}, Tpm2Pin()),
        ({"pcr_bank": "sha256"}, Tpm2Pin()),
        ({"pcr_ids": "7,1"}, Tpm2Pin((1, 7), "sha1")),
        ({"pcr_ids": [7], "pcr_bank": "sha256"}, Tpm2Pin((7,), "sha256")),
    ],
)
def test_a_token_of_clevis_in_a_tpm(config: dict[str, Any], pin: Tpm2Pin) -> None:
    """clevis-encrypt-tpm2(1): without pcr_bank, clevis 20 takes sha1."""
    assert Tpm2Pin.of_header(config, ()) == pin


@pytest.mark.parametrize(
    ("config", "pin"),
    [
        ({"url": "http://tang.example:8080/x"}, TangPin("tang.example:8080", "http://tang.example:8080/x")),
        ({"url": "tang.example"}, TangPin("tang.example", "tang.example")),
        ({}, TangPin("", "")),
    ],
)
def test_a_token_of_tang_is_called_after_its_host(config: dict[str, Any], pin: TangPin) -> None:
    assert TangPin.of_header(config, ()) == pin


def test_a_pkcs11_token_is_not_predicted() -> None:
    with pytest.raises(UsageError, match=r"^a PKCS#11 token, of which the header does not say whether it is a card"):
        Pkcs11Pin.of_header({}, ())


def test_what_names_pcrs_that_are_none_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        CryptenrollPin.of_header({"tpm2-pcrs": ["seven"]}, ())
    assert caught.value.what == "a token of the header names PCRs that are none"
    assert "seven" in caught.value.detail


@pytest.mark.parametrize(
    ("pin", "why"),
    [
        (TangPin("tang", "http://tang.example"), ""),
        (TangPin("tang", "@TANG_URL@"), ""),
        (TangPin("", ""), ""),
        (
            TangPin("https://tang.example", "https://tang.example"),
            "https://tang.example is no server of this laboratory",
        ),
    ],
)
def test_a_server_that_is_not_run_here_is_not_predicted(pin: TangPin, why: str) -> None:
    assert pin.unpredictable == why


def test_what_is_in_a_tpm_alone_is_predicted() -> None:
    assert CryptenrollPin().unpredictable == ""
