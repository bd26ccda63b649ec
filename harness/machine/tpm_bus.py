"""TPM bus interceptor: the protocol it implements, and the TPM commands it needs. Pure.

A `BusInterceptor` is called with each command that the machine sends and returns the response that the machine gets. It
decides what reaches the TPM: the command itself (`pass_on`), another one, several, or none; it may also pull the TPM's
reset pin (`TpmTransport.reset`). It is part of the hardware, ``Tpm(state, interceptor=…)``; `tpm_proxy` runs it.

Source: TCG TPM 2.0 Library, Part 1: Architecture, 18 (commands and responses), Part 3: Commands.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Protocol

from harness.attestation.structures import BANKS

HEADER = struct.Struct(">HII")
"""Tag, size of the whole, and a command's code or a response's (Part 1, 18.2)."""

STARTUP, SHUTDOWN, PCR_EXTEND, UNSEAL = 0x144, 0x145, 0x182, 0x15E
"""Codes of the commands that matter here (Part 2, 6.5.2 TPM_CC)."""

RC_FAILURE = 0x101
"""TPM_RC_FAILURE: the TPM is in failure mode, or says so (Part 2, 6.6)."""

RC_PCR_CHANGED = 0x128
"""TPM_RC_PCR_CHANGED: a PCR was extended while a policy session was open (Part 2, 6.6.3)."""

_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002  # Part 2, 6.9 TPM_ST
_REQUEST_1_2 = 0xC1  # TPM Main, Part 2, 6 TPM_TAG_RQU_COMMAND
_ENCRYPT = 1 << 6
_EMPTY_PASSWORD = bytes.fromhex("40000009 0000 00 0000")  # TPM_RS_PW, no nonce, no attributes, no password
_PASSWORD_ACCEPTED = bytes.fromhex("0000 01 0000")  # no nonce, continueSession, no HMAC


class TpmTransport(Protocol):
    """The TPM, for an interceptor."""

    def ask(self, command: bytes) -> bytes:
        """Send a whole command, and wait for the whole response."""

    def reset(self) -> None:
        """Pull the reset pin (_TPM_Init, Part 1, 12.2.2): its PCRs are as after power-on, and it awaits a Startup."""


BusInterceptor = Callable[[bytes, TpmTransport], bytes]
"""Given a whole command of the machine's and the TPM, returns the whole response that the machine gets."""


def pass_on(command: bytes, tpm: TpmTransport) -> bytes:
    """The interceptor that does nothing."""
    return tpm.ask(command)


def code(message: bytes) -> int:
    """What a command asks for, or how a response ended (0 for success)."""
    return int(HEADER.unpack_from(message)[2])


def startup() -> bytes:
    """TPM2_Startup(TPM_SU_CLEAR), what firmware says first (Part 3, 9.3)."""
    return _message(_NO_SESSIONS, STARTUP, bytes(2))


def shutdown() -> bytes:
    """TPM2_Shutdown(TPM_SU_CLEAR), what a kernel says last (Part 3, 9.4).

    Without it the next start counts as a failed authorization of whatever was used under DA protection (Part 1, 19.8).
    """
    return _message(_NO_SESSIONS, SHUTDOWN, bytes(2))


def pcr_extend(pcr: int, digests: Iterable[tuple[str, str]]) -> bytes:
    """TPM2_PCR_Extend (Part 3, 22.2), with the empty password that PCRs have.

    Args:
        pcr: Which.
        digests: Bank and digest (hex), as in `TpmExchange.digests`.
    """
    numbers = {bank: number for number, bank in BANKS.items()}
    values = [struct.pack(">H", numbers[bank]) + bytes.fromhex(digest) for bank, digest in digests]
    parameters = struct.pack(">I", len(values)) + b"".join(values)
    authorization = struct.pack(">I", len(_EMPTY_PASSWORD)) + _EMPTY_PASSWORD
    return _message(_SESSIONS, PCR_EXTEND, struct.pack(">I", pcr) + authorization + parameters)


def extend_1_2(pcr: int, digest: bytes) -> bytes:
    """TPM_Extend of a TPM 1.2 (TPM Main, Part 3, 16.1).

    Args:
        pcr: Which.
        digest: 20 bytes.
    """
    return _message(_REQUEST_1_2, 0x14, struct.pack(">I", pcr) + digest)


def success_response() -> bytes:
    """The response of a command that was authorized by an empty password, succeeded, and returns nothing."""
    return _message(_SESSIONS, 0, struct.pack(">I", 0) + _PASSWORD_ACCEPTED)


def error_response(response_code: int = RC_FAILURE) -> bytes:
    """The response of a command that failed."""
    return _message(_NO_SESSIONS, response_code, b"")


def encrypts_response(command: bytes) -> bool:
    """Whether a command that takes one handle asks, by a session of its, to have the response's parameter encrypted.

    Source: Part 1, 18.3 (authorization area) and Part 2, 8.4 TPMA_SESSION.
    """
    (tag,) = struct.unpack_from(">H", command)
    if tag != _SESSIONS:
        return False
    position = HEADER.size + 4
    (size,) = struct.unpack_from(">I", command, position)
    position += 4
    end = position + size
    while position < end:
        (nonce,) = struct.unpack_from(">H", command, position + 4)
        attributes = command[position + 6 + nonce]
        if attributes & _ENCRYPT:
            return True
        (proof,) = struct.unpack_from(">H", command, position + 7 + nonce)
        position += 9 + nonce + proof
    return False


def unsealed(command: bytes, response: bytes) -> bytes | None:
    """The data that a TPM2_Unseal brought over the bus, as it stands there; None if this is none, or it failed.

    Under a session that encrypts parameters what stands there is a cipher text (Part 1, 19.2). Source: Part 3, 12.7:
    after the header the size of the parameters (sealed objects always take a session), then a TPM2B_SENSITIVE_DATA.
    """
    if code(command) != UNSEAL or code(response):
        return None
    (size,) = struct.unpack_from(">H", response, HEADER.size + 4)
    return response[HEADER.size + 6 : HEADER.size + 6 + size]


def _message(tag: int, number: int, body: bytes) -> bytes:
    return HEADER.pack(tag, HEADER.size + len(body), number) + body
