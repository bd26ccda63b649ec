"""What a folder of images/ says: the recipe, read and checked."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UsageError
from harness.paths import IMAGES


@dataclass(frozen=True)
class Recipe:
    """A guest image's recipe.

    Attributes:
        name: Its name, and that of its folder.
        folder: Where the recipe lies, with its file trees ``root/`` and ``initrd/``, ``dracut.conf.d/`` and the scripts
            ``configure`` (in the guest) and ``trim-initrd`` (in the unpacked initrd).
        suite: Debian's code name of the release.
        components: Of the archive.
        source_date_epoch: The date that everything in the image bears, seconds since 1970.
        root_mib: Size of the root file system, MiB.
        packages: What is installed, besides what that depends on.
        modules: Kernel modules that the guest keeps.
        initrd_modules: Those of them that its initrd has.
        cmdline: The kernel command line in the UKI.
    """

    name: str
    folder: Path
    suite: str
    components: tuple[str, ...]
    source_date_epoch: int
    root_mib: int
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    initrd_modules: tuple[str, ...]
    cmdline: tuple[str, ...]


@dataclass(frozen=True)
class FirmwareRecipe:
    """A firmware build: one package of Debian, pinned.

    Attributes:
        name: What scenarios call it.
        pool: Path of the .deb in Debian's archive.
        version: Of the package.
        sha256: Of the .deb.
        code: The code volume in the package.
        variables: The template of the variable store in the package.
        secure_boot: Whether the build can enforce Secure Boot (and then needs SMM).
    """

    name: str
    pool: str
    version: str
    sha256: str
    code: str
    variables: str
    secure_boot: bool


def guest_recipe(name: str) -> Recipe:
    """Read the recipe of a guest image.

    Raises:
        UsageError: There is no such image, or its recipe lacks something or has something unknown.
    """
    path = IMAGES / name / "recipe.yaml"
    if not path.is_file():
        raise UsageError(f"there is no guest image '{name}'", f"images/ has: {', '.join(guest_names())}")
    recipe = Recipe(**_checked(Recipe, {"folder": path.parent, **_mapping(path)}, f"{path}"))
    if recipe.name != name:
        raise UsageError(f"{path}: is named '{recipe.name}', its folder '{name}'")
    return recipe


def guest_names() -> tuple[str, ...]:
    """The folders of images/ that hold a guest: those whose recipe has a kernel command line."""
    return tuple(sorted(path.parent.name for path in IMAGES.glob("*/recipe.yaml") if "cmdline" in _mapping(path)))


def firmware_recipe(name: str) -> FirmwareRecipe:
    """Read the recipe of a firmware build.

    Raises:
        UsageError: There is no such build, or its recipe lacks something or has something unknown.
    """
    path = IMAGES / "ovmf" / "recipe.yaml"
    builds = _mapping(path)
    if name not in builds:
        raise UsageError(f"there is no firmware '{name}'", f"{path} has: {', '.join(sorted(builds))}")
    if not isinstance(builds[name], dict):
        raise UsageError(f"{path}: {name}: not a mapping")
    return FirmwareRecipe(**_checked(FirmwareRecipe, {"name": name, **builds[name]}, f"{path}: {name}"))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML", str(error)) from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: not a mapping")
    return data


def _checked(kind: type[Recipe] | type[FirmwareRecipe], data: dict[str, Any], where: str) -> dict[str, Any]:
    """The values for a data class: each of its fields, no other, each of its type; lists as tuples."""
    types = {field.name: field.type for field in fields(kind)}
    if unknown := sorted(data.keys() - types.keys()):
        raise UsageError(f"{where}: unknown: {', '.join(unknown)}", f"there is: {', '.join(types)}")
    if missing := sorted(types.keys() - data.keys()):
        raise UsageError(f"{where}: missing: {', '.join(missing)}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    for name, value in values.items():
        wanted = types[name]
        if wanted == tuple[str, ...]:
            right = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        else:
            right = isinstance(value, Path) if wanted is Path else type(value) is wanted
        if not right:
            raise UsageError(f"{where}: {name}: not {'a list of strings' if 'tuple' in str(wanted) else wanted}")
    return values
