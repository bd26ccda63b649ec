"""The attack on a SoftHSM2 token: files that a real one wrote, read without it."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding

from harness.attack.softhsm import Store, crack, passphrase, private_key

FILES = Path(__file__).parent / "softhsm-2.6.1.txt"
"""What `LIST_TOKENS` printed of a token with the PIN 2468 and one RSA key (softhsm2 2.6.1-3, OpenSSL 3.5)."""


@pytest.fixture(scope="module")
def store() -> Store:
    return Store.of(FILES.read_text())


def test_the_pin_is_found_by_trying(store: Store) -> None:
    found = crack(store, (f"{number:04}" for number in range(2460, 2480)))
    assert found
    assert found[0] == "2468"
    assert crack(store, ["0000", "24680", ""]) is None


def test_the_key_decrypts_what_was_encrypted_to_it(store: Store) -> None:
    found = crack(store, ["2468"])
    assert found
    key = private_key(store, found[1])
    secret = bytes(range(32))
    sealed = key.public_key().encrypt(secret, padding.PKCS1v15())
    token = json.dumps({"type": "systemd-pkcs11", "pkcs11-key": base64.b64encode(sealed).decode()})
    assert passphrase(key, token) == base64.b64encode(secret).decode()


def test_a_token_without_a_key_is_told(store: Store) -> None:
    with pytest.raises(ValueError, match="no RSA key"):
        private_key(Store(store.token, ()), bytes(32))
