"""What an attacker gets out of a volume: the policy, evaluated with the leaves that they can make answer (pure).

Some capabilities need no pin: reading the memory of a machine whose volume is open, holding an old header and the
secret that was revoked since, or finding the key file on the disk. Otherwise it takes the header and enough leaves:
what makes a leaf answer is said by its kind (`Leaf.extraction`).
"""

from dataclasses import dataclass

from harness.policy.capabilities import MEASURED, Capabilities
from harness.policy.pins import Pin, evaluate, leaves
from harness.policy.policy import Volume


@dataclass(frozen=True)
class Extraction:
    """What became of a key.

    Attributes:
        extracted: Whether the attacker has it: X in the matrix of attacks, and R otherwise.
        reason: One sentence. It names each leaf that they make answer, or else each that they cannot.
    """

    extracted: bool
    reason: str


def extract(volume: Volume, capabilities: Capabilities, *, measured: frozenset[int] = MEASURED) -> Extraction:
    """What these capabilities are worth against a volume.

    Args:
        volume: The victim's.
        capabilities: The attacker's.
        measured: Those of `MEASURED` that this boot extends once the volume is open. What is bound to the others
            protects nothing.
    """
    has_disk = capabilities.disk or capabilities.machine
    if shortcut := _shortcut(volume, capabilities, has_disk):
        return Extraction(True, shortcut)
    if not has_disk:
        return Extraction(False, "the attacker has no copy of the LUKS header")
    if volume.key_file and volume.key_on:
        found = extract(volume.key_on, capabilities, measured=measured)
        if found.extracted or volume.pins is None:
            return Extraction(found.extracted, f"its key file lies on {volume.key_on.name}: {found.reason}")
    if volume.pins is None:
        return Extraction(False, "no pin guards it, and the attacker does not know the passphrase")
    return _by_pins(volume.pins, capabilities, measured)


def _shortcut(volume: Volume, capabilities: Capabilities, has_disk: bool) -> str | None:
    """What opens it whatever its pins are, in words."""
    if capabilities.ram:
        return "the volume key is in the machine's memory while the volume is open"
    if capabilities.old_secret:
        return "the old header takes the revoked secret, and the volume key is still the same"
    in_clear = volume.key_file and volume.key_on is None
    return "a key file lies on the disk in the clear" if in_clear and has_disk else None


def _by_pins(pins: Pin, capabilities: Capabilities, measured: frozenset[int]) -> Extraction:
    how = {leaf: leaf.extraction(capabilities, measured) for leaf in leaves(pins)}
    extracted = evaluate(pins, lambda leaf: how[leaf][0])
    verb = "answers" if extracted else "does not answer"
    said = (f"{leaf.name} {verb}: {why}" for leaf, (answers, why) in how.items() if answers is extracted)
    return Extraction(extracted, "; ".join(said))
