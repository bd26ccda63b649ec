"""What an HSM holds: a token with one RSA key, as files and as values."""

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
        """Read its files from a folder."""
        return cls((folder / _LABEL).read_text(), (folder / _PIN).read_text(), (folder / _KEY).read_bytes())

    @property
    def files(self) -> tuple[tuple[str, bytes], ...]:
        """Those that images/hsm/serve reads."""
        return (_LABEL, self.label.encode()), (_PIN, self.pin.encode()), (_KEY, self.key)
