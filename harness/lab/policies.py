"""Which policy a name means: a Butane file by its name, what an owner does by hand, or what an image's root is."""

from pathlib import Path

from harness.errors import UsageError
from harness.images import encrypted_root
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.enrolment import Enrolment, enrolled, root_policy
from harness.policy.policy import Policy


def named_policy(named: str | Enrolment | Policy, image: str, beside: Path = POLICIES) -> Policy:
    """The policy that a scenario or a row of the truth table names.

    What is done by hand is done to the encrypted root of an image that has one, else to what a Butane file installs.

    Args:
        named: A Butane file by its name, what an owner does by hand, or a policy itself.
        image: The guest image that it is for.
        beside: The folder that a Butane file is looked for in first.

    Raises:
        UsageError: There is no such policy, or it is wrong.
    """
    if isinstance(named, Policy):
        return named
    if isinstance(named, Enrolment):
        base = bare_root(image) if encrypted_root(image) else read_policy(find_policy(named.base, beside))
        return enrolled(base, named)
    return read_policy(find_policy(named, beside))


def bare_root(image: str) -> Policy:
    """An image's encrypted root before anything was enrolled.

    Raises:
        UsageError: Its root is not encrypted.
    """
    root = encrypted_root(image)
    if root is None:
        raise UsageError(f"the root of the image {image} is not encrypted")
    return root_policy(image, *root)


def find_policy(name: str, beside: Path) -> Path:
    """The Butane file of that name: in a folder, in ``policies`` below it, or of this project.

    Raises:
        UsageError: There is none; it says where it looked.
    """
    file = name if name.endswith(".bu") else f"{name}.bu"
    places = [beside / file, beside / "policies" / file, POLICIES / file]
    for place in places:
        if place.is_file():
            return place
    raise UsageError(
        f"there is no policy {name!r}",
        "\n".join(f"looked for {place}" for place in dict.fromkeys(places)),
        "write that Butane file beside the scenario, or name one of "
        + ", ".join(sorted(p.stem for p in POLICIES.glob("*.bu"))),
    )
