"""UEFI variables in the NVRAM of a machine that is off. Pure: the bytes of a file in, those of a changed one out.

What each change does to the next boot of a guest that is bound to PCRs (TCG PC Client Platform Firmware Profile,
3.3.4): Secure Boot's keys and databases are measured into PCR 7, boot entries and their order into PCR 1.

The variable store is edk2's; virt-firmware reads and writes it. Each function raises `UsageError` when the bytes hold
no variable store, or when what is added does not fit.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from virt.firmware.efi import devpath, guids
from virt.firmware.efi.efivar import EfiVarList
from virt.firmware.varstore.edk2 import Edk2VarStore

from harness.errors import UsageError

_OWNER = guids.OvmfEnrollDefaultKeys  # "SignatureOwner" of what is enrolled; nothing checks it


def variables(nvram: bytes) -> Mapping[str, bytes]:
    """All variables, by name."""
    return MappingProxyType({name: bytes(variable.data) for name, variable in _Store(nvram).get_varlist().items()})


def enable_secure_boot(nvram: bytes, owner: bytes, trusted: Sequence[bytes] = ()) -> bytes:
    """Turn Secure Boot on: images must be signed by `trusted` (PEM certificates).

    Args:
        nvram: All of the file.
        owner: A certificate (PEM), which becomes platform key and key exchange key.
        trusted: The whole of db; by default the owner's certificate.
    """
    keys = {"PK": [owner], "KEK": [owner], "db": trusted or [owner]}

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


def enroll_db(nvram: bytes, certificate: bytes) -> bytes:
    """Enroll one more certificate (PEM) into db.

    Without a platform key this enforces nothing, but is measured all the same.
    """
    return _changed(
        nvram, lambda found: found.add_cert_prepare("db").sigdb_add_cert_data(guids.parse_str(_OWNER), certificate)
    )


def update_dbx(nvram: bytes, digest: bytes) -> bytes:
    """Revoke an image, as an update of dbx does, by the SHA-256 of its Authenticode content."""
    return _changed(nvram, lambda found: found.add_hash("dbx", _OWNER, digest.hex()))


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
