"""Builds what the folders of images/ describe: guest images and firmware, each once.

A guest image is kept under a hash of all that its build reads (the recipe's folder, the shared build, the command line,
the state of Debian's archive), so that a changed input is never served stale. ``images/README.md`` says how to write a
recipe.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from harness import process
from harness.cache import EVERYBODY, build_once, digest
from harness.host.slots import machine_slot
from harness.images import archive, build
from harness.images.keys import key_pair
from harness.images.recipe import FirmwareRecipe, Recipe, firmware_recipe, guest_recipe
from harness.paths import IMAGES
from harness.policy.world import Stack
from harness.progress import Progress
from harness.temporary import temporary_folder

__all__ = ["FirmwareImage", "GuestImage", "firmware", "guest_image", "key_pair"]


@dataclass(frozen=True)
class GuestImage:
    """A guest image, ready to be copied.

    Attributes:
        name: Of its recipe.
        key: Hash of all that went in.
        folder: The cache entry that holds it.
        disk: qcow2, laid out as Fedora CoreOS (BIOS-BOOT, EFI-SYSTEM, boot, root). Never write to it: make an overlay.
        uki: The kernel, initrd and command line that the firmware starts; also on the disk, as EFI/BOOT/BOOTX64.EFI.
            Where GRUB starts the kernel there is none.
        ssh_key: Private key for root on the virtio-serial port `contract.SHELL_PORT`.
        manifest: JSON: the version of every package that went in, sizes, the command line.
        cmdline: The kernel command line that it boots with.
        stack: What opens its volumes.
        ignition_spec: The minor version of the Ignition 3 spec that it takes, or None without Ignition.
        root_passphrase: What opens the LUKS volume that the root file system lies in; "" when it lies in none.
        root_device: That volume, by its UUID.
    """

    name: str
    key: str
    folder: Path
    disk: Path
    uki: Path
    ssh_key: Path
    manifest: Path
    cmdline: str
    stack: Stack
    ignition_spec: int | None
    root_passphrase: str
    root_device: str

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that decide how a boot goes, and of the kernel, by package."""
        packages: dict[str, str] = json.loads(self.manifest.read_text())["packages"]
        return {
            name: version for name, version in packages.items() if name in _DECISIVE or name.startswith("linux-image-")
        }


_DECISIVE = frozenset(
    {"systemd", "clevis", "clevis-tpm2", "cryptsetup-bin", "tpm2-tools", "jose", "curl", "dracut", "ignition"}
    | {"initramfs-tools", "cryptsetup-initramfs", "clevis-initramfs", "grub-efi-amd64-signed"}
)


@dataclass(frozen=True)
class FirmwareImage:
    """A firmware build.

    Attributes:
        name: Of its recipe.
        key: Hash of all that went in.
        code: The code volume (pflash 0), read-only.
        nvram_template: An empty variable store (pflash 1): copy it for each machine.
        secure_boot: Whether it can enforce Secure Boot; it then needs q35 with SMM and a secure pflash.
        version: Of Debian's package.
    """

    name: str
    key: str
    code: Path
    nvram_template: Path
    secure_boot: bool
    version: str


def guest_image(name: str, progress: Progress) -> GuestImage:
    """Return a guest image, built now if it was not.

    Raises:
        UsageError: There is no such recipe, or it is wrong.
        HostError: A tool is missing, the mirror is not reachable, the build failed, or the disk is full.
    """
    recipe = guest_recipe(name)
    key = guest_key(recipe)

    def make(folder: Path) -> None:
        with (
            machine_slot(name, progress),
            progress.step(f"building the guest image {name} from {archive.mirror()} (some minutes)"),
        ):
            build.build(recipe, folder)

    folder = build_once("images", key, make, readers=EVERYBODY, progress=progress)
    return GuestImage(
        name=name,
        key=key,
        folder=folder,
        disk=folder / "disk.qcow2",
        uki=folder / "uki.efi",
        ssh_key=folder / "ssh_key",
        manifest=folder / "manifest.json",
        cmdline=" ".join(recipe.cmdline),
        stack=recipe.stack,
        ignition_spec=recipe.ignition_spec,
        root_passphrase=recipe.root_passphrase,
        root_device=build.root_device(recipe) if recipe.root_passphrase else "",
    )


def encrypted_root(name: str) -> tuple[str, str] | None:
    """The passphrase of an image's root and the device that it lies on, or None when its root is not encrypted.

    Raises:
        UsageError: There is no such recipe, or it is wrong.
    """
    recipe = guest_recipe(name)
    return (recipe.root_passphrase, build.root_device(recipe)) if recipe.root_passphrase else None


def decrypt_root(name: str, partition: Path) -> None:
    """Have a copy of an image's root partition hold the file system by itself, if it lies in a LUKS volume.

    Raises:
        UsageError: There is no such recipe, or it is wrong.
        LuksFormatError: The partition is that of another image.
    """
    build.decrypt_root(guest_recipe(name), partition)


def guest_key(recipe: Recipe) -> str:
    """The hash of all that decides an image's content."""
    staged = hashlib.sha256(build.stage(recipe)).hexdigest()
    state = archive.archive_state(recipe.suite)
    return digest(build.BUILD_FORMAT, staged, build.arguments(recipe), recipe.suite, state, *build.encryption(recipe))


def firmware(name: str, progress: Progress) -> FirmwareImage:
    """Return a firmware build, fetched now if it was not.

    Raises:
        UsageError: There is no such recipe, or it is wrong.
        HostError: The mirror is not reachable, or no longer has the pinned version.
    """
    recipe = firmware_recipe(name)
    key = digest(recipe.pool, recipe.sha256, recipe.code, recipe.variables)

    def make(folder: Path) -> None:
        with progress.step(f"fetching the firmware {name} ({recipe.version})"):
            _unpack_firmware(recipe, folder)

    folder = build_once("firmware", key, make, readers=EVERYBODY, progress=progress)
    return FirmwareImage(
        name=name,
        key=key,
        code=folder / "code.fd",
        nvram_template=folder / "vars.fd",
        secure_boot=recipe.secure_boot,
        version=recipe.version,
    )


def _unpack_firmware(recipe: FirmwareRecipe, folder: Path) -> None:
    data = archive.fetch_package(recipe.pool, recipe.sha256, f"{IMAGES / 'ovmf' / 'recipe.yaml'}: {recipe.name}")
    with temporary_folder() as scratch:
        deb = scratch / "ovmf.deb"
        deb.write_bytes(data)
        process.run(["dpkg-deb", "--extract", deb, scratch], timeout=60)
        for source, target in ((recipe.code, "code.fd"), (recipe.variables, "vars.fd")):
            (folder / target).write_bytes((scratch / source.lstrip("/")).read_bytes())
            (folder / target).chmod(0o644)
