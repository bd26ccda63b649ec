"""Ed25519 keys for the harness's shell, the same for the same name (pure).

The shell listens on a virtio-serial port that only the hypervisor's owner can open, so the key keeps nobody out: it is
there because SSH wants one. Deriving it from a public text keeps the image reproducible. Never use it on a network.
"""

import base64
import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def key_pair(name: str) -> tuple[str, str]:
    """Return a private key in OpenSSH's file format, and its line for `authorized_keys`.

    The library's own writer of that format puts a random number into it; this one takes it from the name
    (PROTOCOL.key of OpenSSH: any number will do that stands there twice).
    """
    seed = hashlib.sha256(f"unlock-lab {name}".encode()).digest()
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    kind = b"ssh-ed25519"
    public_blob = _string(kind) + _string(public)
    check = hashlib.sha256(seed).digest()[:4]
    secret = check * 2 + _string(kind) + _string(public) + _string(seed + public) + _string(name.encode())
    secret += bytes(range(1, 1 + -len(secret) % 8))
    blob = (
        b"openssh-key-v1\0"
        + _string(b"none")
        + _string(b"none")
        + _string(b"")
        + struct.pack(">I", 1)
        + _string(public_blob)
        + _string(secret)
    )
    lines = base64.encodebytes(blob).decode().replace("\n", "")
    body = "\n".join(lines[at : at + 70] for at in range(0, len(lines), 70))
    private = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n"
    return private, f"ssh-ed25519 {base64.b64encode(public_blob).decode()} {name}\n"


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
