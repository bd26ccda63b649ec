"""Attestation on what real TPMs gave (recorded.json, by tests/attesting.py): the good is taken, all else named."""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.x509 import Certificate, load_pem_x509_certificate

from harness.attestation.certificate import flaw
from harness.attestation.credential import make_credential
from harness.attestation.structures import Attribute, read_public, read_quote
from harness.attestation.verdict import (
    PCRS,
    Evidence,
    Identity,
    Refusal,
    RefusedError,
    Registration,
    examine,
    judge,
)

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
AT = datetime(2030, 1, 1, tzinfo=UTC)
AUTHORITIES = tuple(load_pem_x509_certificate(pem.encode()) for pem in RECORDED["authorities"])


def recorded(name: str) -> dict[str, bytes]:
    return {field: base64.b64decode(value) for field, value in RECORDED[name].items()}


def registration(name: str) -> Registration:
    said = recorded(name)
    return Registration(said["certificate"], said["ek"], said["ak"])


def evidence(name: str) -> Evidence:
    said = recorded(name)
    return Evidence(said["message"], said["signature"], said["values"])


def identity(name: str) -> Identity:
    return examine(registration(name), AUTHORITIES, AT)


def nonce(name: str) -> bytes:
    return recorded(name)["nonce"]


def flipped(data: bytes) -> Iterator[bytes]:
    """The data with one bit of one byte turned, for each byte."""
    for place in range(len(data)):
        yield data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def refusal(registration: Registration, authorities: tuple[Certificate, ...] = AUTHORITIES) -> Refusal:
    with pytest.raises(RefusedError) as refused:
        examine(registration, authorities, AT)
    return refused.value.refusal


@pytest.mark.parametrize("name", ["one", "two", "changed"])
def test_a_good_quote_is_trusted(name: str) -> None:
    verdict = judge(evidence(name), identity(name).ak, nonce(name))
    assert verdict.trusted, str(verdict)
    assert tuple(verdict.pcrs) == PCRS


def test_the_ek_is_that_of_the_tpm_and_the_attestation_key_is_new_each_time() -> None:
    first, later, other = identity("one"), identity("changed"), identity("two")
    assert first.ek.name == later.ek.name != other.ek.name
    assert first.ak.name != later.ak.name


def test_a_reset_is_counted() -> None:
    before, after = (judge(evidence(name), identity(name).ak, nonce(name)) for name in ("one", "changed"))
    assert after.resets == before.resets + 1
    ak = identity("one").ak
    assert judge(evidence("one"), ak, nonce("one"), resets=before.resets).trusted
    assert judge(evidence("one"), ak, nonce("one"), resets=after.resets).refusal is Refusal.RESET_COUNT


def test_pcrs_that_differ_are_named_with_both_values() -> None:
    expected = judge(evidence("one"), identity("one").ak, nonce("one")).pcrs
    verdict = judge(evidence("changed"), identity("changed").ak, nonce("changed"), expected)
    assert verdict.refusal is Refusal.PCRS
    assert verdict.differing.keys() == {12}
    assert verdict.differing[12].should_be == expected[12] != verdict.differing[12].is_ == verdict.pcrs[12]
    assert f"PCR 12 is {verdict.pcrs[12]}, should be {expected[12]}" in str(verdict)


def test_an_expected_pcr_that_was_not_quoted_differs() -> None:
    verdict = judge(evidence("one"), identity("one").ak, nonce("one"), {10: "00" * 32})
    assert verdict.differing[10].is_ == "not quoted"


def test_an_old_quote_is_refused() -> None:
    assert judge(evidence("one"), identity("one").ak, nonce("changed")).refusal is Refusal.NONCE


def test_another_machine_s_quote_is_refused() -> None:
    assert judge(evidence("two"), identity("one").ak, nonce("two")).refusal is Refusal.SIGNATURE


def test_values_of_another_quote_are_refused() -> None:
    lie = replace(evidence("changed"), values=evidence("one").values)
    assert judge(lie, identity("changed").ak, nonce("changed")).refusal is Refusal.VALUES


@pytest.mark.parametrize("field", ["message", "signature", "values"])
def test_every_byte_of_a_quote_counts(field: str) -> None:
    good, ak = evidence("one"), identity("one").ak
    wanted = {"message": Refusal.SIGNATURE, "signature": Refusal.SIGNATURE, "values": Refusal.VALUES}[field]
    for lie in flipped(getattr(good, field)):
        assert judge(replace(good, **{field: lie}), ak, nonce("one")).refusal is wanted
    for cut in (b"", getattr(good, field)[:-1], getattr(good, field) + b"\0"):
        assert judge(replace(good, **{field: cut}), ak, nonce("one")).refusal is wanted


