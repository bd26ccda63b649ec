"""What an owner's lines call in a guest: the shell functions of ``harness/policy/owner.sh``."""

from functools import cache
from importlib import resources


@cache
def owner_functions() -> str:
    """The functions, for bash."""
    return (resources.files("harness.policy") / "owner.sh").read_text()
