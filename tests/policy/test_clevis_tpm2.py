"""What clevis's tpm2 pin is said to be, beyond its PCRs."""

import pytest

from harness.policy.pins import Tpm2Pin
from harness.policy.world import World

DIGEST, HASH = ("pcr_digest", "x"), ("hash", "sha1")


@pytest.mark.parametrize(
    ("pin", "why"),
    [
        (Tpm2Pin(), ""),
        (Tpm2Pin((7,)), ""),
        (Tpm2Pin(options=(DIGEST,)), ""),
        (
            Tpm2Pin((7,), options=(DIGEST,)),
            "its TPM seal is to a pcr_digest of the file's own, and which boot has that is not known",
        ),
    ],
)
def test_a_digest_of_the_files_own_is_not_predicted(pin: Tpm2Pin, why: str) -> None:
    """Without PCRs clevis does not look at it."""
    assert pin.unpredictable == why


def test_its_options_are_told() -> None:
    assert Tpm2Pin(options=(HASH, ("key", "rsa"))).described.endswith(", hash sha1, key rsa")


@pytest.mark.parametrize(
    ("pin", "never"),
    [
        (Tpm2Pin((7,), options=(HASH,)), True),
        (Tpm2Pin((7,), options=(("hash", "sha256"),)), False),
        (Tpm2Pin((7,), options=(("key", "sha1"),)), False),
        (Tpm2Pin((7,)), False),
        (Tpm2Pin(options=(HASH,)), False),
    ],
)
def test_what_is_sealed_under_another_hash_never_opens(pin: Tpm2Pin, never: bool) -> None:
    """clevis 20 seals under the hash that it is told, and asks under sha256; only where PCRs are asked for."""
    cause = pin.failure_cause(World(), headless=False)
    assert (cause is not None) == never
    warned = dict(pin.warnings()).get(
        "clevis 20 seals it to PCRs under the hash sha1 and asks under sha256: it never opens; with clevis 24 it does"
    )
    assert warned == ("clevis 20, clevis-decrypt-tpm2; docs/explanation/levels.md" if never else None)
    if cause:
        assert cause.why == "it is sealed under sha1, and asked for under sha256"
