"""The container image that Tang runs from: built from images/tang, or a published one that was named."""

import os

import yaml
from docker import DockerClient
from docker.errors import ImageNotFound, NotFound

from harness.errors import HostError
from harness.host.docker import docker_call
from harness.paths import IMAGES
from harness.progress import Progress
from harness.services.service_image import ServiceImage, built_image, inspected

RECIPE = IMAGES / "tang"
REPOSITORY = "unlock-lab/tang"


def tang_image(client: DockerClient, progress: Progress) -> ServiceImage:
    """Return the image, building and importing it first if it is not there.

    UNLOCK_LAB_TANG_IMAGE, or the recipe's ``published``, names an image to use instead; images/tang/recipe.yaml says
    what such an image must offer.

    Args:
        client: The daemon that is to have it.
        progress: Says what takes long.

    Raises:
        HostError: It cannot be built or pulled.
        UsageError: The published image does not offer what it must.
    """
    recipe = yaml.safe_load((RECIPE / "recipe.yaml").read_text())
    if named := os.environ.get("UNLOCK_LAB_TANG_IMAGE") or recipe["published"]:
        return _published(client, progress, named)
    return built_image(RECIPE, REPOSITORY, client, progress)


def _published(client: DockerClient, progress: Progress, name: str) -> ServiceImage:
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
    return inspected(client, name, RECIPE, ())
