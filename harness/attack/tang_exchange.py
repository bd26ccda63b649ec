"""What Tang's protocol gives to whoever holds its keys, or has recorded its words.

A binding is a JWE for Tang's exchange key (ECDH-ES, RFC 7518, 4.6): what opens it is one point K = s·C of the server's
secret s and the client's public point C, which the JWE holds. Clevis has the server compute it blindly: it sends C + E
for a new E = e·G each time, gets s·(C + E) and takes e·S off. Source: tang(8), "Recovery"; clevis-decrypt-tang.
"""

import json
import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

from harness.errors import RigError
from harness.network.connection import message_end
from harness.services.tang_keys import TangKeys, thumbprint

_SECONDS = 20.0
_CHUNK = 65536
_KEY_BYTES = 32
_COMPACT = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
"""The parts of a JWE in one word (RFC 7516, 7.1)."""

_CURVES: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def recover(keys: TangKeys, jwe: Mapping[str, str]) -> bytes:
    """What opens a binding, computed from the server's secret keys: the x coordinate of K.

    Raises:
        RigError: None of these keys is the one that the binding names.
    """
    head = header(jwe)
    for _, data in keys.files:
        jwk = json.loads(data)
        if thumbprint(jwk) == head["kid"]:
            secret = ec.EllipticCurvePrivateNumbers(_number(jwk["d"]), _point(jwk)).private_key()
            return secret.exchange(ec.ECDH(), _point(head["epk"]).public_key())
    raise RigError(f"these keys are not those of the binding, which names {head['kid']}")


def unseal(jwe: Mapping[str, str], x: bytes) -> bytes | None:
    """What a binding holds, if this is the x coordinate of its K; else None."""
    if (inner := _only_share(jwe)) is None:
        return _decrypt(jwe, content_key(x))
    share = unseal(inner, x)
    # A share is a point of a polynomial, x and y; where one point suffices, y is the key (clevis, src/pins/sss).
    return _decrypt(jwe, share[len(share) // 2 :]) if share else None


def content_key(x: bytes) -> bytes:
    """The key that a binding is encrypted with, derived from the x coordinate of its K (RFC 7518, 4.6.2)."""
    info = _with_length(b"A256GCM") + _with_length(b"") * 2 + (_KEY_BYTES * 8).to_bytes(4, "big")
    return ConcatKDFHash(SHA256(), _KEY_BYTES, info).derive(x)


def header(jwe: Mapping[str, str]) -> dict[str, Any]:
    """The protected header of a binding: client's point ``epk``, key's name ``kid``, and what clevis keeps there.

    Of a threshold of one over Tang alone, as Ignition writes it, that is the header of its only share.

    Raises:
        RigError: It is no binding to Tang alone as clevis makes it.
    """
    found = _protected(_only_share(jwe) or jwe)
    if (found.get("alg"), found.get("enc"), _pin(found)) != ("ECDH-ES", "A256GCM", "tang"):
        raise RigError("that is no binding to Tang alone", json.dumps(found)[:400])
    return found


def x_of(jwk: Mapping[str, str]) -> bytes:
    """The x coordinate of a point, in full length (RFC 7518, 6.2.1.2)."""
    return decoded(jwk["x"])


def decoded(text: str) -> bytes:
    """What a member of a JWK or a JWE stands for: base64url without padding (RFC 7515, 2)."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def forged(reply: bytes) -> bytes:
    """The same reply with another point of the same curve in it, as a sender without the key would make it."""
    point = json.loads(body(reply))
    secret = ec.generate_private_key(_CURVES[point["crv"]])
    other = secret.public_key().public_numbers()
    size = len(x_of(point))
    coordinates = {name: _encode(number, size) for name, number in (("x", other.x), ("y", other.y))}
    return reply_with(json.dumps({**point, **coordinates}).encode())


def reply_with(content: bytes) -> bytes:
    """A whole HTTP reply that says this."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/jwk+json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(content),
        content,
    )


def replay(connection: socket.socket, request: bytes) -> bytes:
    """Send a recorded request again, byte by byte; returns the whole reply.

    Args:
        connection: To a server (`Tang.connect`). It is closed.
        request: As it was recorded.

    Raises:
        RigError: It did not answer.
    """
    reply = b""
    try:
        with connection:
            connection.settimeout(_SECONDS)
            connection.sendall(request)
            while message_end(reply) is None and (data := connection.recv(_CHUNK)):
                reply += data
    except OSError as error:
        raise RigError(f"nothing answered a request that was sent again: {error}") from error
    return reply


def body(message: bytes) -> bytes:
    """The body of an HTTP message."""
    return message.partition(b"\r\n\r\n")[2]


def _only_share(jwe: Mapping[str, str]) -> dict[str, str] | None:
    """The one that a threshold of one has, or None when it is no such thing."""
    found = _protected(jwe)
    if _pin(found) != "sss":
        return None
    threshold, shares = found["clevis"]["sss"]["t"], found["clevis"]["sss"]["jwe"]
    if threshold != 1 or len(shares) != 1:
        raise RigError(f"that is no binding to Tang alone: {threshold} of {len(shares)} pins")
    return dict(zip(_COMPACT, shares[0].split("."), strict=True))


def _protected(jwe: Mapping[str, str]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(decoded(jwe["protected"]))
    except (KeyError, ValueError) as error:
        raise RigError(f"that is no binding of clevis's: {error!r}") from error
    return found


def _pin(head: Mapping[str, Any]) -> object:
    return head.get("clevis", {}).get("pin")


def _decrypt(jwe: Mapping[str, str], key: bytes) -> bytes | None:
    sealed = decoded(jwe["ciphertext"]) + decoded(jwe["tag"])
    try:
        return AESGCM(key).decrypt(decoded(jwe["iv"]), sealed, jwe["protected"].encode())
    except InvalidTag:
        return None


def _point(jwk: Mapping[str, str]) -> ec.EllipticCurvePublicNumbers:
    return ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), _CURVES[jwk["crv"]])


def _number(text: str) -> int:
    return int.from_bytes(decoded(text), "big")


def _encode(number: int, size: int) -> str:
    return urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
