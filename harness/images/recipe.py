"""What a folder of images/ says: the recipe, read and checked.

A guest's recipe may build on another one (``extends``): it has all of that one's keys and files, and says what is
different. A list is replaced by a list, or changed by a mapping of ``add`` and ``remove``.
"""

import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UsageError
from harness.files import read_whole, why_unread
from harness.paths import IMAGES, own_images
from harness.policy.needs import Need
from harness.policy.world import Stack

BOOT_CHAINS = {
    "bare": ("uki.efi", "packages"),
    "grub": ("packages",),
    "uki": ("uki.efi", "packages", "dracut.log"),
}
"""The scripts of images/guest that one can be, and what of their output is kept beside the disk."""


@dataclass(frozen=True)
class Recipe:
    """A guest image's recipe.

    Attributes:
        name: Its name, and that of its folder.
        folder: Where the recipe lies, with its file trees ``root/`` and ``initrd/``, ``dracut.conf.d/`` and the scripts
            ``prepare`` (in the guest, while that has a network), ``configure`` (in the guest) and ``trim-initrd`` (in
            the unpacked initrd).
        suite: Debian's code name of the release.
        components: Of the archive.
        source_date_epoch: The date that everything in the image bears, seconds since 1970.
        root_mib: Size of the root file system, MiB.
        packages: What is installed, besides what that depends on.
        modules: Kernel modules that the guest keeps.
        initrd_modules: Those of them that its initrd has.
        cmdline: The kernel command line that the image boots with.
        stack: What its initrd is made by, and so what opens its volumes: ``dracut`` or ``initramfs-tools``.
        ignition: The newest spec that its Ignition takes, as in ``3.3.0``; "" when it has none.
        boot_chain: A script of images/guest: ``uki`` (dracut, systemd-stub), ``bare`` (the same without an
            initrd) or ``grub`` (shim, initramfs-tools).
        root_passphrase: What opens keyslot 0 of the LUKS volume that the root file system lies in; "" when it lies in
            none. It is no secret.
        crypttab: The options of that volume in /etc/crypttab, crypttab(5).
        offers: What a config may need that not every image has, each a `Need`.
        build_gb: How many GB must be free where it is built, for the tree that mmdebstrap unpacks and what `prepare`
            puts there, and a sparse disk with it. It decides nothing about the image.
        extends: The recipe that this one builds on.
        without: Files and folders of that one's folder that this one does not have.
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
    stack: Stack
    ignition: str = ""
    boot_chain: str = "uki"
    root_passphrase: str = ""
    crypttab: str = "luks"
    offers: tuple[str, ...] = ()
    build_gb: int = 3
    extends: "Recipe | None" = None
    without: tuple[str, ...] = ()

    @property
    def ignition_spec(self) -> int | None:
        """The minor version of the Ignition 3 spec that it takes; None without Ignition."""
        return int(self.ignition.split(".")[1]) if self.ignition else None

    @property
    def offered(self) -> frozenset[Need]:
        """What it offers a config."""
        return frozenset(map(Need, self.offers))

    def files(self) -> dict[str, Path]:
        """What its folder holds, and those that it builds on, by the name below the folder.

        A file takes the place of the base's of the same name. Of a script the base's stays beside it as ``NAME.base``,
        for it to call.
        """
        found: dict[str, Path] = {}
        if self.extends:
            gone = tuple(f"{name}/" for name in self.without)
            inherited = self.extends.files().items()
            found = {name: path for name, path in inherited if not f"{name}/".startswith(gone)}
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if name in _SCRIPTS:
                _move_aside(found, name)
            if name != "recipe.yaml":
                found[name] = path
        return found


PREPARE = "prepare"
"""The script of a recipe that runs in the new system before the build, while that still has a network."""

_SCRIPTS = (PREPARE, "configure", "trim-initrd")


def _move_aside(found: dict[str, Path], name: str) -> None:
    if base := found.pop(name, None):
        _move_aside(found, f"{name}.base")
        found[f"{name}.base"] = base


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
        UsageError: There is no such image, or its recipe (or one that it builds on) lacks something or has something
            unknown.
    """
    return _guest_recipe(name, ())


def _folders() -> Iterator[Path]:
    if own := own_images():
        yield own
    yield IMAGES


def _recipe_file(name: str) -> Path | None:
    files = (folder / name / "recipe.yaml" for folder in _folders())
    return next((path for path in files if path.is_file()), None)


