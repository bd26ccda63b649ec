"""What a policy file writes for the address and the key of a server that the harness makes (pure).

``@TANG_URL@`` and ``@TANG_THUMBPRINT@`` mean the server called ``tang``, ``@TANG_URL:two@`` and
``@TANG_THUMBPRINT:two@`` the one called ``two``. A thumbprint may be left out beside a placeholder URL. A literal URL
of the guest's gateway (`GATEWAY`) with a placeholder thumbprint is a server that the harness provides at exactly that
port.
"""

import re
from dataclasses import dataclass

GATEWAY = "10.0.2.2"
"""The host as a guest on QEMU's user network sees it (qemu(1), -netdev user)."""

DEFAULT_SERVER = "tang"
"""The server that a placeholder without a name means."""

PLACEHOLDER = re.compile(r"@TANG_(?P<what>URL|THUMBPRINT)(?::(?P<server>[a-z][a-z0-9-]*))?@")


def placeholder(what: str, server: str) -> str:
    """The placeholder of a server's ``URL`` or ``THUMBPRINT``, as a policy file writes it."""
    return f"@TANG_{what}@" if server == DEFAULT_SERVER else f"@TANG_{what}:{server}@"


def placeholder_server(text: str, what: str) -> str | None:
    """The name of the server whose ``URL`` or ``THUMBPRINT`` `text` stands for, or None when it is literal."""
    match = PLACEHOLDER.fullmatch(text)
    return (match["server"] or DEFAULT_SERVER) if match and match["what"] == what else None


@dataclass(frozen=True)
class TangAddress:
    """Where a Tang server is, and which keys it has.

    Attributes:
        url: As the guest reaches it.
        thumbprint: Of its signing key (RFC 7638), as ``tang-show-keys`` prints it.
    """

    url: str
    thumbprint: str
