"""Builds a guest image from its recipe with mmdebstrap: without loop devices, and without root where Debian allows it.

The tools that make file systems, the initrd and the UKI are the guest's own, so the host's versions do not matter. A
root file system that is to be encrypted is encrypted here afterwards (`harness.images.luks`).
"""

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import ssl
import tarfile
import uuid
from pathlib import Path

from harness import process
from harness.errors import HostError
from harness.host.user import ended_with_caller
from harness.images import luks
from harness.images.archive import date_options, mirror
from harness.images.keys import key_pair
from harness.images.pypi import PYPI, download
from harness.images.recipe import BOOT_CHAINS, PREPARE, Recipe
from harness.luks2.header import HEADER_BYTES
from harness.paths import IMAGES
from harness.temporary import temporary_folder

BUILD_FORMAT = 1
"""Count it up in the commit that changes what a build makes of the same staged files, packages and suite: by its hooks,
how the disk is put together, which files an entry of the cache has.
"""

_STAGE = "unlock-lab-build"
_CERTIFICATES = "host-certificates"
_ARCHIVES = "archives"
_PARTITIONS = ("DISK", "ESP", "BOOT", "ROOT")
_ROOT_OFFSET = 194 * 2**20
_TIMEOUT = 1800.0
_IMAGE_GB = 1.0


def stage(recipe: Recipe) -> bytes:
    """Everything that the build inside the guest reads, as a tar archive: the same recipe gives the same bytes."""
    names = {f"{part}_UUID": part for part in _PARTITIONS} | {
        f"{part}_PARTUUID": f"{part} partition" for part in ("BIOS", "ESP", "BOOT", "ROOT")
    }
    ids = {key: _uuid(recipe, text) for key, text in names.items()}
    settings = {
        "NAME": recipe.name,
        "SOURCE_DATE_EPOCH": str(recipe.source_date_epoch),
        "ROOT_MIB": str(recipe.root_mib),
        "ESP_SERIAL": ids["ESP_UUID"][:8],
        **ids,
    }
    host_key, _ = key_pair(f"{recipe.name} host")
    _, user_line = key_pair(f"{recipe.name} harness")
    texts = {
        "recipe.env": "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items()),
        "cmdline": "".join(f"{word}\n" for word in recipe.cmdline),
        "modules": "".join(f"{module}\n" for module in recipe.modules),
        "initrd_modules": "".join(f"{module}\n" for module in recipe.initrd_modules),
        "root/etc/unlock-lab/host_key": host_key,
        "root/etc/unlock-lab/authorized_keys": user_line,
    }
    if recipe.root_passphrase:
        line = f"root UUID={luks_uuid(recipe)} none {recipe.crypttab}\n"
        texts |= {"root/etc/crypttab": line, "initrd/etc/crypttab": line}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:

        def keep(info: tarfile.TarInfo) -> tarfile.TarInfo:
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.mtime = recipe.source_date_epoch
            info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
            return info

        shared = {"build": IMAGES / "guest" / "build", "boot-chain": IMAGES / "guest" / recipe.boot_chain}
        for name, path in (*shared.items(), *recipe.files().items()):
            tar.add(path, f"{_STAGE}/{name}", recursive=False, filter=keep)
        for name, text in sorted(texts.items()):
            info = keep(tarfile.TarInfo(f"{_STAGE}/{name}"))
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def luks_uuid(recipe: Recipe) -> str:
    """The UUID of the LUKS volume that the root file system lies in."""
    return _uuid(recipe, "LUKS")


def root_device(recipe: Recipe) -> str:
    """The LUKS volume that the root file system lies in, by its UUID."""
    return f"/dev/disk/by-uuid/{luks_uuid(recipe)}"


