"""The keys of a Tang server: a folder of JWK files, as values.

A Tang server has at least one pair: a signing key (ES512), whose thumbprint clients trust at bind time, and an
exchange key (ECMR). Files whose name starts with a dot are not advertised but still answer recoveries (tang(8)).
"""

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, UsageError


@dataclass(frozen=True)
class TangKeys:
    """Names and contents of the JWK files, in order of their names."""

    files: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> "TangKeys":
        """The JWK files among these; other files are left out."""
        return cls(tuple(sorted((name, data) for name, data in files.items() if name.endswith(".jwk"))))

    @classmethod
    def load(cls, folder: Path) -> "TangKeys":
        """Read a folder.

        Raises:
            UsageError: It is not a folder, or has no keys.
        """
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder with Tang's keys")
        keys = cls.of({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})
        if not keys.files:
            raise UsageError(f"{folder} holds no .jwk file")
        return keys

    @property
    def advertised(self) -> tuple[str, ...]:
        """Names of the files that the server advertises."""
        return tuple(name for name, _ in self.files if not name.startswith("."))

    @property
    def hidden(self) -> tuple[str, ...]:
        """Names of the files that only answer recoveries: those that were rotated out."""
        return tuple(name for name, _ in self.files if name.startswith("."))

    def without_hidden(self, operation: str) -> "TangKeys":
        """The same without the hidden keys that are for an operation (RFC 7517, 4.3, ``key_ops``)."""
        hidden = [(name, data) for name, data in self.files if name in self.hidden]
        gone = [name for name, data in hidden if operation in json.loads(data).get("key_ops", ())]
        if not gone:
            raise UsageError(f"no key for {operation} was rotated out", hint="rotate_keys comes first")
        return TangKeys(tuple((name, data) for name, data in self.files if name not in gone))

    @property
    def thumbprint(self) -> str:
        """Thumbprint (RFC 7638, SHA-256) of the advertised signing key: what a clevis binding names.

        Raises:
            HarnessError: There is no advertised signing key.
        """
        for name, data in self.files:
            if not name.startswith("."):
                jwk = json.loads(data)
                if "verify" in jwk.get("key_ops", ()) or jwk.get("alg", "").startswith("ES"):
                    return thumbprint(jwk)
        raise HarnessError("these Tang keys have no advertised signing key", "\n".join(name for name, _ in self.files))

    @classmethod
    def from_tar(cls, chunks: Iterable[bytes]) -> "TangKeys":
        """What Docker packed, wherever in the archive the files lie."""
        files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    files[Path(entry.name).name] = content.read()
        return cls.of(files)


def thumbprint(jwk: Mapping[str, object]) -> str:
    """The SHA-256 thumbprint of an elliptic-curve JWK, base64url without padding (RFC 7638, section 3)."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
