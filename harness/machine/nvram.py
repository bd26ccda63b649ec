"""UEFI variables in a file of NVRAM, changed while the machine is off. Pure, but for `edited`: bytes in, bytes out.

What each change does to the next boot of a guest that is bound to PCRs (TCG PC Client Platform Firmware Profile,
3.3.4): Secure Boot's keys and databases are measured into PCR 7, boot entries and their order into PCR 1.

The variable store is edk2's; virt-firmware reads and writes it.
"""

import datetime
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from virt.firmware.efi import devpath, guids
from virt.firmware.efi.efivar import EfiVarList
from virt.firmware.varstore.edk2 import Edk2VarStore

from harness.errors import UsageError

Change = Callable[[bytes], bytes]

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


def edited(nvram: Path, to: Path, *changes: Change) -> Path:
    """Write a changed copy of an NVRAM file, leaving the file as it is; returns `to`.

    Raises:
        UsageError: It is no NVRAM file, or what is added does not fit.
    """
    data = nvram.read_bytes()
    for change in changes:
        data = change(data)
    to.write_bytes(data)
    return to


def variables(nvram: bytes) -> Mapping[str, bytes]:
    """All variables, by name."""
    return MappingProxyType({name: bytes(variable.data) for name, variable in _Store(nvram).get_varlist().items()})


def secure_boot_is_on(nvram: bytes) -> bool:
    """Whether firmware that has Secure Boot will enforce it: a platform key is enrolled and the switch is not off."""
    found = variables(nvram)
    return bool(found.get("PK")) and found.get("SecureBootEnable", b"\1") == b"\1"


def with_secure_boot(owner: SigningKey, *trusted: bytes) -> Change:
    """Turn Secure Boot on: `owner` becomes PK and KEK, and images must be signed by `trusted` (PEM)."""

    def change(found: EfiVarList) -> None:
        for name, certificates in (("PK", [owner.certificate]), ("KEK", [owner.certificate]), ("db", trusted)):
            variable = found.add_cert_prepare(name, replace=True)
            for certificate in certificates:
                variable.sigdb_add_cert_data(guids.parse_str(_OWNER), certificate)
        found.enable_secureboot()

    return _changed(change)


def with_secure_boot_off() -> Change:
    """Turn Secure Boot off as a person does in the firmware's menu, keys left in place."""
    return _changed(lambda found: found.set_bool("SecureBootEnable", False))


def with_db_certificate(certificate: bytes) -> Change:
    """Enroll one more certificate (PEM) into db. Without a platform key this enforces nothing, but is measured."""

    def change(found: EfiVarList) -> None:
        found.add_cert_prepare("db").sigdb_add_cert_data(guids.parse_str(_OWNER), certificate)

    return _changed(change)


def with_dbx_hash(digest: bytes) -> Change:
    """Revoke an image by the SHA-256 of its Authenticode content (32 bytes), as an update of dbx does."""
    return _changed(lambda found: found.add_hash("dbx", _OWNER, digest.hex()))


def with_boot_entry(title: str, path: str) -> Change:
    r"""Add a boot entry for a file on any disk (as in ``\EFI\other\boot.efi``), last in the order."""

    def change(found: EfiVarList) -> None:
        found.append_boot_order(found.add_boot_entry(title, devpath.DevicePath.filepath(path)))

    return _changed(change)


def boot_order(nvram: bytes) -> tuple[int, ...]:
    """The numbers of the boot entries, in the order in which they are tried."""
    data = variables(nvram).get("BootOrder", b"")
    return struct.unpack(f"<{len(data) // 2}H", data)


def with_boot_order(order: Sequence[int]) -> Change:
    """Try boot entries in another order."""

    def change(found: EfiVarList) -> None:
        (found.get("BootOrder") or found.create("BootOrder")).set_boot_order(order)

    return _changed(change)


class _Store(Edk2VarStore):  # type: ignore[misc]
    """virt-firmware's store over bytes in place of a file. Where that one would exit, this raises."""

    def __init__(self, nvram: bytes) -> None:
        self._nvram = nvram
        try:
            super().__init__("(bytes)")
        except (SystemExit, struct.error) as error:
            raise UsageError("this is no NVRAM file of edk2's: it holds no variable store") from error

    def readfile(self) -> None:
        self.filedata = self._nvram

    def packed(self, found: EfiVarList) -> bytes:
        try:
            return bytes(self.bytes_varstore(found))
        except SystemExit as error:
            raise UsageError("the variables do not fit into the NVRAM any more") from error


def _changed(change: Callable[[EfiVarList], object]) -> Change:
    def apply(nvram: bytes) -> bytes:
        store = _Store(nvram)
        found = store.get_varlist()
        change(found)
        return store.packed(found)

    return apply
