"""Attestation on what real TPMs gave (recorded.json, by tests/attesting.py): the good is taken, all else named."""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate, load_pem_x509_certificate

from harness.attestation.certificate import flaw
from harness.attestation.credential import make_credential
from harness.attestation.structures import Attribute, PublicArea, read_public, read_quote
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
    assert verdict.differing[12].expected == expected[12] != verdict.differing[12].found == verdict.pcrs[12]
    assert f"PCR 12 is {verdict.pcrs[12]}, should be {expected[12]}" in str(verdict)


def test_an_expected_pcr_that_was_not_quoted_differs() -> None:
    verdict = judge(evidence("one"), identity("one").ak, nonce("one"), {10: "00" * 32})
    assert verdict.differing[10].found == "not quoted"


def test_every_pcr_that_differs_is_named() -> None:
    quoted = judge(evidence("one"), identity("one").ak, nonce("one")).pcrs
    verdict = judge(evidence("one"), identity("one").ak, nonce("one"), {**quoted, 0: "00", 7: "77"})
    assert verdict.detail == f"PCR 0 is {quoted[0]}, should be 00; PCR 7 is {quoted[7]}, should be 77"


def test_an_old_quote_is_refused() -> None:
    assert judge(evidence("one"), identity("one").ak, nonce("changed")).refusal is Refusal.NONCE


def test_another_machine_s_quote_is_refused() -> None:
    assert judge(evidence("two"), identity("one").ak, nonce("two")).refusal is Refusal.SIGNATURE


def test_values_of_another_quote_are_refused() -> None:
    lie = replace(evidence("changed"), values=evidence("one").values)
    assert judge(lie, identity("changed").ak, nonce("changed")).refusal is Refusal.VALUES


OWN = generate_private_key(SECP256R1())
OWN_AK = PublicArea(b"", 0, OWN.public_key(), 0)
VALUES = bytes(32) * len(PCRS)
NOTHING = Evidence(b"", OWN.sign(b"", ECDSA(SHA256())), b"")


def own_quote(
    *, nonce: bytes = b"nonce", values: bytes = VALUES, pcrs: tuple[int, ...] = PCRS, bank: int = 0xB, resets: int = 0
) -> Evidence:
    """What a TPM would say whose key is `OWN` (TPM 2.0 Library, Part 2, 10.12.8)."""
    selection = bank.to_bytes(2) + b"\3" + sum(1 << pcr for pcr in pcrs).to_bytes(3, "little")
    clock = bytes(8) + resets.to_bytes(4) + bytes(4 + 1 + 8)
    digest = sha256(values).digest()
    message = b"\xffTCG\x80\x18\0\0" + len(nonce).to_bytes(2) + nonce + clock + b"\0\0\0\1" + selection + b"\0\x20"
    return Evidence(message + digest, OWN.sign(message + digest, ECDSA(SHA256())), values)


def test_a_tpm_that_was_never_reset_is_as_good_as_any() -> None:
    assert str(judge(own_quote(), OWN_AK, b"nonce")) == "trusted"


@pytest.mark.parametrize(
    ("quote", "refusal", "detail"),
    [
        (own_quote(pcrs=(0, 7)), Refusal.SELECTION, "sha256:0 sha256:7"),
        (own_quote(pcrs=(7,), bank=0x4), Refusal.SELECTION, "sha1:7"),
        (own_quote(pcrs=(7,), bank=0x12), Refusal.SELECTION, "0x12:7"),
        (own_quote(nonce=b"\x01\x02"), Refusal.NONCE, "it is for 0102"),
        (own_quote(nonce=b""), Refusal.NONCE, "it is for none"),
        (own_quote(values=VALUES[32:]), Refusal.VALUES, ""),
        (own_quote(resets=3), Refusal.RESET_COUNT, "3 times, and 4 before"),
        (
            Evidence(b"", OWN.sign(b"", ECDSA(SHA256())), b""),
            Refusal.MALFORMED,
            "0 bytes, where there should be 4 or more",
        ),
    ],
)
def test_a_quote_that_is_signed_may_still_be_refused(quote: Evidence, refusal: Refusal, detail: str) -> None:
    verdict = judge(quote, OWN_AK, b"nonce", resets=4)
    assert (verdict.refusal, verdict.detail) == (refusal, detail)
    said = f"{refusal}: {detail}" if detail else str(refusal)
    assert (str(verdict), str(RefusedError(refusal, detail))) == (said, said)
    assert str(RefusedError(refusal)) == str(refusal)


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
    with pytest.raises(ValueError, match=r"^this was not made by a TPM: it does not begin with TPM_GENERATED_VALUE$"):
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


