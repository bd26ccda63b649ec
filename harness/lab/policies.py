"""Which policy a name means: a Butane file by its name, what an owner does by hand, or what an image's root is.

An image is known by what its recipe declares (stack, Ignition, encrypted root), never by its name.
"""

from pathlib import Path

from harness.defaults import IMAGE
from harness.errors import UsageError
from harness.images import encrypted_root
from harness.images.recipe import Recipe, guest_names, guest_recipe
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.by_hand import BY_HAND
from harness.policy.enrolment import Enrolment, enrolled, root_policy
from harness.policy.policy import Policy


def named_policy(named: str | Enrolment | Policy, image: str, beside: Path = POLICIES) -> Policy:
    """The policy that a scenario or a row of the truth table names.

    What is done by hand is done to the encrypted root of an image that has one, else to what a Butane file installs.

    Args:
        named: A Butane file by its name, what an owner does by hand or its name (`harness.policy.by_hand`), or a policy
            itself.
        image: The guest image that it is for.
        beside: The folder that a Butane file is looked for in first.

    Raises:
        UsageError: There is no such policy, or it is wrong.
    """
    if isinstance(named, Policy):
        return named
    if isinstance(named, str):
        if named not in BY_HAND or any(map(Path.is_file, _places(named, beside))):
            return read_policy(find_policy(named, beside))
        named = BY_HAND[named]
    return enrolled(bare_root(image) or read_policy(find_policy(named.base, beside)), named)


def bare_root(image: str) -> Policy | None:
    """An image's encrypted root before anything was enrolled, or None when its root is not encrypted.

    Raises:
        UsageError: There is no such image.
    """
    root = encrypted_root(image)
    return root_policy(image, *root) if root else None


def require_installable(policy: Policy, image: Recipe) -> None:
    """A config needs an image with Ignition, and a policy without one an image whose root is encrypted already.

    Raises:
        UsageError: The policy encrypts nothing, so that there is nothing to judge, or is for another kind of image.
    """
    _require_obstacles_away(policy, image)
    if not policy.volumes:
        raise UsageError(
            f"policy {policy.name} encrypts nothing, so there is no volume whose unlock could be judged",
            hint="give it an entry of storage.luks (or boot_device.luks)",
        )
    if policy.config and image.ignition_spec is None:
        raise UsageError(
            f"the policy {policy.name} is a config for Ignition, which the image {image.name} does not have",
            hint="name a policy that is made by hand, or an image whose recipe.yaml says ignition",
        )
    if not policy.config and not image.root_passphrase:
        raise UsageError(
            f"the policy {policy.name} is for an encrypted root, which the image {image.name} does not have",
            hint="name a Butane file, or an image whose recipe.yaml says root_passphrase",
        )


def _require_obstacles_away(policy: Policy, image: Recipe) -> None:
    if policy.obstacles:
        raise UsageError(
            f"policy {policy.name} asks for what the guest cannot have",
            "\n".join(policy.obstacles),
            "`unlock-lab explain` says by the rules what it would do",
        )
    if missing := sorted(policy.needs - image.offered):
        other = image_for(policy)
        raise UsageError(
            f"policy {policy.name} {' and '.join(need.asked for need in missing)}, "
            f"for which the image {image.name} is not made",
            hint=f"take the image {other}: --lab-image {other}",
        )


def image_for(policy: Policy) -> str:
    """The image that a policy file is installed on unless another is named: the plainest that offers what it needs.

    Raises:
        UsageError: None does.
    """
    if not policy.needs:
        return IMAGE
    known = [
        recipe for recipe in map(guest_recipe, guest_names()) if recipe.ignition and policy.needs <= recipe.offered
    ]
    if not known:
        raise UsageError(f"no image offers what policy {policy.name} needs: {', '.join(sorted(policy.needs))}")
    return min(known, key=lambda recipe: (len(recipe.offers), recipe.name)).name


def find_policy(name: str, beside: Path) -> Path:
    """The Butane file of that name: in a folder, in ``policies`` below it, or of this project.

    Raises:
        UsageError: There is none; it says where it looked.
    """
    places = _places(name, beside)
    for place in places:
        if place.is_file():
            return place
    raise UsageError(
        f"there is no policy {name!r}",
        "\n".join(f"looked for {place}" for place in dict.fromkeys(places)),
        "write that Butane file beside the scenario, or name one of "
        + ", ".join(sorted({*(p.stem for p in POLICIES.glob("*.bu")), *BY_HAND})),
    )


def _places(name: str, beside: Path) -> list[Path]:
    file = name if name.endswith(".bu") else f"{name}.bu"
    return [beside / file, beside / "policies" / file, POLICIES / file]
