"""The Control Tower: keeps each site's seal key, encrypted to the site, and gives it for a token.

Source: seed 002, the procedure before and after a restart; "Since a site bundle can only be unwrapped once (for
security reasons)".
"""

import hmac
from hashlib import sha256

from harness.errors import UsageError


class ControlTower:
    """A Control Tower.

    Attributes:
        online: Whether sites reach it.
    """

    def __init__(self) -> None:
        self.online = True
        self._kept: dict[bytes, bytes] = {}
        self._unwrapped: set[str] = set()

    def store(self, token: bytes, encrypted_seal_key: bytes) -> None:
        """Keep a site's encrypted seal key for who has this token.

        Raises:
            UsageError: It cannot be reached.
        """
        if not self.online:
            raise UsageError("the Control Tower cannot be reached, so no site can be set up")
        self._kept[sha256(token).digest()] = encrypted_seal_key

    def fetch(self, token: bytes) -> bytes | None:
        """The encrypted seal key for this token; None where it is none, or the tower cannot be reached."""
        asked = sha256(token).digest()
        kept = self._kept.items() if self.online else ()
        return next((found for known, found in kept if hmac.compare_digest(known, asked)), None)

    def unwrap(self, host: str) -> bool:
        """Whether a host gets its site bundle to unwrap: once."""
        if not self.online or host in self._unwrapped:
            return False
        self._unwrapped.add(host)
        return True

    def reallow_site_unwrap(self) -> None:
        """``supctl do system sites NAME reallow-site-unwrap``: each host of the site may unwrap once more."""
        self._unwrapped.clear()
