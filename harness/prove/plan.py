"""Which boots prove what the rules say of a policy, and in what order (pure)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum

from harness.explain.answer import Answer, ConditionAnswer

CONTROL = "present"
"""The condition under which nothing is changed: the control boot of the installation tells it."""


class Doubt(IntEnum):
    """Why a prediction is booted, the gravest reason first."""

    TOOLS_DIFFER = 0
    BOOTS_DIFFER = 1
    ONLY_A_BOOT = 2
    NEVER_BOOTED = 3
    CONFIRMED = 4

    @property
    def words(self) -> str:
        """The reason, for a table."""
        return _WORDS[self]


_WORDS = {
    Doubt.TOOLS_DIFFER: "the guest's own tools did something else",
    Doubt.BOOTS_DIFFER: "recorded boots did something else",
    Doubt.ONLY_A_BOOT: "only a boot can tell",
    Doubt.NEVER_BOOTED: "no boot of its like is recorded",
    Doubt.CONFIRMED: "recorded boots agree",
}


@dataclass(frozen=True)
class Step:
    """One condition that is booted.

    Attributes:
        condition: Its name.
        stands_for: The other conditions of its class, in order.
        doubt: Why it is booted when it is.
        boots: Power-ons that it takes; none where the control boot of the installation told it.
    """

    condition: str
    stands_for: tuple[str, ...]
    doubt: Doubt
    boots: int


def plan(
    answer: Answer, boots: Mapping[str, int], differing: Collection[str] = (), only_a_boot: Collection[str] = ()
) -> tuple[Step, ...]:
    """The control, then one boot for each class; what is in doubt by itself has a boot of its own.

    Args:
        answer: What the rules say, with what recorded boots said.
        boots: How many power-ons each condition takes; one that is not named cannot be booted here.
        differing: Conditions under which the guest's own tools did something else than the rules say.
        only_a_boot: Conditions that only a boot can tell about.
    """
    doubts = _doubts(answer, differing, only_a_boot)
    classes: dict[object, list[str]] = {}
    for number, (condition, does) in enumerate(_signatures(answer).items()):
        if condition in boots:
            alone = doubts[condition] <= Doubt.BOOTS_DIFFER and condition != CONTROL
            classes.setdefault(number if alone else does, []).append(condition)
    steps = [_step(names, doubts, boots) for names in classes.values()]
    return tuple(sorted(steps, key=lambda step: (step.condition != CONTROL, step.doubt)))


def _step(names: list[str], doubts: Mapping[str, Doubt], boots: Mapping[str, int]) -> Step:
    """The condition of a class that is booted: the control, else the cheapest, and of these the most doubtful."""
    chosen = CONTROL if CONTROL in names else min(names, key=lambda name: (boots[name], doubts[name]))
    rest = tuple(name for name in names if name != chosen)
    return Step(chosen, rest, doubts[chosen], boots[chosen])


def _signatures(answer: Answer) -> Mapping[str, object]:
    """What all volumes do under each condition, in the order of the conditions."""
    found: dict[str, list[object]] = {}
    for volume in answer.volumes:
        for line in volume.conditions:
            found.setdefault(line.condition, []).append((line.unlock, line.failed_pins))
    return {condition: tuple(does) for condition, does in found.items()}


def _doubts(answer: Answer, differing: Collection[str], only_a_boot: Collection[str]) -> Mapping[str, Doubt]:
    found: dict[str, Doubt] = {}
    for volume in answer.volumes:
        for line in volume.conditions:
            doubt = _doubt(line, differing, only_a_boot)
            found[line.condition] = min(found.get(line.condition, Doubt.CONFIRMED), doubt)
    return found


def _doubt(line: ConditionAnswer, differing: Collection[str], only_a_boot: Collection[str]) -> Doubt:
    if line.condition in differing:
        return Doubt.TOOLS_DIFFER
    if line.recorded.contradicted:
        return Doubt.BOOTS_DIFFER
    if line.recorded.confirmed:
        return Doubt.CONFIRMED
    return Doubt.ONLY_A_BOOT if line.condition in only_a_boot else Doubt.NEVER_BOOTED