def _uuid(recipe: Recipe, what: str) -> str:
    """A named UUID (RFC 9562, version 5): the same on every host, different for every image."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{recipe.name} {what}.unlock-lab"))


def arguments(recipe: Recipe) -> list[str]:
    """The command line of mmdebstrap, as far as it decides what is in the image."""
    return [
        "mmdebstrap",
        "--mode=auto",
        "--variant=minbase",
        "--format=null",
        f"--components={','.join(recipe.components)}",
        f"--include={','.join(recipe.packages)}",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "3"',
        '--aptopt=APT::Install-Recommends "false"',
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("doc", "man", "locale", "info")),
    ]


def encryption(recipe: Recipe) -> list[str]:
    """What decides how the root file system is encrypted: its room, and the header, which follows from the recipe."""
    if not recipe.root_passphrase:
        return []
    return [_room_for_the_header(recipe), hashlib.sha256(luks.header(_volume(recipe))).hexdigest()]


def _volume(recipe: Recipe) -> luks.LuksLayout:
    return luks.LuksLayout(recipe.name, luks_uuid(recipe), recipe.root_passphrase)


def decrypt_root(recipe: Recipe, partition: Path) -> None:
    """Have a copy of an image's root partition hold the file system by itself, if it lies in a LUKS volume.

    Raises:
        LuksFormatError: It is that of another image.
    """
    if recipe.root_passphrase:
        luks.decrypt(partition, recipe.root_mib * 2**20, _volume(recipe))


def _room_for_the_header(recipe: Recipe) -> str:
    """The command that makes partition 4, the last one, longer than its file system."""
    header_mib = HEADER_BYTES // 2**20
    return (
        f"cd /{_STAGE}/out && truncate -s +{header_mib}M disk.raw && sfdisk -q --relocate gpt-bak-std disk.raw"
        f" && echo ,{recipe.root_mib + header_mib}MiB | sfdisk -q -N 4 disk.raw"
    )


def build(recipe: Recipe, folder: Path) -> None:
    """Build an image into an empty folder.

    Raises:
        HostError: A tool is missing, the mirror is not reachable, or the build failed; with the end of what it said.
    """
    with temporary_folder() as scratch:
        _require_room(scratch, recipe.build_gb, "TMPDIR")
        _require_room(folder, _IMAGE_GB, "UNLOCK_LAB_CACHE")
        # mmdebstrap without root works as another user of a namespace, which must be able to look in here.
        scratch.chmod(0o755)
        staged = scratch / "stage.tar"
        staged.write_bytes(stage(recipe))
        raw = scratch / "disk.raw"
        if requirements := recipe.files().get(PYPI):
            download(requirements, scratch / _ARCHIVES)
        hooks = [
            f"tar-in {shlex.quote(str(staged))} /",
            *_prepared(recipe, scratch),
            f'chroot "$1" /{_STAGE}/build',
            *([f'chroot "$1" sh -c {shlex.quote(_room_for_the_header(recipe))}'] if recipe.root_passphrase else ()),
            *(
                f"download /{_STAGE}/out/{name} {shlex.quote(str(folder / name))}"
                for name in BOOT_CHAINS[recipe.boot_chain]
            ),
        ]
        try:
            with raw.open("wb") as disk:
                process.run(
                    [
                        *arguments(recipe),
                        *date_options(),
                        *(f"--customize-hook={hook}" for hook in (*hooks, _with_its_holes("disk.raw", disk.fileno()))),
                        recipe.suite,
                        "/dev/null",
                        mirror(),
                    ],
                    timeout=_TIMEOUT,
                    # The kernel's and dracut's own hooks would make an initrd that is thrown away.
                    env={**os.environ, "INITRD": "No", "TMPDIR": str(scratch), "LC_ALL": "C"},
                    pass_fds=(disk.fileno(),),
                    under=ended_with_caller(makes_namespaces=True),
                )
        except HostError as error:
            raise _explained(recipe, error) from error
        if recipe.root_passphrase:
            luks.encrypt(raw, _ROOT_OFFSET, recipe.root_mib * 2**20, _volume(recipe))
        # One coroutine, so that clusters are laid down in the same order each time.
        process.run(["qemu-img", "convert", "-m", "1", "-O", "qcow2", raw, folder / "disk.qcow2"], timeout=300)
    _write_manifest(recipe, folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    private, _ = key_pair(f"{recipe.name} harness")
    key = folder / "ssh_key"
    key.touch(mode=0o600)
    key.write_text(private)


def _write_manifest(recipe: Recipe, folder: Path) -> None:
    packages = dict(line.split()[:2] for line in (folder / "packages").read_text().splitlines())
    (folder / "manifest.json").write_text(
        json.dumps(
            {
                "name": recipe.name,
                "suite": recipe.suite,
                "source_date_epoch": recipe.source_date_epoch,
                "cmdline": " ".join(recipe.cmdline),
                "bytes": {
                    name: (folder / name).stat().st_size
                    for name in ("disk.qcow2", "uki.efi")
                    if (folder / name).exists()
                },
                "packages": packages,
            },
            indent=1,
        )
        + "\n"
    )


def _prepared(recipe: Recipe, scratch: Path) -> list[str]:
    """The hooks that run a recipe's ``prepare``, and put beside it what was downloaded, and what certificates we trust.

    Among those, in one file, may be that of a proxy before the network, which no package of the new system has.
    """
    if PREPARE not in recipe.files():
        return []
    trusted = ssl.get_default_verify_paths().cafile
    upload = [f"upload {shlex.quote(trusted)} /{_STAGE}/{_CERTIFICATES}"] if trusted else []
    if (scratch / _ARCHIVES).exists():
        upload.append(f"copy-in {shlex.quote(str(scratch / _ARCHIVES))} /{_STAGE}")
    return [*upload, f'chroot "$1" /{_STAGE}/{PREPARE}']


def _with_its_holes(name: str, descriptor: int) -> str:
    """The hook that copies a file of the build to one that this process has open, whoever the build runs as.

    Through mmdebstrap's ``download`` goes every zero of a disk, and half a minute.
    """
    copy = f'dd if="$0/{_STAGE}/out/{name}" bs=64K conv=sparse status=none >&{descriptor}'
    return f'bash -c {shlex.quote(copy)} "$1"'


def _require_room(folder: Path, wanted: float, variable: str) -> None:
    """See that an image will fit, before the minutes that it takes.

    Raises:
        HostError: It will not.
    """
    free = shutil.disk_usage(folder).free / 1e9
    if free < wanted:
        raise HostError(
            f"no room to build an image: {free:.1f} GB are free for {folder.parent}, {wanted:g} GB are needed",
            hint=f"free some room, or point {variable} at a larger disk",
        )


def _explained(recipe: Recipe, error: HostError) -> HostError:
    text = str(error)
    if gone := re.search(r"Unable to locate package (\S+)|Package '?([^' ]+)'? has no installation candidate", text):
        hint = f"{recipe.folder / 'recipe.yaml'}: packages: {gone[1] or gone[2]} is not in {recipe.suite} of {mirror()}"
    elif "is expired" in text:
        hint = (
            f"{mirror()} has not been updated for long: name another mirror in UNLOCK_LAB_DEBIAN_MIRROR,"
            " or take its old lists with UNLOCK_LAB_DEBIAN_EXPIRED=yes"
        )
    elif re.search(r"Failed to fetch|Could not (resolve|connect)|Connection (failed|refused|timed out)", text):
        hint = f"{mirror()} does not answer: name another mirror in UNLOCK_LAB_DEBIAN_MIRROR"
    elif re.search(r"^go: .*(dial tcp|no such host|timeout|reading http)", text, re.MULTILINE):
        hint = "the proxy for Go modules does not answer: name another one in GOPROXY"
    elif f'command failed: chroot "$1" /{_STAGE}/{PREPARE}' in text:
        hint = f"{recipe.folder / PREPARE} ended with an error: what it said, if anything, is above"
    elif os.geteuid() != 0:
        hint = (
            "without root, mmdebstrap needs the package uidmap and lines for this user in /etc/subuid and /etc/subgid"
        )
    else:
        hint = ""
    return HostError(f"building the image {recipe.name} failed", text, hint)
