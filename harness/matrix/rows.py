"""The rows of the truth table: which policies there are, and which racks carry them.

A policy that Butane can say is a file of scenarios/policies; the rest is what an owner does by hand. Two racks, so that
two machines can be judged side by side: a rack's Tang servers have one address each, so its own boots take turns.
"""

from collections.abc import Mapping
from pathlib import Path

from harness.matrix.rack import Row
from harness.paths import POLICIES
from harness.policy.enrolment import BASE, Enrolment
from harness.policy.pins import CryptenrollPin, TangPin, Tpm2Pin, placeholder

_TANG = TangPin("tang", placeholder("URL", "tang"), placeholder("THUMBPRINT", "tang"))


def _file(name: str) -> Row:
    return Row(name, POLICIES / f"{name}.bu")


def _by_hand(enrolment: Enrolment) -> Row:
    return Row(enrolment.name, POLICIES / f"{enrolment.base}.bu", enrolment)


RACKS: Mapping[str, tuple[Row, ...]] = {
    "by-butane": (
        _file("tpm2"),
        _file("tpm2-pcr7"),
        _file("tang"),
        _file("tpm2-and-tang"),
        _file("tpm2-or-tang"),
        _file("tpm2-tang-no-threshold"),
        _file("two-tangs-or"),
        _file("two-of-three-tangs"),
        _file("tpm2-and-one-of-two-tangs"),
    ),
    "by-hand": (
        _by_hand(Enrolment("tpm2-pcr1-7", (Tpm2Pin((1, 7)),))),
        _by_hand(Enrolment("tpm2-pcr0", (Tpm2Pin((0,)),))),
        _by_hand(Enrolment("two-bindings", (Tpm2Pin(), _TANG))),
        _by_hand(Enrolment("cryptenroll", (CryptenrollPin(),))),
        _by_hand(Enrolment("cryptenroll-pcr7", (CryptenrollPin((7,)),))),
        _by_hand(Enrolment("cryptenroll-pcr0-7", (CryptenrollPin((0, 7)),))),
        _by_hand(Enrolment("cryptenroll-pcr12", (CryptenrollPin((12,)),))),
        _by_hand(Enrolment("passphrase-alone")),
        Row("key-file", POLICIES / f"{BASE}.bu"),
    ),
}
"""The policies of the table, by the machine that carries them."""


def own_row(path: Path) -> Row:
    """A user's own Butane file as a row."""
    return Row(path.stem, path)
