"""A volume's pins as a tree of sentences: what the terminal indents and the page draws (pure)."""

from dataclasses import dataclass

from harness.policy.pins import Leaf, Pin
from harness.policy.policy import Volume


@dataclass(frozen=True)
class Branch:
    """A node.

    Attributes:
        text: What it is.
        children: What it is made of.
    """

    text: str
    children: tuple["Branch", ...] = ()

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {"text": self.text, "children": [child.document() for child in self.children]}


def of_volume(volume: Volume) -> Branch:
    """Everything that opens a volume, each way a branch."""
    ways = [of_pin(volume.pins)] if volume.pins else []
    if volume.key_file:
        where = f"the encrypted volume {volume.key_on.name}" if volume.key_on else "the unencrypted part of the disk"
        ways.append(Branch(f"a key file on {where}"))
    if volume.passphrase is not None:
        ways.append(Branch("a passphrase, typed" + ("; but it never asks (headless)" if volume.headless else "")))
    if not ways:
        return Branch("nothing opens it")
    return ways[0] if len(ways) == 1 else Branch("any of", tuple(ways))


def of_pin(pin: Pin) -> Branch:
    """A pin and what it joins."""
    if isinstance(pin, Leaf):
        return Branch(pin.described)
    children = tuple(map(of_pin, pin.pins))
    if len(children) == 1 and pin.threshold == 1:
        return children[0]
    if pin.separate:
        return Branch("any one binding, asked in turn", children)
    if pin.threshold == len(children):
        return Branch("all of" if len(children) != 2 else "both of", children)
    return Branch("any one of" if pin.threshold == 1 else f"any {pin.threshold} of {len(children)}", children)


def bound_pcrs(volume: Volume) -> tuple[int, ...]:
    """The PCRs that some pin of a volume depends on, in order."""
    found = (leaf.bound_pcrs or frozenset() for leaf in volume.leaves)
    return tuple(sorted(frozenset().union(*found)))
