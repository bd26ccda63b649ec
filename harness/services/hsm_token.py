"""What an HSM holds: a token with one RSA key, as files and as values."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_LABEL, _PIN, _KEY = "label", "pin", "key.pem"


@dataclass(frozen=True)
class HsmToken:
    """What an HSM holds: one token with one RSA key.

    Attributes:
        label: Of the token.
        pin: Of the token.
        key: The private key (PKCS #8, PEM).
    """

    label: str
    pin: str
    key: bytes

    @classmethod
    def new(cls, label: str, pin: str) -> "HsmToken":
        """One with a new key."""
        key = rsa.generate_private_key(65537, 2048)
        return cls(label, pin, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @classmethod
    def load(cls, folder: Path) -> "HsmToken":
        """Read what `save` wrote."""
        return cls((folder / _LABEL).read_text(), (folder / _PIN).read_text(), (folder / _KEY).read_bytes())

    def save(self, folder: Path) -> None:
        """Write its files into a folder."""
        for name, data in self._files.items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(data)

    @property
    def _files(self) -> dict[str, bytes]:
        """Those that images/hsm/serve reads."""
        return {_LABEL: self.label.encode(), _PIN: self.pin.encode(), _KEY: self.key}

    def to_tar(self) -> bytes:
        """A tar archive of its files."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, data in self._files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o444  # the container holds nothing else
                archive.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()