def _guest_recipe(name: str, builds_on_it: tuple[str, ...]) -> Recipe:
    path = _recipe_file(name)
    if path is None:
        raise UsageError(f"there is no guest image '{name}'", f"there is: {', '.join(guest_names())}")
    data = _mapping(path)
    if "extends" in data:
        base = str(data["extends"])
        if _recipe_file(base) is None:
            raise UsageError(f"{path}: extends: there is no guest image '{base}'")
        if base in (*builds_on_it, name):
            raise UsageError(f"{path}: extends: {' → '.join((*builds_on_it, name, base))} is a circle")
        data = _extended(_guest_recipe(base, (*builds_on_it, name)), data, f"{path}")
    data |= {"folder": path.parent, **_stack(data, path)}
    recipe = Recipe(**_checked(Recipe, data, f"{path}"))
    if recipe.name != name:
        raise UsageError(f"{path}: is named '{recipe.name}', its folder '{name}'")
    if recipe.boot_chain not in BOOT_CHAINS:
        there = f"there is: {', '.join(BOOT_CHAINS)}"
        raise UsageError(f"{path}: boot_chain: there is no '{recipe.boot_chain}'", there)
    if not re.fullmatch(r"|3\.\d+\.0", recipe.ignition):
        raise UsageError(f"{path}: ignition: '{recipe.ignition}' is no spec", 'one is 3.3.0; "" is no Ignition')
    if unknown := sorted(set(recipe.offers) - set(Need)):
        raise UsageError(f"{path}: offers: there is no {', '.join(unknown)}", f"there is: {', '.join(Need)}")
    return recipe


def _stack(data: dict[str, Any], path: Path) -> dict[str, Stack]:
    if "stack" not in data:
        return {}
    try:
        return {"stack": Stack(data["stack"])}
    except ValueError as error:
        raise UsageError(f"{path}: stack: there is no '{data['stack']}'", f"there is: {', '.join(Stack)}") from error


def _extended(base: Recipe, data: dict[str, Any], where: str) -> dict[str, Any]:
    """All keys of a recipe that builds on another one."""
    values = {field.name: getattr(base, field.name) for field in fields(Recipe)}
    for key, value in data.items():
        changes = isinstance(value, dict) and isinstance(values.get(key), tuple)
        values[key] = _changed(values[key], value, f"{where}: {key}") if changes else value
    values |= {"extends": base, "without": data.get("without", ())}
    files = base.files()
    if absent := [name for name in values["without"] if name not in files]:
        raise UsageError(f"{where}: without: {base.name} has no {', '.join(absent)}")
    return values


def _changed(items: tuple[str, ...], change: dict[str, Any], where: str) -> tuple[Any, ...]:
    lists = {"add": [], "remove": [], **change}
    if unknown := sorted(lists.keys() - {"add", "remove"}):
        raise UsageError(f"{where}: unknown: {', '.join(unknown)}", "there is: add, remove")
    for verb, listed in lists.items():
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise UsageError(f"{where}: {verb}: not a list of strings")
        # Each change must change something: what a base no longer has should not linger in who builds on it.
        if wrong := [item for item in listed if (item in items) == (verb == "add")]:
            raise UsageError(f"{where}: {verb}: {'already' if verb == 'add' else 'not'} there: {', '.join(wrong)}")
    return (*(item for item in items if item not in lists["remove"]), *lists["add"])


def guest_names() -> tuple[str, ...]:
    """The guest images that there are: folders whose recipe has a kernel command line, or builds on another."""
    files = (path for folder in _folders() for path in folder.glob("*/recipe.yaml"))
    recipes = {path.parent.name: _mapping(path) for path in files}
    return tuple(sorted(name for name, data in recipes.items() if data.keys() & {"cmdline", "extends"}))


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
        data = yaml.load(read_whole(path).decode(), yaml.CSafeLoader)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", why_unread(error)) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path}: not YAML", str(error)) from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: not a mapping")
    return data


def _checked(kind: type[Recipe] | type[FirmwareRecipe], data: dict[str, Any], where: str) -> dict[str, Any]:
    """The values for a data class: each of its fields, no other, each of its type; lists as tuples."""
    types = {field.name: field.type for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    if unknown := sorted(data.keys() - types.keys()):
        raise UsageError(f"{where}: unknown: {', '.join(unknown)}", f"there is: {', '.join(types)}")
    if missing := sorted(needed - data.keys()):
        raise UsageError(f"{where}: missing: {', '.join(missing)}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    for name, value in values.items():
        wanted = types[name]
        if wanted == tuple[str, ...]:
            right = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        elif wanted == "Recipe | None":
            right = value is None or isinstance(value, Recipe)
        else:
            right = isinstance(value, Path) if wanted is Path else type(value) is wanted
        if not right:
            raise UsageError(f"{where}: {name}: not {'a list of strings' if 'tuple' in str(wanted) else wanted}")
    return values
