"""What a token is bound to, as clevis and systemd write it into a header."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from harness.luks2.header import LuksFormatError
from harness.luks2.sealed_pins import SealedPin, sealed_pin

TANG = {"url": "http://tang.example", "adv": {}}


def protected(pin: str, config: dict[str, Any]) -> str:
    """The protected header of a JWE, as clevis writes it: base64url without padding."""
    header = {"alg": "dir", "clevis": {"pin": pin, pin: config}}
    return urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")


def sss(*children: str) -> str:
    return protected("sss", {"t": 1, "p": "prime", "jwe": [f"{child}.key.iv.text.tag" for child in children]})


def nested(levels: int) -> str:
    return protected("tpm2", {}) if not levels else sss(nested(levels - 1))


def of_clevis(jwe: object) -> dict[str, Any]:
    return {"type": "clevis", "keyslots": ["1"], "jwe": jwe}


def read(header: str) -> SealedPin:
    return sealed_pin(of_clevis({"protected": header}))


@pytest.mark.parametrize("length", range(4))
def test_a_pin_is_read_with_its_configuration(length: int) -> None:
    """Whatever padding base64 would have had."""
    config = {"hash": "sha256", "pcr_ids": "7" * length}
    assert read(protected("tpm2", config)) == SealedPin("tpm2", config)


def test_an_sss_is_read_with_the_pins_that_it_joins() -> None:
    tree = read(sss(protected("tang", TANG), sss(protected("tpm2", {}))))
    inner = SealedPin("sss", {"t": 1, "p": "prime"}, (SealedPin("tpm2", {}),))
    assert tree == SealedPin("sss", {"t": 1, "p": "prime"}, (SealedPin("tang", TANG), inner))
    assert read(protected("sss", {"t": 1})) == SealedPin("sss", {"t": 1})
    assert read(protected("tang", {"jwe": "x"})) == SealedPin("tang", {"jwe": "x"}), "only sss joins others"


def test_a_token_of_systemd_is_taken_as_it_is() -> None:
    token = {"type": "systemd-tpm2", "keyslots": ["2"], "tpm2-pcrs": [7]}
    assert sealed_pin(token) == SealedPin("systemd-tpm2", token)


@pytest.mark.parametrize("jwe", [None, "text", {}, {"protected": 1}])
def test_a_token_of_clevis_without_a_jwe_is_refused(jwe: object) -> None:
    with pytest.raises(LuksFormatError) as caught:
        sealed_pin(of_clevis(jwe))
    assert caught.value.what == "a token of clevis has no JWE"


@pytest.mark.parametrize("header", ["", "e30", "é", protected("tang", TANG)[:-5], sss("e30")])
def test_another_header_is_refused(header: str) -> None:
    with pytest.raises(LuksFormatError, match="the protected header of a JWE is not as clevis writes it: "):
        read(header)


def test_pins_within_pins_end_somewhere() -> None:
    assert read(nested(16)).kind == "sss"
    with pytest.raises(LuksFormatError, match="clevis's pins are nested deeper than 16"):
        read(nested(17))
