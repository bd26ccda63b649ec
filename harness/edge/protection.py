"""Where a host stores its share, as ``protect-with-tpm`` has it, and what is said of that (pure).

Source: seed 002, "Direct TPM 2.0 Support", "Controlling TPM Protection per Site", "Alert". Log lines and the alert are
the document's, word for word.
"""

from dataclasses import dataclass
from enum import StrEnum

HANDLES = ("0x81000002", "0x81000003", "0x81000004", "0x81000005")
"""Where the TPM's key is: at the first that no foreign object has."""

USING_PARSEC = "Using Parsec service to protect host."
DEFERRING = "protect-with-tpm=require but TPM protection is unavailable; deferring unseal share write."


def using_tpm2_tools(handle: str) -> str:
    """What is logged when tpm2-tools protect a share."""
    return f"Using tpm2-tools to protect host (handle {handle})."


class ProtectWithTpm(StrEnum):
    """The setting of a site."""

    BEST_EFFORT = "best-effort"
    """The default."""
    REQUIRE = "require"
    NEVER = "never"


class Form(StrEnum):
    """How a share lies on a host's disk."""

    PLAIN = "plaintext"
    PARSEC = "parsec"
    TPM2_TOOLS = "tpm2-tools"


@dataclass(frozen=True)
class Found:
    """What a host found that could protect its share.

    Attributes:
        form: What can; None where nothing can. Parsec comes first where both can.
        handle: Of the TPM's key, where it is tpm2-tools.
        reason: Why nothing can.
    """

    form: Form | None
    handle: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Alert:
    """What is published on the topic ``system:alerts``.

    Attributes:
        hostname: Of the host that is affected.
        reason: A short one.
    """

    hostname: str
    reason: str
    name: str = "tpm-protection-unavailable"
    severity: str = "major"
    kind: str = "security"
    topic: str = "system:alerts"


@dataclass(frozen=True)
class Decision:
    """What a host does when it is to write its share.

    Attributes:
        form: How it writes it; None to write nothing yet.
        handle: Of the TPM's key, where it is tpm2-tools.
        log: What it says at level INFO.
        alert: Why it raises the alert, or "".
    """

    form: Form | None
    handle: str = ""
    log: str = ""
    alert: str = ""


def decide(setting: ProtectWithTpm, found: Found, *, operational: bool) -> Decision:
    """What a host does when it is to write its share.

    Args:
        setting: Of its site.
        found: What could protect the share.
        operational: Whether the host has been operational before; a new one may wait.
    """
    if setting is ProtectWithTpm.NEVER:
        return Decision(Form.PLAIN)
    if found.form is Form.PARSEC:
        return Decision(Form.PARSEC, log=USING_PARSEC)
    if found.form is Form.TPM2_TOOLS:
        return Decision(Form.TPM2_TOOLS, found.handle, using_tpm2_tools(found.handle))
    if setting is ProtectWithTpm.BEST_EFFORT:
        return Decision(Form.PLAIN)
    if operational:
        return Decision(Form.PLAIN, alert=found.reason)
    return Decision(None, log=DEFERRING)
