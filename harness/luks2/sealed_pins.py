"""What a header's tokens are bound to, read without any key: clevis's tree of pins, systemd's TPM2 tokens. Pure.

clevis keeps a pin's configuration in the protected header of its JWE (RFC 7515, 4; clevis-luks-common-functions), and
that of `sss` holds the JWEs of its children. systemd's tokens are flat JSON (systemd, cryptsetup-tokens/luks2.h).
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.luks2.header import LuksFormatError

_DEEPEST = 16


@dataclass(frozen=True)
class SealedPin:
    """A pin as a token has it.

    Attributes:
        kind: ``tpm2``, ``tang``, ``sss``, or the type of a token of systemd such as ``systemd-tpm2``.
        config: Its configuration, as clevis or systemd wrote it.
        children: Those that `sss` joins.
    """

    kind: str
    config: Mapping[str, Any]
    children: tuple["SealedPin", ...] = ()


def sealed_pin(token: Mapping[str, Any]) -> SealedPin:
    """The pin of one token of a header's metadata.

    Raises:
        LuksFormatError: It is a token of clevis, and not as clevis writes it.
    """
    if token.get("type") != "clevis":
        return SealedPin(str(token.get("type")), token)
    jwe = token.get("jwe")
    if not isinstance(jwe, Mapping) or not isinstance(jwe.get("protected"), str):
        raise LuksFormatError("a token of clevis has no JWE")
    return _of_jwe(jwe["protected"], 0)


def _of_jwe(protected: str, depth: int) -> SealedPin:
    """From the protected header of a JWE, base64url."""
    if depth > _DEEPEST:
        raise LuksFormatError(f"clevis's pins are nested deeper than {_DEEPEST}")
    try:
        header = json.loads(urlsafe_b64decode(protected + "=="))  # it is written without; too much does no harm
        clevis = header["clevis"]
        kind = str(clevis["pin"])
        config = dict(clevis[kind])
        children = config.pop("jwe", []) if kind == "sss" else []
        return SealedPin(kind, config, tuple(_of_jwe(child.partition(".")[0], depth + 1) for child in children))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LuksFormatError(f"the protected header of a JWE is not as clevis writes it: {error!r}") from error
