"""The attackers of `harness.explain.attackers` that can be played on any policy: what each boot grants, does and tells.

An attack is a test of its own in the evidence, called ``prove::ATTACK[POLICY-IMAGE-HASH]``, with the hash of the sealed
machine: what has passed there is not played again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.attack.attacker import Attacker
from harness.attack.grants import Grant
from harness.errors import UsageError
from harness.evidence import artifacts, record
from harness.evidence.record import Document, Result
from harness.explain.answer import VolumeAnswer
from harness.explain.tree import bound_pcrs
from harness.lab.install import SealedEntry
from harness.lab.laboratory import Laboratory
from harness.lab.machines import Machines
from harness.lab.recorder import EvidenceRecorder
from harness.policy.pins.tpm import TPM
from harness.policy.policy import Policy, Volume

_NETWORK = Grant.NETWORK.value
_KEPT = frozenset({0, 1, 2, 3, 7})
"""PCRs that any system leaves as they are while Secure Boot is off: `ExecutionPath.SAME_SIGNER`."""


@dataclass(frozen=True)
class Staged:
    """An attack that one boot plays.

    Attributes:
        name: In the evidence.
        about: What the attackers do, in a sentence.
        grants: What they have.
        near: The attackers that a try within the victim's network plays.
        far: The attackers that a try outside of it plays.
        foreign: Whether they start a system of their own on the victim's machine. The laboratory's machines have Secure
            Boot off, so their firmware accepts any: for a volume that is bound to what it measures this is the
            attacker who has such a system, and no other.
    """

    name: str
    about: str
    grants: frozenset[Grant]
    near: tuple[str, ...]
    far: tuple[str, ...]
    foreign: bool = False


_CLONE = Staged(
    "disk-clone",
    "a copy of the disk beside a live system, in the victim's network and out of it",
    frozenset({Grant.DISK, Grant.NETWORK}),
    ("disk-cloned-at-home",),
    ("disk-stolen",),
)
_THEFT = Staged(
    "stolen-foreign-os",
    "a live system on the victim's own machine, in its network and out of it",
    frozenset({Grant.MACHINE, Grant.NETWORK}),
    ("visitor-live-system",),
    ("machine-stolen", "machine-same-signer"),
    foreign=True,
)
_COPY = Staged(
    "tpm-state-clone",
    "disk, UEFI variables and TPM copied whole, started out of the victim's network",
    frozenset({Grant.DISK, Grant.NVRAM, Grant.TPM_STATE}),
    (),
    ("virtual-machine-copied",),
)
_ACCEPTED = "machine-same-signer"


def staged(policy: Policy) -> Iterator[Staged]:
    """The attacks that apply: those on a TPM where a pin asks one; none where volumes lie on several disks."""
    if len(policy.disks) > 1 or not policy.leaves:
        return
    yield _CLONE
    if any(leaf.service == TPM for leaf in policy.leaves):
        yield _THEFT
        yield _COPY


def play(attack: Staged, lab: Laboratory, entry: SealedEntry, root: Path) -> Document:
    """Play an attack on a copy of a sealed machine, unless that was done; returns its evidence.

    Raises:
        RigError: There is no verdict.
    """
    if found := known(attack, entry, root):
        return found
    test = _test(attack, entry)
    recorder = EvidenceRecorder.open(root, test, attack.about)
    with recorder.finishing(), Machines(lab, recorder) as machines:
        attacker = Attacker.of(machines.copy(entry), attack.grants)
        _PLAYED[attack.name](attacker)
    return record.load(root / artifacts.folder_name(test))


def _test(attack: Staged, entry: SealedEntry) -> str:
    return f"prove::{attack.name}[{entry.policy.name}-{entry.image.name}-{entry.folder.name[:12]}]"


def known(attack: Staged, entry: SealedEntry, root: Path) -> Document | None:
    """The evidence of an attack that was played on this sealed machine, and passed; None without it."""
    try:
        document = record.load(root / artifacts.folder_name(_test(attack, entry)))
    except UsageError:
        return None
    return document if document["result"] == Result.PASSED.value else None


def _by_live_system(attacker: Attacker) -> None:
    outside = attacker.without(Grant.NETWORK)
    with attacker.boot_live_system(disk=attacker.disk()) as system:
        attacker.try_bindings(system)
        outside.try_bindings(system)


def _by_copy(attacker: Attacker) -> None:
    attacker.boot(disk=attacker.disk(), tpm=attacker.tpm(), nvram=attacker.nvram())


_PLAYED: dict[str, Callable[[Attacker], None]] = {
    _CLONE.name: _by_live_system,
    _THEFT.name: _by_live_system,
    _COPY.name: _by_copy,
}


@dataclass(frozen=True)
class AttackLine:
    """What became of one attacker and one volume.

    Attributes:
        attacker: As `harness.explain.attackers` calls them.
        volume: Its name.
        predicted: Whether the rules have them extract the key.
        observed: Whether they did.
        evidence: The attack's folder.
    """

    attacker: str
    volume: str
    predicted: bool
    observed: bool
    evidence: str

    @property
    def agrees(self) -> bool:
        """Whether it is as the rules say."""
        return self.predicted is self.observed


def told(attack: Staged, document: Document, policy: Policy, answers: tuple[VolumeAnswer, ...]) -> Iterator[AttackLine]:
    """What the tries of an attack say of each attacker that it plays."""
    tries = (document["attack"] or {"tries": ()})["tries"]
    folder = artifacts.folder_name(document["test"])
    for volume, answer in zip(policy.volumes, answers, strict=True):
        guard = volume.name if len(policy.volumes) > 1 else policy.name
        said = {line.attacker: line.extracted for line in answer.attackers}
        for each in tries:
            if each["guard"] != guard:
                continue
            for attacker in _told_by(attack, volume, near=_NETWORK in each["grants"]):
                if attacker in said:
                    yield AttackLine(attacker, volume.name, said[attacker], each["extracted"], folder)


def _told_by(attack: Staged, volume: Volume, *, near: bool) -> tuple[str, ...]:
    names = attack.near if near else attack.far
    if not attack.foreign or _KEPT.isdisjoint(bound_pcrs(volume)):
        return names
    return tuple(name for name in names if name == _ACCEPTED)
