"""The whole answer about a policy: warnings, each volume's tree, every condition, every attacker (pure)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from harness.event_log.events import MeasuredEvent
from harness.explain.advice import Advice, advice
from harness.explain.attackers import ATTACKERS, AttackerKind, with_tang_keys
from harness.explain.shape import Shape, nameless, numbered, shape
from harness.explain.tree import Branch, bound_pcrs, of_volume
from harness.policy.extract import extract
from harness.policy.oracle import predict
from harness.policy.pins import ServiceId
from harness.policy.policy import Policy, Volume
from harness.policy.world import Stack, World
from harness.unlock import Unlock


@dataclass(frozen=True)
class Situation:
    """One condition as the rules know it.

    Attributes:
        name: Of the column of the truth table.
        about: What is so, in a sentence.
        world_of: What the rules are told about a machine whose pins ask these services.
        becomes: What maintenance makes of the volumes beforehand.
        scenario: What shows it, as ``file::function`` below scenarios/, or None where only the truth table does.
    """

    name: str
    about: str
    world_of: Callable[[Iterable[ServiceId]], World]
    becomes: Callable[[tuple[Volume, ...]], tuple[Volume, ...]]
    scenario: str | None


@dataclass(frozen=True)
class Recorded:
    """How often real boots said the same, or something else."""

    confirmed: int = 0
    contradicted: int = 0


@dataclass(frozen=True)
class ConditionAnswer:
    """What a volume does under one condition."""

    condition: str
    about: str
    unlock: Unlock
    failed_pins: frozenset[str]
    reason: str
    recorded: Recorded
    scenario: str | None


@dataclass(frozen=True)
class AttackerAnswer:
    """What one attacker gets of a volume."""

    attacker: str
    about: str
    extracted: bool
    reason: str
    recorded: Recorded
    scenario: str


@dataclass(frozen=True)
class MeasuredPcr:
    """What one PCR that a volume is bound to is made of, by the machine's own event log.

    Attributes:
        pcr: Which.
        subjects: What was measured into it, in words and in order, each once: a change of any of them changes it.
    """

    pcr: int
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class VolumeAnswer:
    """All about one volume.

    Attributes:
        name: Of the mapping.
        mount_point: Where its file system is mounted, if that is known.
        tree: What opens it.
        conditions: What it does under each; none where that is withheld.
        attackers: What each gets; none where that is withheld.
        measured: What its PCRs are made of, where an event log tells.
        withheld: Why nothing is predicted, where nothing is; else empty.
    """

    name: str
    mount_point: str | None
    tree: Branch
    conditions: tuple[ConditionAnswer, ...]
    attackers: tuple[AttackerAnswer, ...]
    measured: tuple[MeasuredPcr, ...] = ()
    withheld: str = ""


@dataclass(frozen=True)
class Answer:
    """All about one policy.

    Attributes:
        policy: Its name.
        stack: What opens its volumes.
        advice: The warnings, which come first.
        volumes: Each by itself.
        facts: What else is known of the machine, a line each.
    """

    policy: str
    stack: Stack
    advice: tuple[Advice, ...]
    volumes: tuple[VolumeAnswer, ...]
    facts: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As `explain.schema.json` says."""
        return {
            "policy": self.policy,
            "stack": self.stack.value,
            "facts": list(self.facts),
            "warnings": [vars(each) for each in self.advice],
            "volumes": [_document(volume) for volume in self.volumes],
        }


Verdicts = Mapping[tuple[Stack, Shape, str], Recorded]
"""What boots said of a shape under a condition (`shape.nameless`)."""

Granted = tuple[bool, bool]
"""Whether an attacker had a place in the victim's network, and whether a copy of the TPM's state."""

AttackVerdicts = Mapping[tuple[Shape, str, Granted], Mapping[bool, int]]
"""How often an attack (by its name) on a shape extracted the key, or did not."""


