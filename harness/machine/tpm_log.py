"""What the TPM was asked and what it answered, read from swtpm's log (``--log level=2``). Pure.

swtpm dumps each command (``SWTPM_IO_Read``) and response (``SWTPM_IO_Write``) whole, in hexadecimal. Only the header of
each, and the digests that PCRs are extended with, leave this module: parameters can hold keys and unsealed secrets.
"""

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from harness.attestation.structures import BANKS
from harness.machine.tpm_bus import HEADER, PCR_EXTEND, STARTUP

# TCG TPM 2.0 Library, Part 2: Structures, 6.5.2 TPM_CC
_COMMANDS = {
    0x11F: "NV_UndefineSpaceSpecial",
    0x120: "EvictControl",
    0x121: "HierarchyControl",
    0x122: "NV_UndefineSpace",
    0x126: "Clear",
    0x127: "ClearControl",
    0x129: "HierarchyChangeAuth",
    0x12A: "NV_DefineSpace",
    0x12B: "PCR_Allocate",
    0x12E: "SetPrimaryPolicy",
    0x131: "CreatePrimary",
    0x134: "NV_Increment",
    0x135: "NV_SetBits",
    0x136: "NV_Extend",
    0x137: "NV_Write",
    0x138: "NV_WriteLock",
    0x139: "DictionaryAttackLockReset",
    0x13A: "DictionaryAttackParameters",
    0x13C: "PCR_Event",
    0x13D: "PCR_Reset",
    0x13E: "SequenceComplete",
    0x142: "IncrementalSelfTest",
    0x143: "SelfTest",
    0x144: "Startup",
    0x145: "Shutdown",
    0x146: "StirRandom",
    0x147: "ActivateCredential",
    0x148: "Certify",
    0x149: "PolicyNV",
    0x14E: "NV_Read",
    0x14F: "NV_ReadLock",
    0x150: "ObjectChangeAuth",
    0x151: "PolicySecret",
    0x153: "Create",
    0x154: "ECDH_ZGen",
    0x155: "HMAC",
    0x156: "Import",
    0x157: "Load",
    0x158: "Quote",
    0x159: "RSA_Decrypt",
    0x15B: "HMAC_Start",
    0x15C: "SequenceUpdate",
    0x15D: "Sign",
    0x15E: "Unseal",
    0x160: "PolicySigned",
    0x161: "ContextLoad",
    0x162: "ContextSave",
    0x163: "ECDH_KeyGen",
    0x164: "EncryptDecrypt",
    0x165: "FlushContext",
    0x167: "LoadExternal",
    0x168: "MakeCredential",
    0x169: "NV_ReadPublic",
    0x16A: "PolicyAuthorize",
    0x16B: "PolicyAuthValue",
    0x16C: "PolicyCommandCode",
    0x16E: "PolicyCpHash",
    0x171: "PolicyOR",
    0x173: "ReadPublic",
    0x174: "RSA_Encrypt",
    0x176: "StartAuthSession",
    0x177: "VerifySignature",
    0x17A: "GetCapability",
    0x17B: "GetRandom",
    0x17C: "GetTestResult",
    0x17D: "Hash",
    0x17E: "PCR_Read",
    0x17F: "PolicyPCR",
    0x180: "PolicyRestart",
    0x181: "ReadClock",
    0x182: "PCR_Extend",
    0x185: "EventSequenceComplete",
    0x186: "HashSequenceStart",
    0x189: "PolicyGetDigest",
    0x18A: "TestParms",
    0x18C: "PolicyPassword",
    0x192: "PolicyAuthorizeNV",
}
_COMMANDS_1_2 = {
    0x0A: "OIAP",
    0x0B: "OSAP",
    0x0D: "TakeOwnership",
    0x14: "Extend",
    0x15: "PCRRead",
    0x17: "Seal",
    0x18: "Unseal",
    0x41: "LoadKey2",
    0x46: "GetRandom",
    0x50: "SelfTestFull",
    0x53: "ContinueSelfTest",
    0x5B: "OwnerClear",
    0x65: "GetCapability",
    0x7C: "ReadPubek",
    0x98: "SaveState",
    0x99: "Startup",
    0xBA: "FlushSpecific",
}
"""Those that a boot and its owner send. Source: TCG TPM Main, Part 2: Structures, 17 (ordinals)."""

_EXTEND_1_2, _SHA1_BYTES = 0x14, 20
_PCR_RESET = 0x13D
_UINT16, _UINT32 = struct.Struct(">H"), struct.Struct(">I")
_TPM_2_TAGS = (0x8001, 0x8002)  # without and with sessions, Part 2, 6.9 TPM_ST
_STARTS = (STARTUP, 0x99)
_DUMP = re.compile(
    r"^ *SWTPM_IO_(?P<way>Read|Write): length (?P<length>\d{1,9})\n(?P<bytes>(?:^ *(?:[0-9A-Fa-f]{2} ?)+\n)*)", re.M
)


