"""UEFI variables in the NVRAM of a machine that is off. Pure: the bytes of a file in, those of a changed one out.

What each change does to the next boot of a guest that is bound to PCRs (TCG PC Client Platform Firmware Profile,
3.3.4): Secure Boot's keys and databases are measured into PCR 7, boot entries and their order into PCR 1.

The variable store is edk2's; virt-firmware reads and writes it. Each function raises `UsageError` when the bytes hold
no variable store, or when what is added does not fit.
"""

import datetime
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from virt.firmware.efi import devpath, guids
from virt.firmware.efi.efivar import EfiVarList
from virt.firmware.varstore.edk2 import Edk2VarStore

from harness.errors import UsageError

_OWNER = guids.OvmfEnrollDefaultKeys  # "SignatureOwner" of what is enrolled; nothing checks it
_NOT_BEFORE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER = datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class SigningKey:
    """A key of Secure Boot with its self-signed certificate, both PEM."""

    certificate: bytes
    private_key: bytes


def new_key(common_name: str) -> SigningKey:
    """A new RSA-2048 key, which is what every UEFI firmware takes."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return SigningKey(certificate.public_bytes(pem), plain)


def variables(nvram: bytes) -> Mapping[str, bytes]:
    """All variables, by name."""
    return MappingProxyType({name: bytes(variable.data) for name, variable in _Store(nvram).get_varlist().items()})


def secure_boot_is_on(nvram: bytes) -> bool:
    """Whether firmware that has Secure Boot will enforce it: a platform key is enrolled and the switch is not off."""
    found = variables(nvram)
    return bool(found.get("PK")) and found.get("SecureBootEnable", b"\1") == b"\1"


def enable_secure_boot(nvram: bytes, owner: SigningKey | None = None, trusted: Sequence[bytes] = ()) -> bytes:
    """Turn Secure Boot on: images must be signed by `trusted` (PEM certificates).

    Args:
        nvram: All of the file.
        owner: Becomes platform key and key exchange key; a stranger by default, who also signs what is trusted.
        trusted: The whole of db; by default the owner's certificate.
    """
    owner = owner or new_key("unlock-lab owner")
    keys = {"PK": [owner.certificate], "KEK": [owner.certificate], "db": trusted or [owner.certificate]}

    def change(found: EfiVarList) -> None:
        for name, certificates in keys.items():
            variable = found.add_cert_prepare(name, replace=True)
            for certificate in certificates:
                variable.sigdb_add_cert_data(guids.parse_str(_OWNER), certificate)
        found.enable_secureboot()

    return _changed(nvram, change)


def disable_secure_boot(nvram: bytes) -> bytes:
    """Turn Secure Boot off as a person does in the firmware's menu, with the keys left in place."""
    return _changed(nvram, lambda found: found.set_bool("SecureBootEnable", False))


def enroll_db(nvram: bytes, certificate: bytes | None = None) -> bytes:
    """Enroll one more certificate (PEM; a new one by default) into db.

    Without a platform key this enforces nothing, but is measured all the same.
    """
    added = certificate or new_key("unlock-lab db").certificate
    return _changed(
        nvram, lambda found: found.add_cert_prepare("db").sigdb_add_cert_data(guids.parse_str(_OWNER), added)
    )


def update_dbx(nvram: bytes, digest: bytes | None = None) -> bytes:
    """Revoke an image, as an update of dbx does, by the SHA-256 of its Authenticode content (random by default)."""
    added = digest or os.urandom(32)
    return _changed(nvram, lambda found: found.add_hash("dbx", _OWNER, added.hex()))


def add_boot_entry(nvram: bytes, title: str = "unlock-lab", path: str = r"\EFI\unlock-lab\absent.efi") -> bytes:
    """Add a boot entry for a file on any disk, last in the order."""

    def change(found: EfiVarList) -> None:
        found.append_boot_order(found.add_boot_entry(title, devpath.DevicePath.filepath(path)))

    return _changed(nvram, change)


def boot_once(nvram: bytes, path: str, arguments: str) -> bytes:
    """Start a file on any disk at the next boot, with arguments, before the boot order is looked at.

    Source: UEFI specification 2.10, 3.1.3 (OptionalData of a load option) and 3.3 (BootNext).
    """

    def change(found: EfiVarList) -> None:
        data = (arguments + "\0").encode("utf-16-le")
        found.set_boot_next(found.add_boot_entry("unlock-lab once", devpath.DevicePath.filepath(path), data))

    return _changed(nvram, change)


class _Store(Edk2VarStore):  # type: ignore[misc]
    """virt-firmware's store over bytes in place of a file. Where that one would exit, this raises."""

    def __init__(self, nvram: bytes) -> None:
        self._nvram = nvram
        try:
            super().__init__("(bytes)")
        except (SystemExit, struct.error) as error:
            raise UsageError("this is no NVRAM file of edk2's: it holds no variable store") from error
        if self.end > len(nvram):
            raise UsageError("this is no NVRAM file of edk2's: its variable store is cut short")

    def readfile(self) -> None:
        self.filedata = self._nvram

    def packed(self, found: EfiVarList) -> bytes:
        try:
            written = self.bytes_varlist(found)
        except SystemExit as error:
            raise UsageError("the variables do not fit into the NVRAM any more") from error
        # The library's bytes_varstore fills up byte by byte, which takes seconds.
        return bytes((self.filedata[: self.start] + written).ljust(self.end, b"\xff") + self.filedata[self.end :])


def _changed(nvram: bytes, change: Callable[[EfiVarList], object]) -> bytes:
    store = _Store(nvram)
    found = store.get_varlist()
    change(found)
    return store.packed(found)
