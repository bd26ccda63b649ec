"""LUKS2 headers written without knowing a passphrase (pure): bytes in, bytes out.

Nothing in a header is authenticated but the volume key, by its digest. Whoever can write to the disk writes what they
like, with a right checksum. Each function here takes the beginning of a volume, at least `HEADER_BYTES`, and gives it
back forged::

    disk = attacker.forged("var", partial(without_material, keyslot=1))

Source: LUKS2 On-Disk Format Specification 1.1.3, 3 (metadata).
"""

import base64
import hashlib

from harness.luks2.header import Metadata, metadata, with_metadata
from harness.luks2.splitter import merge

_AREA_BYTES = 4096
_SALT = bytes(32)
_ITERATIONS = 1000
_NULL = "cipher_null-ecb"


def without_material(header: bytes, keyslot: int) -> bytes:
    """A keyslot whose key material is gone, so that its passphrase opens nothing; what leads to it stays."""
    return _filled(header, keyslot, metadata(header))


def without_binding(header: bytes, keyslot: int) -> bytes:
    """A keyslot is gone, and the tokens that led to it stay, and lead nowhere."""

    def change(found: Metadata) -> None:
        del found["keyslots"][str(keyslot)]
        for holder in (*found["tokens"].values(), *found["digests"].values()):
            holder["keyslots"] = [number for number in holder["keyslots"] if number != str(keyslot)]

    return _filled(with_metadata(header, change), keyslot, metadata(header))


def null_cipher(header: bytes, keyslot: int) -> bytes:
    """A look-alike: whatever passphrase a keyslot is given, it holds a volume key that is known, `null_key`.

    The keyslot's area is said to be encrypted by no cipher, and zeros stand there. Tokens and UUID stay.
    """
    key = null_key(header, keyslot)

    def change(found: Metadata) -> None:
        slot = found["keyslots"][str(keyslot)]
        slot["area"]["encryption"] = _NULL
        slot["kdf"] = {"type": "pbkdf2", "hash": "sha256", "iterations": _ITERATIONS, "salt": _base64(_SALT)}
        found["keyslots"] = {str(keyslot): slot}
        digest = hashlib.pbkdf2_hmac("sha256", key, _SALT, _ITERATIONS)
        found["digests"] = {
            "0": {
                "type": "pbkdf2",
                "keyslots": [str(keyslot)],
                "segments": list(found["segments"]),
                "hash": "sha256",
                "iterations": _ITERATIONS,
                "salt": _base64(_SALT),
                "digest": _base64(digest),
            }
        }

    return _filled(with_metadata(header, change), keyslot, metadata(header))


def null_key(header: bytes, keyslot: int) -> bytes:
    """What the anti-forensic splitter makes of zeros in a keyslot's area (LUKS1 specification 1.2.3, 2.4)."""
    slot = metadata(header)["keyslots"][str(keyslot)]
    return merge(bytes(slot["key_size"] * slot["af"]["stripes"]), slot["key_size"], slot["af"]["hash"])


def decryption_in_progress(header: bytes, hot_bytes: int) -> bytes:
    """It says that a decryption of the volume was interrupted, `hot_bytes` of its beginning being just at work.

    What CVE-2021-4122 did: the next who opens such a volume has it go on, and the data ends up on the disk in clear.
    There is no digest of this metadata, which cryptsetup requires since 2.4.3 (``online-reencrypt-v2``).
    """

    def change(found: Metadata) -> None:
        old = found["segments"]["0"]
        start, area = int(old["offset"]), _free_area(found)
        rest = {"offset": str(start + hot_bytes), "iv_tweak": str(int(old["iv_tweak"]) + hot_bytes // 512)}
        found["segments"] = {
            "0": {"type": "linear", "offset": str(start), "size": str(hot_bytes), "flags": ["in-reencryption"]},
            "1": {**old, **rest},
            "2": {**old, "flags": ["backup-previous"]},
            "3": {"type": "linear", "offset": str(start), "size": "dynamic", "flags": ["backup-final"]},
        }
        number = next(str(number) for number in range(32) if str(number) not in found["keyslots"])
        found["keyslots"][number] = {
            "type": "reencrypt",
            "key_size": 1,
            "mode": "decrypt",
            "direction": "forward",
            "area": {"type": "none", "offset": str(area), "size": str(_AREA_BYTES)},
        }
        for digest in found["digests"].values():
            if digest["segments"]:
                digest["segments"] = ["1", "2"]
        found["config"]["requirements"] = {"mandatory": ["online-reencrypt-v2"]}

    return with_metadata(header, change)


def _filled(header: bytes, keyslot: int, found: Metadata) -> bytes:
    """Zeros where the key material of a keyslot was."""
    area = found["keyslots"][str(keyslot)]["area"]
    start, size = int(area["offset"]), int(area["size"])
    return header[:start] + bytes(size) + header[start + size :]


def _free_area(found: Metadata) -> int:
    areas = (slot["area"] for slot in found["keyslots"].values())
    return max(int(area["offset"]) + int(area["size"]) for area in areas)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
