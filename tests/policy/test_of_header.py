"""What a pin is by the header of a volume that somebody else made."""

from typing import Any

import pytest

from harness.errors import UsageError
from harness.policy.pins import CryptenrollPin, Fido2Pin

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
