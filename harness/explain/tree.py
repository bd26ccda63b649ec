"""A volume's pins as a tree of sentences: what the terminal indents and the page draws (pure)."""

from dataclasses import dataclass

from harness.policy.pins import CryptenrollPin, Leaf, Pin, Sss, TangPin, Tpm2Pin, Volume


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
        ways.append(Branch("a key file on the unencrypted part of the disk"))
    if volume.passphrase is not None:
        ways.append(Branch("a passphrase, typed" + ("; but it never asks (headless)" if volume.headless else "")))
    if not ways:
        return Branch("nothing opens it")
    return ways[0] if len(ways) == 1 else Branch("any of", tuple(ways))


def of_pin(pin: Pin) -> Branch:
    """A pin and what it joins."""
    if not isinstance(pin, Sss):
        return Branch(of_leaf(pin))
    children = tuple(map(of_pin, pin.pins))
    if len(children) == 1 and pin.threshold == 1:
        return children[0]
    if pin.separate:
        return Branch("any one binding, asked in turn", children)
    if pin.threshold == len(children):
        return Branch("all of" if len(children) != 2 else "both of", children)
    return Branch("any one of" if pin.threshold == 1 else f"any {pin.threshold} of {len(children)}", children)


def of_leaf(leaf: Leaf) -> str:
    """A leaf in a few words."""
    match leaf:
        case TangPin():
            return f"Tang server {leaf.server}" + ("" if leaf.provided else " (not one of the laboratory's)")
        case Tpm2Pin():
            return f"TPM, sealed by clevis {_pcrs(leaf.pcr_ids, leaf.pcr_bank or 'sha1, the default of clevis')}"
        case CryptenrollPin():
            pin = ", with a PIN" if leaf.asks_pin else ""
            return f"TPM, sealed by systemd-cryptenroll {_policy(leaf)}{pin}"


def _pcrs(ids: tuple[int, ...], bank: str) -> str:
    return f"to PCR {', '.join(map(str, ids))} ({bank})" if ids else "to no PCR"


def _policy(leaf: CryptenrollPin) -> str:
    if leaf.pcrlock:
        return "under a pcrlock policy"
    raw = _pcrs((*leaf.pcr_ids, *leaf.initrd_pcr_ids), "sha256") if leaf.pcr_ids or leaf.initrd_pcr_ids else ""
    signed = f"to a signature over PCR {', '.join(map(str, leaf.signed_pcr_ids))}" if leaf.signed_pcr_ids else ""
    return " and ".join(filter(None, (raw, signed))) or "to no PCR"
