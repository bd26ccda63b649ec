"""A FIDO2 authenticator in software: CTAP 2.0 with hmac-secret and PIN protocol 1, as much as opens a disk.

It is always touched: user presence is given. It knows credentials, and the secrets that hmac-secret derives from; the
machine never does. What it keeps is one file, so to copy that is to clone it.

Source: CTAP 2.1, 6 ("Authenticator API"), 6.5.6 ("PIN/UV Auth Protocol One"), 12.5 ("HMAC Secret Extension").
"""

import hashlib
import hmac
import json
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from harness.files import write_whole
from harness.machine import cbor
from harness.machine.ctap2_log import (
    INVALID_CBOR,
    INVALID_COMMAND,
    NO_CREDENTIALS,
    OK,
    PIN_AUTH_BLOCKED,
    PIN_AUTH_INVALID,
    PIN_BLOCKED,
    PIN_INVALID,
    PIN_NOT_SET,
    PIN_REQUIRED,
    STATUS,
    CtapExchange,
)

_AAGUID = b"unlock-lab fido2"
_CURVE = ec.SECP256R1()
_RETRIES = 8
_RETRIES_IN_A_ROW = 3

_MAKE_CREDENTIAL, _GET_ASSERTION, _GET_INFO, _CLIENT_PIN = 1, 2, 4, 6
_NAMES = {_MAKE_CREDENTIAL: "makeCredential", _GET_ASSERTION: "getAssertion", _GET_INFO: "getInfo"}
_PIN_COMMANDS = {1: "getPINRetries", 2: "getKeyAgreement", 5: "getPINToken"}

_Request = dict[int, Any]


class _Refused(Exception):  # noqa: N818 - an answer of the protocol, no error of the harness
    def __init__(self, status: int) -> None:
        super().__init__(STATUS[status])
        self.status = status


def manufacture(state: Path, pin: str | None) -> None:
    """Make a new authenticator.

    Args:
        state: The file that keeps it.
        pin: Its PIN, or None for one without.
    """
    write_whole(state, json.dumps({"credentials": {}, "counter": 0, "retries": _RETRIES, "pin": pin}), 0o600)


