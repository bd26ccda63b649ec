"""What a security key was asked, and what it answered, in words (pure).

Source: CTAP 2.1, 8.2 ("Status codes").
"""

from dataclasses import dataclass

OK, INVALID_COMMAND, INVALID_CBOR, NO_CREDENTIALS = 0x00, 0x01, 0x12, 0x2E
PIN_INVALID, PIN_BLOCKED, PIN_AUTH_INVALID, PIN_AUTH_BLOCKED = 0x31, 0x32, 0x33, 0x34
PIN_NOT_SET, PIN_REQUIRED = 0x35, 0x36
STATUS = {
    OK: "success",
    INVALID_COMMAND: "invalid command",
    INVALID_CBOR: "invalid CBOR",
    NO_CREDENTIALS: "no credentials",
    PIN_INVALID: "PIN invalid",
    PIN_BLOCKED: "PIN blocked",
    PIN_AUTH_INVALID: "PIN authentication invalid",
    PIN_AUTH_BLOCKED: "PIN authentication blocked until power cycle",
    PIN_NOT_SET: "PIN not set",
    PIN_REQUIRED: "PIN required",
}

REFUSALS = frozenset({NO_CREDENTIALS, PIN_INVALID, PIN_BLOCKED, PIN_AUTH_BLOCKED})
"""Statuses by which it keeps its secret from who asks wrongly. That a PIN is required is just said on the way."""


@dataclass(frozen=True)
class CtapExchange:
    """What the authenticator was asked, and what it answered.

    Attributes:
        command: Its name in the specification; ``getAssertion with hmac-secret`` gives a secret away.
        status: Of the answer.
    """

    command: str
    status: int

    def __str__(self) -> str:
        return f"{self.command} => {STATUS.get(self.status, hex(self.status))}"

    @property
    def gave_secret(self) -> bool:
        """Whether a secret was derived and handed out."""
        return self.command == "getAssertion with hmac-secret" and self.status == OK