def test_what_was_found_is_told_with_the_refusal() -> None:
    good = registration("one")
    lies = {
        "a public area of its keys: 0 bytes, where there should be 2 or more": replace(good, ak=b""),
        f"attributes {int.from_bytes(good.ek[6:10]):#x}": replace(good, ak=good.ek),
        "it is another key's": replace(good, certificate=recorded("two")["certificate"]),
    }
    for detail, lie in lies.items():
        with pytest.raises(RefusedError) as refused:
            examine(lie, AUTHORITIES, AT)
        assert refused.value.detail == detail


def test_an_ek_is_no_attestation_key() -> None:
    good = registration("one")
    assert refusal(replace(good, ak=good.ek)) is Refusal.NO_ATTESTATION_KEY
    as_if = good.ek[:6] + good.ak[6:10] + good.ek[10:]
    with pytest.raises(RefusedError) as refused:
        examine(replace(good, ak=as_if), AUTHORITIES, AT)
    assert refused.value.detail == "it is not on the curve P-256"


def test_what_is_no_key_is_refused() -> None:
    good = registration("one")
    for lie in (b"", b"\0\0", good.ak[:-1], good.ak + b"\0", b"\0\x02\0\x08"):
        assert refusal(replace(good, ak=lie)) is Refusal.MALFORMED
    with pytest.raises(ValueError, match="too many"):
        read_public(good.ek + b"\0")


@pytest.mark.parametrize(
    ("field", "there", "instead", "why"),
    [
        ("ak", b"\0\x23\0\x0b", b"\0\x23\0\x0c", "a key whose names are made by the algorithm 0xc"),
        ("ak", b"\0\x23\0\x0b", b"\0\x08\0\x0b", "a key of the kind 0x8"),
        ("ak", b"\0\x03\0\x10\0\x20", b"\0\x04\0\x10\0\x20", "a key on the curve 0x4"),
        ("ek", b"\x08\0\0\0\0\0\x01\0", b"\x10\0\0\0\0\0\x01\0", "a modulus of 256 bytes in a key of 4096 bits"),
    ],
)
def test_why_a_key_is_not_taken(field: str, there: bytes, instead: bytes, why: str) -> None:
    area = recorded("one")[field]
    assert area.count(there) == 1
    with pytest.raises(ValueError, match=f"^{why}$"):
        read_public(area.replace(there, instead))


def test_only_a_key_that_has_children_protects_them() -> None:
    assert (identity("one").ek.symmetric_bits, identity("one").ak.symmetric_bits) == (128, 0)


def test_a_name_is_the_number_of_the_hash_and_the_hash() -> None:
    """Part 1, 16; 0xB is SHA-256."""
    assert identity("one").ak.name == b"\0\x0b" + sha256(recorded("one")["ak"][2:]).digest()


RSA = generate_rsa_key(65537, 2048)


@pytest.mark.parametrize(
    ("bits", "proof", "identity"),
    [
        (
            128,
            "3921d0203c33d746982bd5ece0c665192f7e00b5f548d4bd07cc675c19c1de31",
            "4b39601bb44d7ce31d4bd61cce2f7fe66d7b73df5120",
        ),
        (
            256,
            "e996b02d34ac7ab31063f2499001a6aa56d09b20615b0888e897ff677bbc54a2",
            "7d965dd4f3df572e72595ab28dfa8cd7f1d7f221bb6f",
        ),
    ],
)
def test_a_credential_is_what_a_tpm_expects(bits: int, proof: str, identity: str) -> None:
    """Integrity and encrypted secret as they were when a TPM took such ones; the seed is for the EK."""
    seed = bytes(range(32))
    ek = PublicArea(b"", 0, RSA.public_key(), bits)
    made = make_credential(ek, b"\0\x0b" + bytes(32), b"twenty bytes of news", seed)
    assert made[:66].hex() == f"badcc0de0000000100380020{proof}{identity}"
    assert made[66:68] == b"\1\0"
    assert RSA.decrypt(made[68:], OAEP(MGF1(SHA256()), SHA256(), b"IDENTITY\0")) == seed


def test_a_credential_is_made_for_an_ek_alone() -> None:
    found = identity("one")
    for key in (found.ak, PublicArea(b"", 0, RSA.public_key(), 0), replace(found.ak, symmetric_bits=128)):
        with pytest.raises(ValueError, match=r"^no RSA key that protects others with AES$"):
            make_credential(key, found.ak.name, b"secret", bytes(32))
    made = make_credential(found.ek, found.ak.name, b"secret", bytes(32))
    assert made.startswith(bytes.fromhex("badcc0de00000001"))
    assert len(made) == 8 + 2 + (2 + 32) + (2 + 6) + 2 + 256