class Authenticator:
    """An authenticator that is powered.

    Args:
        state: The file that keeps it (`manufacture`).
    """

    def __init__(self, state: Path) -> None:
        self.exchanges: list[CtapExchange] = []
        self._path = state
        self._state: dict[str, Any] = json.loads(state.read_text())
        self._agreement = ec.generate_private_key(_CURVE)
        self._pin_token = secrets.token_bytes(32)
        self._wrong_in_a_row = 0

    def answer(self, message: bytes) -> bytes:
        """The answer to a CTAP2 message: a status, and CBOR on success."""
        name = _NAMES.get(message[0], f"command {message[0]:#x}") if message else "nothing"
        try:
            request: Any = cbor.decode(message[1:]) if len(message) > 1 else {}
            name = _name(message[0], request) or name
            said = self._command(message[0], request)
        except _Refused as refusal:
            self.exchanges.append(CtapExchange(name, refusal.status))
            return bytes([refusal.status])
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            self.exchanges.append(CtapExchange(name, INVALID_CBOR))
            return bytes([INVALID_CBOR])
        self.exchanges.append(CtapExchange(name, OK))
        return bytes([OK]) + cbor.encode(said)

    def _command(self, command: int, request: _Request) -> cbor.Value:
        match command:
            case 0x01:
                return self._make_credential(request)
            case 0x02:
                return self._get_assertion(request)
            case 0x04:
                return self._info()
            case 0x06:
                return self._client_pin(request)
        raise _Refused(INVALID_COMMAND)

    def _info(self) -> cbor.Value:
        options: dict[int | str, cbor.Value] = {"rk": False, "up": True, "plat": False}
        if self._state["pin"] is not None:
            options["clientPin"] = True
        return {1: ["FIDO_2_0"], 2: ["hmac-secret"], 3: _AAGUID, 4: options, 5: 1200, 6: [1]}

    def _make_credential(self, request: _Request) -> cbor.Value:
        party = request[2]["id"]
        verified = self._verified(request, 8, request[1])
        if self._state["pin"] is not None and not verified:
            raise _Refused(PIN_REQUIRED)
        key, identifier = ec.generate_private_key(_CURVE), secrets.token_bytes(32)
        self._state["credentials"][identifier.hex()] = {
            "party": party,
            "key": f"{key.private_numbers().private_value:x}",
            "secret": secrets.token_hex(32),
            "verified secret": secrets.token_hex(32),
        }
        extended = bool(request.get(6, {}).get("hmac-secret"))
        credential = _AAGUID + struct.pack(">H", len(identifier)) + identifier + cbor.encode(_cose(key, -7))
        extensions = cbor.encode({"hmac-secret": True}) if extended else b""
        data = self._authenticator_data(party, 0x41, verified, extended, credential + extensions)
        signature = key.sign(data + request[1], ec.ECDSA(hashes.SHA256()))
        return {1: "packed", 2: data, 3: {"alg": -7, "sig": signature}}

    def _get_assertion(self, request: _Request) -> cbor.Value:
        party, known = request[1], self._state["credentials"]
        offered = [descriptor["id"] for descriptor in request.get(3, [])]
        own = [each for each in offered if known.get(each.hex(), {}).get("party") == party]
        if not own:
            raise _Refused(NO_CREDENTIALS)
        verified = self._verified(request, 6, request[2])
        credential, extension = known[own[0].hex()], request.get(4, {}).get("hmac-secret")
        output = b""
        if extension:
            secret = bytes.fromhex(credential["verified secret" if verified else "secret"])
            output = cbor.encode({"hmac-secret": self._hmac_secret(extension, secret)})
        present = 0x01 if request.get(5, {}).get("up", True) else 0
        data = self._authenticator_data(party, present, verified, bool(extension), output)
        key = ec.derive_private_key(int(credential["key"], 16), _CURVE)
        signature = key.sign(data + request[2], ec.ECDSA(hashes.SHA256()))
        return {1: {"type": "public-key", "id": own[0]}, 2: data, 3: signature}

    def _hmac_secret(self, extension: _Request, secret: bytes) -> bytes:
        shared = self._shared_secret(extension[1])
        if not hmac.compare_digest(hmac.digest(shared, extension[2], "sha256")[:16], extension[3]):
            raise _Refused(PIN_AUTH_INVALID)
        salts = _aes(shared, extension[2], encrypt=False)
        outputs = (hmac.digest(secret, salts[at : at + 32], "sha256") for at in range(0, len(salts), 32))
        return _aes(shared, b"".join(outputs), encrypt=True)

    def _client_pin(self, request: _Request) -> cbor.Value:
        match request[2]:
            case 1:
                return {3: self._state["retries"]}
            case 2:
                return {1: _cose(self._agreement, -25)}
            case 5:
                return {2: self._token_for_pin(request)}
        raise _Refused(INVALID_COMMAND)

    def _token_for_pin(self, request: _Request) -> bytes:
        """A token for whoever knows the PIN: 8 tries until it is right once, 3 of them without a power cycle."""
        if self._state["pin"] is None:
            raise _Refused(PIN_NOT_SET)
        if not self._state["retries"]:
            raise _Refused(PIN_BLOCKED)
        if self._wrong_in_a_row >= _RETRIES_IN_A_ROW:
            raise _Refused(PIN_AUTH_BLOCKED)
        shared = self._shared_secret(request[3])
        right = hashlib.sha256(self._state["pin"].encode()).digest()[:16]
        self._state["retries"] -= 1
        if not hmac.compare_digest(_aes(shared, request[6], encrypt=False), right):
            self._wrong_in_a_row += 1
            self._agreement = ec.generate_private_key(_CURVE)
            self._save()
            if not self._state["retries"]:
                raise _Refused(PIN_BLOCKED)
            raise _Refused(PIN_AUTH_BLOCKED if self._wrong_in_a_row >= _RETRIES_IN_A_ROW else PIN_INVALID)
        self._state["retries"], self._wrong_in_a_row = _RETRIES, 0
        self._save()
        return _aes(shared, self._pin_token, encrypt=True)

    def _verified(self, request: _Request, key: int, client_data: bytes) -> bool:
        """Whether the request shows that the PIN was given."""
        if key not in request:
            return False
        if not hmac.compare_digest(hmac.digest(self._pin_token, client_data, "sha256")[:16], request[key]):
            raise _Refused(PIN_AUTH_INVALID)
        return True

    def _shared_secret(self, cose: Mapping[int, bytes]) -> bytes:
        x, y = int.from_bytes(cose[-2], "big"), int.from_bytes(cose[-3], "big")
        peer = ec.EllipticCurvePublicNumbers(x, y, _CURVE).public_key()
        return hashlib.sha256(self._agreement.exchange(ec.ECDH(), peer)).digest()

    def _authenticator_data(self, party: str, flags: int, verified: bool, extended: bool, rest: bytes) -> bytes:
        self._state["counter"] += 1
        self._save()
        flags |= (0x04 if verified else 0) | (0x80 if extended else 0)
        return hashlib.sha256(party.encode()).digest() + struct.pack(">BI", flags, self._state["counter"]) + rest

    def _save(self) -> None:
        write_whole(self._path, json.dumps(self._state), 0o600)


def _name(command: int, request: _Request) -> str:
    if command == _CLIENT_PIN:
        return _PIN_COMMANDS.get(request.get(2, 0), "clientPIN")
    extended = command == _GET_ASSERTION and "hmac-secret" in request.get(4, {})
    return _NAMES.get(command, "") + (" with hmac-secret" if extended else "")


def _cose(key: ec.EllipticCurvePrivateKey, algorithm: int) -> dict[int | str, cbor.Value]:
    """The public half as a COSE key (RFC 9053, 7.1)."""
    numbers = key.public_key().public_numbers()
    return {1: 2, 3: algorithm, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}


def _aes(key: bytes, data: bytes, *, encrypt: bool) -> bytes:
    """AES-256-CBC with an IV of zeros, as PIN protocol 1 has it."""
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(16)))
    context = cipher.encryptor() if encrypt else cipher.decryptor()
    return context.update(data) + context.finalize()
