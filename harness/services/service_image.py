"""Container images that services run from, built from Debian's packages as a folder of images/ says.

mmdebstrap extracts the packages and what they depend on, Docker imports the tree: no registry of images takes part. A
folder has ``recipe.yaml`` (suite, packages, what ``docker import --change`` takes) and ``extract-hook``, which finishes
the tree. What Debian has not comes from PyPI (`harness.images.pypi`): the hook finds it in ``$PYPI_ARCHIVES``.
"""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from docker import DockerClient
from docker.errors import ImageNotFound
from filelock import FileLock, Timeout

from harness import cache
from harness.errors import HostError, UsageError
from harness.host.docker import docker_call
from harness.host.user import ended_with_caller
from harness.images.archive import mirror
from harness.images.pypi import PYPI, download
from harness.process import run
from harness.progress import Progress
from harness.temporary import temporary_folder

STATE_LABEL = "unlock-lab.keys"
"""On an image: the folder where its server keeps what makes it the one that it is."""

IMAGE_USE = "service-images"
"""What runs that need these images announce (`harness.host.hostwide`): all users of a host share its Docker images."""

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_BUILD_SECONDS = 900.0
_IMPORT_SECONDS = 120.0


@dataclass(frozen=True)
class ServiceImage:
    """An image that serves something.

    Attributes:
        reference: What Docker knows it by.
        id: Docker's digest of it.
        argv: The image's own entry point and command.
        port: The one TCP port that it exposes.
        state_folder: Where its server keeps its keys.
        packages: ``name<TAB>version`` of what is in it; empty for a published image.
    """

    reference: str
    id: str
    argv: tuple[str, ...]
    port: int
    state_folder: str
    packages: tuple[str, ...] = ()


def built_image(recipe: Path, repository: str, client: DockerClient, progress: Progress) -> ServiceImage:
    """Return the image of a recipe, building and importing it first if it is not there.

    Args:
        recipe: A folder of images/.
        repository: What Docker is to call it, without the tag.
        client: The daemon that is to have it.
        progress: Says what takes long.

    Raises:
        HostError: It cannot be built.
        UsageError: It does not offer what it must.
    """
    read = yaml.safe_load((recipe / "recipe.yaml").read_text())
    key = cache.digest(recipe, mirror(), platform.machine())
    reference = f"{repository}:{key}"
    kind = f"{recipe.name}-image"
    entry = cache.build_once(kind, key, lambda folder: _build(read, recipe, folder, progress), progress=progress)
    # The lock keeps two processes from importing the same tree twice: the loser's image would stay, nameless.
    lock = FileLock(entry.parent / f".{key}.import.lock", timeout=_IMPORT_SECONDS)
    try:
        with lock, docker_call(f"import {reference}"):
            try:
                client.images.get(reference)
            except ImageNotFound:
                with progress.step(f"handing the image {repository} to Docker"):
                    client.api.import_image_from_file(
                        str(entry / "root.tar"), repository=repository, tag=key, changes=read["changes"]
                    )
    except Timeout as error:
        what = f"another process has been handing the image {repository} to Docker for {_IMPORT_SECONDS:.0f} s"
        raise HostError(what, hint="wait for it, and try again") from error
    return inspected(client, reference, recipe, tuple((entry / "packages").read_text().splitlines()))


def _build(read: dict[str, object], recipe: Path, folder: Path, progress: Progress) -> None:
    def words(key: str) -> list[str]:
        value = read[key]
        assert isinstance(value, list)
        return [str(word) for word in value]

    tree = folder / "root.tar"
    with (
        progress.step(f"building the service image {recipe.name} from Debian {read['suite']} packages"),
        temporary_folder() as archives,
    ):
        if (recipe / PYPI).exists():
            download(recipe / PYPI, archives)
        run(
            [
                "mmdebstrap",
                "--variant=extract",
                f"--include={','.join(words('packages'))}",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in words("exclude")),
                f"--extract-hook={recipe / 'extract-hook'}",
                str(read["suite"]),
                tree,
                f"deb [signed-by={_KEYRING}] {mirror()} {read['suite']} {' '.join(words('components'))}",
            ],
            timeout=_BUILD_SECONDS,
            env={
                **os.environ,
                "SOURCE_DATE_EPOCH": str(read["source_date_epoch"]),
                "PYPI_ARCHIVES": str(archives),
            },
            under=ended_with_caller(makes_namespaces=True),
        )
    packages = run(["tar", "--extract", "--to-stdout", "--file", tree, "./etc/unlock-lab-packages"], timeout=60.0)
    (folder / "packages").write_text(packages)


def inspected(client: DockerClient, reference: str, recipe: Path, packages: tuple[str, ...]) -> ServiceImage:
    """What an image that Docker has offers.

    Raises:
        UsageError: Not what it must.
    """
    with docker_call(f"inspect the image {reference}"):
        attributes = client.images.get(reference).attrs
    config = attributes["Config"]
    argv: Sequence[str] = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    ports = [port.partition("/")[0] for port in config.get("ExposedPorts") or () if not port.endswith("/udp")]
    volumes = list(config.get("Volumes") or ())
    folders = [label] if (label := (config.get("Labels") or {}).get(STATE_LABEL)) else volumes
    if not argv or len(ports) != 1 or len(folders) != 1:
        raise UsageError(
            f"the image {reference} cannot be used as a server of {recipe.name}",
            f"entry point and command: {list(argv)}; TCP ports it exposes: {ports}; folders of keys: {folders}",
            f"it needs a command, one port, and one volume or the label {STATE_LABEL}; see {recipe / 'recipe.yaml'}",
        )
    return ServiceImage(reference, attributes["Id"], tuple(argv), int(ports[0]), folders[0], packages)
