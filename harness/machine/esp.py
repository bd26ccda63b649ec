"""What the firmware starts from the disk of a machine that is off, signed by sbsign(1) for Secure Boot."""

from pathlib import Path

from harness import process
from harness.machine.files import ESP, files
from harness.machine.signing import SigningKey
from harness.temporary import temporary_folder

BOOT_IMAGE = "/EFI/BOOT/BOOTX64.EFI"
"""What the firmware starts when no boot entry says otherwise (UEFI specification 2.10, 3.5.1.1)."""

_ADDONS = "/EFI/BOOT/BOOTX64.EFI.extra.d"
_SECONDS = 60.0


def sign_boot_images(disk: Path, key: SigningKey) -> None:
    """Sign what the firmware starts from a disk, in place, and the addons of a UKI, which systemd-stub(7) loads.

    What they start in turn they check by other keys: shim knows Debian's.

    Args:
        disk: A qcow2 image that nobody uses; make an overlay of one that must stay as it is.
        key: Its certificate is to be in the firmware's db.

    Raises:
        HostError: A tool is missing, or the disk has no such file.
        RigError: The disk has no EFI system partition.
    """
    with files(disk, ESP) as esp:
        for path in (BOOT_IMAGE, *esp.names(_ADDONS)):
            esp.write(path, signed(esp.read(path), key))


def signed(image: bytes, key: SigningKey) -> bytes:
    """An EFI binary with a signature added.

    Raises:
        HostError: sbsign is missing, or this is no EFI binary.
    """
    with temporary_folder() as folder:
        before, after = folder / "unsigned.efi", folder / "signed.efi"
        certificate, private_key = folder / "certificate.pem", folder / "key.pem"
        before.write_bytes(image)
        certificate.write_bytes(key.certificate)
        private_key.write_bytes(key.private_key)
        keys = ("--key", private_key, "--cert", certificate)
        process.run(["sbsign", *keys, "--output", after, before], timeout=_SECONDS)
        return after.read_bytes()
