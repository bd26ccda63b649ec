"""What the protocol of Tang gives away, without a guest: bindings as clevis makes them, opened by keys alone."""

import json
import secrets
import socket
import threading
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harness.attack import tang_exchange as exchange
from harness.errors import RigError
from harness.services.tang_keys import TangKeys, thumbprint


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk_of(point: ec.EllipticCurvePublicNumbers) -> dict[str, str]:
    return {"crv": "P-521", "kty": "EC", "x": encode(point.x.to_bytes(66)), "y": encode(point.y.to_bytes(66))}


@pytest.fixture(scope="module")
def server() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP521R1())


@pytest.fixture(scope="module")
def keys(server: ec.EllipticCurvePrivateKey) -> TangKeys:
    jwk = jwk_of(server.public_key().public_numbers())
    secret = encode(server.private_numbers().private_value.to_bytes(66))
    other = jwk_of(ec.generate_private_key(ec.SECP521R1()).public_key().public_numbers())
    return TangKeys.of(
        {"a.jwk": json.dumps({**other, "d": "AA"}).encode(), "b.jwk": json.dumps({**jwk, "d": secret}).encode()}
    )


@pytest.fixture(scope="module")
def binding(server: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    return bound(server, b"the passphrase")


def bound(server: ec.EllipticCurvePrivateKey, text: bytes) -> dict[str, str]:
    """As clevis-encrypt-tang makes it: ECDH-ES with the server's key, by a client that forgets its own secret."""
    client = ec.generate_private_key(ec.SECP521R1())
    x = client.exchange(ec.ECDH(), server.public_key())
    head = {
        "alg": "ECDH-ES",
        "enc": "A256GCM",
        "epk": jwk_of(client.public_key().public_numbers()),
        "kid": thumbprint(jwk_of(server.public_key().public_numbers())),
        "clevis": {"pin": "tang", "tang": {}},
    }
    return sealed(head, exchange.content_key(x), text)


def sealed(head: dict[str, Any], key: bytes, text: bytes) -> dict[str, str]:
    protected, nonce = encode(json.dumps(head).encode()), secrets.token_bytes(12)
    data = AESGCM(key).encrypt(nonce, text, protected.encode())
    parts = {"iv": nonce, "ciphertext": data[:-16], "tag": data[-16:]}
    return {"protected": protected, "encrypted_key": "", **{name: encode(part) for name, part in parts.items()}}


@pytest.fixture(scope="module")
def wrapped(server: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """As Ignition has clevis make it: a threshold of one over Tang alone."""
    key = secrets.token_bytes(32)
    share = bound(server, secrets.token_bytes(32) + key)
    words = ".".join(share[name] for name in ("protected", "encrypted_key", "iv", "ciphertext", "tag"))
    return sealed(
        {"alg": "dir", "enc": "A256GCM", "clevis": {"pin": "sss", "sss": {"t": 1, "jwe": [words]}}}, key, b"deep"
    )


def test_a_binding_is_opened_through_a_threshold_of_one(keys: TangKeys, wrapped: dict[str, str]) -> None:
    x = exchange.recover(keys, wrapped)
    assert exchange.unseal(wrapped, x) == b"deep"
    assert exchange.unseal(wrapped, x[::-1]) is None


def test_the_servers_keys_open_a_binding(keys: TangKeys, binding: dict[str, str]) -> None:
    assert exchange.unseal(binding, exchange.recover(keys, binding)) == b"the passphrase"


def test_no_public_point_opens_a_binding(keys: TangKeys, binding: dict[str, str]) -> None:
    for jwk in (exchange.header(binding)["epk"], *(json.loads(data) for _, data in keys.files)):
        assert exchange.unseal(binding, exchange.x_of(jwk)) is None


def test_other_keys_are_not_those_of_the_binding(keys: TangKeys, binding: dict[str, str]) -> None:
    with pytest.raises(RigError, match="not those of the binding"):
        exchange.recover(TangKeys(keys.files[:1]), binding)


@pytest.mark.parametrize("head", [b"{}", b"nonsense", b'{"clevis":{"pin":"sss","sss":{"t":2,"jwe":["",""]}}}'])
def test_what_is_no_binding_to_tang_alone_is_refused(head: bytes) -> None:
    with pytest.raises(RigError, match="no binding"):
        exchange.header({"protected": encode(head)})


def test_a_forged_reply_holds_another_point_of_the_same_curve(server: ec.EllipticCurvePrivateKey) -> None:
    genuine = exchange.reply_with(json.dumps(jwk_of(server.public_key().public_numbers())).encode())
    point = json.loads(exchange.body(exchange.forged(genuine)))
    assert exchange.x_of(point) != exchange.x_of(json.loads(exchange.body(genuine)))
    x, y = (int.from_bytes(exchange.decoded(point[name])) for name in ("x", "y"))
    assert ec.EllipticCurvePublicNumbers(x, y, ec.SECP521R1()).public_key(), "it is not on the curve"


def test_a_request_is_sent_again_byte_by_byte() -> None:
    reply, heard = exchange.reply_with(b"{}"), []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(100))
                for at in range(len(reply)):
                    connection.sendall(reply[at : at + 1])

        server = threading.Thread(target=serve)
        server.start()
        assert exchange.replay(socket.create_connection(listener.getsockname()), b"POST /rec/x") == reply
        server.join()
    assert heard == [b"POST /rec/x"]


def test_a_server_that_is_gone_is_an_error() -> None:
    near, far = socket.socketpair()
    far.close()
    with pytest.raises(RigError, match="sent again"):
        exchange.replay(near, b"POST /rec/x")
