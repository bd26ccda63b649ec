"""What is wrong with the TPM of a controller host (pure).

Source: TCG TPM 2.0 Library, Part 2, 6.5.2 (command codes) and 6.6.3 (TPM_RC_COMMAND_CODE), Part 3, 30.2
(TPM2_GetCapability).
"""

import struct

from harness.machine.tpm_bus import HEADER, TpmTransport, code, error_response

_GET_CAPABILITY, _COMMANDS = 0x17A, 0x2
_ABSENT = frozenset({0x164, 0x193})  # TPM2_EncryptDecrypt, TPM2_EncryptDecrypt2
_COMMAND_INDEX = 0xFFFF
_RC_COMMAND_CODE = 0x143
_LIST = HEADER.size + 9  # after moreData, capability and count


def without_encrypt_decrypt(command: bytes, tpm: TpmTransport) -> bytes:
    """A TPM whose firmware has neither TPM2_EncryptDecrypt nor TPM2_EncryptDecrypt2: a `BusInterceptor`."""
    if code(command) in _ABSENT:
        return error_response(_RC_COMMAND_CODE)
    response = tpm.ask(command)
    asks = command[HEADER.size : HEADER.size + 4]
    if code(command) != _GET_CAPABILITY or code(response) or struct.unpack(">I", asks) != (_COMMANDS,):
        return response
    attributes = [value for (value,) in struct.iter_unpack(">I", response[_LIST:])]
    kept = [value for value in attributes if value & _COMMAND_INDEX not in _ABSENT]
    tag, _, status = HEADER.unpack_from(response)
    body = response[HEADER.size : _LIST - 4] + struct.pack(f">I{len(kept)}I", len(kept), *kept)
    return HEADER.pack(tag, HEADER.size + len(body), status) + body
