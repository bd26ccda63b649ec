"""The EFI system partition on the disk of a machine that is off: the harness signs there what the firmware starts.

qemu-img reads and writes the partition, mtools the files on it, sbsign(1) signs: no loop device, no root.
"""

import tempfile
from pathlib import Path

from harness import process
from harness.machine.nvram import SigningKey

_OFFSET = 2 * 2**20  # where every guest image of images/ has it
_BYTES = 128 * 2**20
_BOOT_IMAGE = "EFI/BOOT/BOOTX64.EFI"
_ADDONS = "EFI/BOOT/BOOTX64.EFI.extra.d"
_SECONDS = 60.0


def sign_boot_images(disk: Path, key: SigningKey) -> None:
    """Sign what the firmware starts from a disk, in place, and the addons of a UKI, which systemd-stub(7) loads.

    What they start in turn they check by other keys: shim knows Debian's.

    Args:
        disk: A qcow2 image that nobody uses; make an overlay of one that must stay as it is.
        key: Its certificate is to be in the firmware's db.

    Raises:
        HostError: A tool is missing, or the disk has no such partition or file.
    """
    with tempfile.TemporaryDirectory(prefix="unlock-lab-") as name:
        folder = Path(name)
        esp = folder / "esp.img"
        place = f"driver=raw,offset={_OFFSET},size={_BYTES},file.driver=qcow2,file.file.driver=file"
        place += f",file.file.filename={str(disk).replace(',', ',,')}"
        process.run(["qemu-img", "convert", "-q", "--image-opts", "-O", "raw", place, esp], timeout=_SECONDS)
        certificate, private_key = folder / "certificate.pem", folder / "key.pem"
        certificate.write_bytes(key.certificate)
        private_key.write_bytes(key.private_key)
        for path in (_BOOT_IMAGE, *_addons(esp)):
            unsigned, signed = folder / "unsigned.efi", folder / "signed.efi"
            process.run(["mcopy", "-n", "-o", "-i", esp, f"::/{path}", unsigned], timeout=_SECONDS)
            keys = ("--key", private_key, "--cert", certificate)
            process.run(["sbsign", *keys, "--output", signed, unsigned], timeout=_SECONDS)
            process.run(["mcopy", "-o", "-i", esp, signed, f"::/{path}"], timeout=_SECONDS)
        process.run(
            ["qemu-img", "convert", "-q", "-n", "-f", "raw", "--target-image-opts", esp, place], timeout=_SECONDS
        )


def _addons(esp: Path) -> list[str]:
    listed = process.run(["mdir", "-b", "-/", "-i", esp, "::/"], timeout=_SECONDS).splitlines()
    return [path for line in listed if (path := line.removeprefix("::/")).startswith(f"{_ADDONS}/")]