def answer(
    policy: Policy,
    stack: Stack,
    situations: Iterable[Situation],
    verdicts: Verdicts,
    attacks: AttackVerdicts,
    *,
    withheld: Mapping[str, str] = MappingProxyType({}),
    events: Sequence[MeasuredEvent] = (),
    facts: tuple[str, ...] = (),
) -> Answer:
    """Ask the rules everything about a policy.

    Args:
        policy: The policy.
        stack: What opens its volumes.
        situations: The conditions that make sense for it.
        verdicts: What boots said of volumes like these.
        attacks: What attacks got of volumes like these.
        withheld: Volumes of which nothing is predicted, and why.
        events: The machine's own event log, if it is there.
        facts: What else is known of the machine.
    """
    situations = tuple(situations)
    return Answer(
        policy.name,
        stack,
        advice(policy),
        tuple(
            VolumeAnswer(volume.name, volume.mount_point, of_volume(volume), (), (), withheld=withheld[volume.name])
            if volume.name in withheld
            else VolumeAnswer(
                volume.name,
                volume.mount_point,
                of_volume(volume),
                tuple(_condition(policy, index, stack, situation, verdicts) for situation in situations),
                tuple(_attacker(volume, kind, attacks) for kind in _kinds(volume)),
                tuple(_measured(volume, events)),
            )
            for index, volume in enumerate(policy.volumes)
        ),
        facts,
    )


def _measured(volume: Volume, events: Sequence[MeasuredEvent]) -> Iterator[MeasuredPcr]:
    for pcr in bound_pcrs(volume):
        subjects = tuple(dict.fromkeys(event.subject for event in events if event.pcr == pcr))
        if subjects:
            yield MeasuredPcr(pcr, subjects)


def _condition(policy: Policy, index: int, stack: Stack, situation: Situation, verdicts: Verdicts) -> ConditionAnswer:
    volume = policy.volumes[index]
    said = predict(situation.becomes(policy.volumes)[index], situation.world_of(policy.provided), stack)
    recorded = verdicts.get((stack, shape(volume), nameless(situation.name, numbered(volume))), Recorded())
    return ConditionAnswer(
        situation.name, situation.about, said.unlock, said.failed_pins, said.reason, recorded, situation.scenario
    )


def _kinds(volume: Volume) -> Iterable[AttackerKind]:
    servers = frozenset(volume.tang_servers)
    return (*ATTACKERS, *([with_tang_keys(servers)] if servers else []))


def _attacker(volume: Volume, kind: AttackerKind, attacks: AttackVerdicts) -> AttackerAnswer:
    said = extract(volume, kind.capabilities)
    granted = kind.capabilities.network, kind.capabilities.tpm_state
    counts = [attacks.get((shape(volume), name, granted), {}) for name in kind.attacks]
    recorded = Recorded(
        sum(count.get(said.extracted, 0) for count in counts), sum(count.get(not said.extracted, 0) for count in counts)
    )
    return AttackerAnswer(kind.name, kind.about, said.extracted, said.reason, recorded, kind.scenario)


def _document(volume: VolumeAnswer) -> dict[str, Any]:
    return {
        "name": volume.name,
        "mount_point": volume.mount_point,
        "tree": volume.tree.document(),
        "measured": [{"pcr": each.pcr, "subjects": list(each.subjects)} for each in volume.measured],
        "withheld": volume.withheld,
        "conditions": [
            {
                **vars(each),
                "unlock": each.unlock.value,
                "failed_pins": sorted(each.failed_pins),
                "recorded": vars(each.recorded),
            }
            for each in volume.conditions
        ],
        "attackers": [{**vars(each), "recorded": vars(each.recorded)} for each in volume.attackers],
    }


@dataclass(frozen=True)
class Expectation:
    """One ``--expect``: ``[VOLUME:]CONDITION=OUTCOME`` or ``[VOLUME:]ATTACKER=extracted|resisted``."""

    volume: str | None
    subject: str
    outcome: str

    def unmet(self, given: Answer) -> list[str]:
        """Where it is otherwise or not predicted, each in a sentence; also when there is no such thing to ask about."""
        found = []
        volumes = [volume for volume in given.volumes if self.volume in (None, volume.name)]
        known: dict[str, tuple[str, str]] = {}
        for volume in volumes:
            said = {each.condition: (each.unlock.value, each.reason) for each in volume.conditions}
            said |= {
                each.attacker: ("extracted" if each.extracted else "resisted", each.reason) for each in volume.attackers
            }
            known |= said
            withheld = (Unlock.NOT_PREDICTED.value, volume.withheld) if volume.withheld else (self.outcome, "")
            outcome, reason = said.get(self.subject, withheld)
            if outcome != self.outcome:
                found.append(f"{volume.name}: {self.subject} gives {outcome}, not {self.outcome}: {reason}")
        if not volumes:
            found.append(f"there is no volume {self.volume}, only {', '.join(volume.name for volume in given.volumes)}")
        elif self.subject not in known and not any(volume.withheld for volume in volumes):
            found.append(f"there is no {self.subject} to ask about, only {', '.join(known) or 'nothing'}")
        return found