def test_every_byte_of_a_message_is_read() -> None:
    """Without the signature: what the structure says is as strict as the key."""
    message = evidence("one").message
    good = read_quote(message)
    ignored = range(6 + 2 + len(good.signer) + 2 + len(good.nonce), 6 + 2 + len(good.signer) + 2 + len(good.nonce) + 25)
    for place, lie in enumerate(flipped(message)):
        if place in ignored:
            continue  # clock, counts, firmware: any value may stand there
        with suppress(ValueError):
            assert read_quote(lie) != good
    for cut in range(len(message)):
        with pytest.raises(ValueError, match="bytes"):
            read_quote(message[:cut])
    with pytest.raises(ValueError, match="1 bytes too many"):
        read_quote(message + b"\0")


def test_what_no_tpm_made_is_no_quote() -> None:
    with pytest.raises(ValueError, match="not made by a TPM"):
        read_quote(b"\0" + evidence("one").message[1:])
    with pytest.raises(ValueError, match="no quote"):
        read_quote(b"\xffTCG\x80\x17" + evidence("one").message[6:])


@pytest.mark.parametrize("field", ["certificate", "ek", "ak"])
def test_every_byte_of_a_registration_counts(field: str) -> None:
    """Another attestation key is another name, so the secret of the activation cannot be read."""
    good = registration("one")
    for lie in flipped(getattr(good, field)):
        try:
            found = examine(replace(good, **{field: lie}), AUTHORITIES, AT)
        except RefusedError:
            continue
        assert field != "certificate"
        assert (found.ek.name, found.ak.name) != (identity("one").ek.name, identity("one").ak.name)


def test_an_ek_of_a_foreign_authority_is_refused() -> None:
    assert refusal(registration("foreign")) is Refusal.FOREIGN_EK


def test_a_certificate_of_another_ek_is_refused() -> None:
    assert refusal(replace(registration("one"), certificate=recorded("two")["certificate"])) is Refusal.FOREIGN_EK


def test_a_certificate_is_refused_after_its_time_and_by_other_authorities() -> None:
    key, certificate = identity("one").ek.key, recorded("one")["certificate"]
    assert not flaw(certificate, key, AUTHORITIES, AT)
    assert not flaw(certificate + b"\xff" * 100, key, AUTHORITIES, AT)
    assert "not valid at 2020" in flaw(certificate, key, AUTHORITIES, datetime(2020, 1, 1, tzinfo=UTC))
    assert "has not signed" in flaw(certificate, key, AUTHORITIES[1:], AT)
    assert "has not signed" in flaw(certificate, key, AUTHORITIES[::-1], AT)
    assert "no certificate" in flaw(b"", key, AUTHORITIES, AT)


@pytest.mark.parametrize("attribute", [Attribute.RESTRICTED, Attribute.SIGN, Attribute.FIXED_TPM, Attribute.DECRYPT])
def test_a_key_that_could_sign_what_no_tpm_made_is_no_attestation_key(attribute: int) -> None:
    good = registration("one")
    attributes = int.from_bytes(good.ak[6:10], "big") ^ attribute
    lie = good.ak[:6] + attributes.to_bytes(4, "big") + good.ak[10:]
    assert refusal(replace(good, ak=lie)) is Refusal.NO_ATTESTATION_KEY


def test_an_ek_is_no_attestation_key() -> None:
    good = registration("one")
    assert refusal(replace(good, ak=good.ek)) is Refusal.NO_ATTESTATION_KEY


def test_what_is_no_key_is_refused() -> None:
    good = registration("one")
    for lie in (b"", b"\0\0", good.ak[:-1], good.ak + b"\0", b"\0\x02\0\x08"):
        assert refusal(replace(good, ak=lie)) is Refusal.MALFORMED
    with pytest.raises(ValueError, match="too many"):
        read_public(good.ek + b"\0")


def test_a_credential_is_made_for_an_ek_alone() -> None:
    found = identity("one")
    with pytest.raises(ValueError, match="no RSA key"):
        make_credential(found.ak, found.ak.name, b"secret", bytes(32))
    made = make_credential(found.ek, found.ak.name, b"secret", bytes(32))
    assert made.startswith(bytes.fromhex("badcc0de00000001"))
    assert len(made) == 8 + 2 + (2 + 32) + (2 + 6) + 2 + 256
