"""The container image that Tang runs from: built from images/tang, or a published one that was named."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from docker import DockerClient
from docker.errors import ImageNotFound, NotFound
from filelock import FileLock

from harness import cache
from harness.errors import HostError, UsageError
from harness.host.docker import docker_call
from harness.images.archive import mirror
from harness.paths import IMAGES
from harness.process import run
from harness.progress import Progress

RECIPE = IMAGES / "tang"
REPOSITORY = "unlock-lab/tang"
KEYS_LABEL = "unlock-lab.keys"

IMAGE_USE = "tang-image"
"""What runs that need Tang's image announce (`harness.host.hostwide`): all users of a host share its Docker images."""

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_BUILD_SECONDS = 900.0
_IMPORT_SECONDS = 120.0


@dataclass(frozen=True)
class TangImage:
    """An image that serves Tang.

    Attributes:
        reference: What Docker knows it by.
        id: Docker's digest of it.
        argv: The image's own entry point and command.
        port: The one TCP port that it exposes.
        key_folder: Where its server keeps the keys.
        packages: ``name<TAB>version`` of what is in it; empty for a published image.
    """

    reference: str
    id: str
    argv: tuple[str, ...]
    port: int
    key_folder: str
    packages: tuple[str, ...] = ()


def tang_image(client: DockerClient, progress: Progress, published: str | None = None) -> TangImage:
    """Return the image, building and importing it first if it is not there.

    Args:
        client: The daemon that is to have it.
        progress: Says what takes long.
        published: The name of an image to use instead of building one. UNLOCK_LAB_TANG_IMAGE and the recipe's
            ``published`` say the same; images/tang/recipe.yaml says what such an image must offer.

    Raises:
        HostError: It cannot be built or pulled.
        UsageError: The published image does not offer what it must.
    """
    recipe = yaml.safe_load((RECIPE / "recipe.yaml").read_text())
    if named := published or os.environ.get("UNLOCK_LAB_TANG_IMAGE") or recipe["published"]:
        return _published(client, progress, named)
    key = cache.digest(RECIPE, mirror(), platform.machine())
    reference = f"{REPOSITORY}:{key}"
    entry = cache.build_once("tang-image", key, lambda folder: _build(recipe, folder, progress), progress=progress)
    # The lock keeps two processes from importing the same tree twice: the loser's image would stay, nameless.
    with FileLock(entry.parent / f".{key}.import.lock", timeout=_IMPORT_SECONDS), docker_call("import Tang's image"):
        try:
            client.images.get(reference)
        except ImageNotFound:
            with progress.step("handing Tang's image to Docker"):
                client.api.import_image_from_file(
                    str(entry / "root.tar"), repository=REPOSITORY, tag=key, changes=recipe["changes"]
                )
    return _inspect(client, reference, tuple((entry / "packages").read_text().splitlines()))


def _build(recipe: dict[str, object], folder: Path, progress: Progress) -> None:
    def words(key: str) -> list[str]:
        value = recipe[key]
        assert isinstance(value, list)
        return [str(word) for word in value]

    tree = folder / "root.tar"
    with progress.step(f"building Tang's image from Debian {recipe['suite']} packages"):
        run(
            [
                "mmdebstrap",
                "--variant=extract",
                f"--include={','.join(words('packages'))}",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in words("exclude")),
                f"--extract-hook={RECIPE / 'extract-hook'}",
                str(recipe["suite"]),
                tree,
                f"deb [signed-by={_KEYRING}] {mirror()} {recipe['suite']} {' '.join(words('components'))}",
            ],
            timeout=_BUILD_SECONDS,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(recipe["source_date_epoch"])},
        )
    packages = run(["tar", "--extract", "--to-stdout", "--file", tree, "./etc/unlock-lab-packages"], timeout=60.0)
    (folder / "packages").write_text(packages)


def _published(client: DockerClient, progress: Progress, name: str) -> TangImage:
    with docker_call(f"look for the image {name}"):
        try:
            client.images.get(name)
        except ImageNotFound:
            with progress.step(f"pulling {name}"):
                try:
                    client.images.pull(name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest")
                except NotFound as error:
                    raise HostError(
                        f"Docker has no image {name} and no registry gives it",
                        error.explanation or str(error),
                        "unset UNLOCK_LAB_TANG_IMAGE to use the image built from Debian's packages",
                    ) from error
    return _inspect(client, name, ())


def _inspect(client: DockerClient, reference: str, packages: tuple[str, ...]) -> TangImage:
    with docker_call(f"inspect the image {reference}"):
        attributes = client.images.get(reference).attrs
    config = attributes["Config"]
    argv: Sequence[str] = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    ports = [port.partition("/")[0] for port in config.get("ExposedPorts") or () if not port.endswith("/udp")]
    volumes = list(config.get("Volumes") or ())
    folders = [label] if (label := (config.get("Labels") or {}).get(KEYS_LABEL)) else volumes
    if not argv or len(ports) != 1 or len(folders) != 1:
        raise UsageError(
            f"the image {reference} cannot be used as a Tang server",
            f"entry point and command: {list(argv)}; TCP ports it exposes: {ports}; folders of keys: {folders}",
            f"it needs a command, one port, and one volume or the label {KEYS_LABEL}; see {RECIPE / 'recipe.yaml'}",
        )
    return TangImage(reference, attributes["Id"], tuple(argv), int(ports[0]), folders[0], packages)