@dataclass(frozen=True)
class TpmExchange:
    """A command and its response, without what either carried.

    Attributes:
        command: Its name without ``TPM2_`` (1.2: ``TPM_``), or the code in hexadecimal for one that is not known.
        code: Its number.
        response: 0 for success, else an error (TCG TPM 2.0 Library, Part 2, 6.6 TPM_RC): 0x99d is a policy that
            does not hold, 0x1df a sealed object of another TPM, 0x921 lockout. Of a 1.2 (TPM Main, Part 2, 16): 0x18 is
            that PCRs have changed, 0x21 a key of another TPM.
        pcr: What PCR_Extend (1.2: Extend) extended or PCR_Reset reset.
        digests: Bank and digest (hex) of each value that PCR_Extend extended it with.
    """

    command: str
    code: int
    response: int
    pcr: int | None = None
    digests: tuple[tuple[str, str], ...] = ()

    @property
    def full_name(self) -> str:
        """Its command as the specifications call it; a 1.2 counts its commands below 0x100."""
        return f"{'TPM' if self.code < 0x100 else 'TPM2'}_{self.command}"

    @property
    def ok(self) -> bool:
        """Whether the TPM did it."""
        return self.response == 0

    def __str__(self) -> str:
        target = "" if self.pcr is None else f" {self.pcr}"
        digests = "".join(f" {bank}:{digest}" for bank, digest in self.digests)
        return f"{self.command}{target}{digests} -> {f'{self.response:#x}' if self.response else 'success'}"


def in_failure_mode(text: str) -> bool:
    """Whether a log says that the TPM failed: it could not write its state, for one (libtpms, TPM2_Process).

    Its answers do not tell: TPM_RC_FAILURE is also what one without a clock says to TPM2_ReadClock, in every boot.
    """
    return re.search(r"^libtpms/tpm2: .*\bEntered failure mode\b", text, re.MULTILINE) is not None


def torn(text: str) -> bool:
    """Whether something is missing in the middle of a log: half a dump, or a response to nothing.

    swtpm passes over what it cannot write. That a log ends in the middle of a dump is no tear: more is to come.
    """
    dumps = list(_DUMP.finditer(text))
    half = any(len(bytes.fromhex(dump["bytes"])) != int(dump["length"]) for dump in dumps[:-1])
    ways = ["Write", *(dump["way"] for dump in dumps)]
    return half or ("Write", "Write") in pairwise(ways)


def decode_log(text: str) -> tuple[TpmExchange, ...]:
    """The exchanges in a log, in order. A last command that has no answer yet is left out."""
    return tuple(_exchanges(text))


def decode(command: bytes, answer: bytes) -> TpmExchange:
    """What of a whole command and its whole response may be told."""
    tag, _, code = HEADER.unpack_from(command)
    (_, _, response) = HEADER.unpack_from(answer)
    if tag not in _TPM_2_TAGS:
        return _exchange_1_2(command, code, response)
    name = _COMMANDS.get(code, f"{code:#x}")
    if code == PCR_EXTEND:
        try:
            digests = tuple(_extended(command))
        except struct.error:  # a guest sent a command that ends early, which the TPM refuses
            digests = ()
        return TpmExchange(name, code, response, _handle(command), digests)
    if code == _PCR_RESET:
        return TpmExchange(name, code, response, _handle(command))
    return TpmExchange(name, code, response)


def replay_pcrs(exchanges: Iterable[TpmExchange], bank: str = "sha256") -> dict[int, str]:
    """The PCRs (hex) that the extends since the last start add up to; those that were never extended are left out."""
    values: dict[int, str] = {}
    for exchange in exchanges:
        if not exchange.ok:
            continue
        if exchange.code in _STARTS:
            values.clear()
        elif exchange.code == _PCR_RESET and exchange.pcr is not None:
            values.pop(exchange.pcr, None)
        elif exchange.pcr is not None:
            for digest in (digest for name, digest in exchange.digests if name == bank):
                before = values.get(exchange.pcr) or _at_start(exchange.pcr, bank).hex()
                values[exchange.pcr] = hashlib.new(bank, bytes.fromhex(before + digest)).hexdigest()
    return values


def _at_start(pcr: int, bank: str) -> bytes:
    """What a PCR is before it is extended: all ones for those of a dynamic launch, else zeros."""
    return (b"\xff" if 17 <= pcr <= 22 else b"\0") * hashlib.new(bank).digest_size


def _exchange_1_2(command: bytes, code: int, response: int) -> TpmExchange:
    """The same of a TPM 1.2, whose Extend names one digest (TPM Main, Part 3: Commands, 16.1)."""
    name = _COMMANDS_1_2.get(code, f"{code:#x}")
    if code != _EXTEND_1_2:
        return TpmExchange(name, code, response)
    start = HEADER.size + 4
    return TpmExchange(name, code, response, _handle(command), (("sha1", command[start : start + _SHA1_BYTES].hex()),))


def _exchanges(text: str) -> Iterator[TpmExchange]:
    command: bytes | None = None
    for dump in _DUMP.finditer(text):
        data = bytes.fromhex(dump["bytes"])
        if len(data) != int(dump["length"]) or len(data) < HEADER.size:
            continue  # the log ends in the middle of it
        if dump["way"] == "Read":
            command = data
        elif command is not None:
            yield decode(command, data)
            command = None


def _handle(command: bytes) -> int | None:
    """The first handle; None where a guest sent a command that ends before it."""
    if len(command) < HEADER.size + 4:
        return None
    return int(_UINT32.unpack_from(command, HEADER.size)[0])


def _extended(command: bytes) -> Iterator[tuple[str, str]]:
    """The digests of a PCR_Extend: after handle, size of authorization, authorization (Part 3, 22.2)."""
    (authorization,) = _UINT32.unpack_from(command, HEADER.size + 4)
    position = HEADER.size + 8 + authorization
    (count,) = _UINT32.unpack_from(command, position)
    position += 4
    for _ in range(count):
        (algorithm,) = _UINT16.unpack_from(command, position)
        bank = BANKS.get(algorithm)
        if bank is None:
            return  # its length is not known, so neither is where the next one starts
        end = position + 2 + hashlib.new(bank).digest_size
        yield bank, command[position + 2 : end].hex()
        position = end
