"""What attackers had and got (pure), and the matrix of attacks and guards that it makes.

In the matrix a line is an attack with the grants of a try, a column is what guarded the volume; a mark is **X**,
extracted, or **R**, resisted, or **C** for a control: an attempt without the attack, which shows what the attack does.
That nothing was printed shows something only where the test has passed, its controls included: else it is **?**. What
nobody tried is empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Attempt:
    """One try of an attacker on one volume.

    Attributes:
        guard: What guarded the volume: the policy's name, or the volume's in a policy with several.
        grants: What they had for it, sorted.
        extracted: Whether they printed the canary or the volume key.
        evidence: A boot's folder, or a file of the test's, that shows it.
        control: Whether it was made without the attack: what it shows is what the attack is held against.
    """

    guard: str
    grants: tuple[str, ...]
    extracted: bool
    evidence: str
    control: bool = False


@dataclass(frozen=True)
class Attack:
    """What an attacker had and got in one test.

    Attributes:
        grants: What was granted, sorted.
        tries: Those that came to their end.
    """

    grants: tuple[str, ...]
    tries: tuple[Attempt, ...] = ()

    @property
    def extracted(self) -> bool | None:
        """Whether a try succeeded; None when none came to its end. A control is no try of the attack."""
        attacks = [attempt.extracted for attempt in self.tries if not attempt.control]
        return any(attacks) if attacks else None

    def document(self) -> dict[str, Any]:
        """What `outcome.schema.json` says of it."""
        tries = [{**vars(attempt), "grants": list(attempt.grants)} for attempt in self.tries]
        return {"grants": list(self.grants), "extracted": self.extracted, "tries": tries}


@dataclass(frozen=True)
class AttemptMark:
    """One try.

    Attributes:
        extracted: Whether the attacker printed the canary or the volume key.
        test: pytest's node id.
        evidence: As the document names it: a boot's folder, a file, or "".
        control: Whether it was made without the attack.
        passed: Whether the test did.
    """

    extracted: bool
    test: str
    evidence: str
    control: bool = False
    passed: bool = True

    @property
    def letter(self) -> str:
        """``X``, ``R`` or ``?``, or ``C`` for a control."""
        return "C" if self.control else "X" if self.extracted else "R" if self.passed else "?"

    @property
    def meaning(self) -> str:
        """The letter in words."""
        if self.control:
            return f"control: without the attack it {'opened' if self.extracted else 'stayed shut'}"
        return {"X": "extracted", "R": "resisted", "?": "nothing was printed, and the test did not pass"}[self.letter]


@dataclass(frozen=True)
class AttackRow:
    """An attack with certain grants.

    Attributes:
        attack: The name of the test's function, without ``test_``.
        grants: What the attacker had, sorted.
        cells: The marks by what guarded the volume.
    """

    attack: str
    grants: tuple[str, ...]
    cells: dict[str, tuple[AttemptMark, ...]]

    def guards(self, extracted: bool) -> list[str]:
        """What fell in a try, or what stood."""
        return self._with("X" if extracted else "R")

    @property
    def controls(self) -> list[str]:
        """What was tried without the attack, too."""
        return self._with("C")

    def _with(self, letter: str) -> list[str]:
        return sorted(name for name, marks in self.cells.items() if any(mark.letter == letter for mark in marks))


def attack_rows(documents: Sequence[Mapping[str, Any]]) -> tuple[AttackRow, ...]:
    """The lines of the matrix, sorted: those of one attack stand together, fewer grants first."""
    lines: dict[tuple[str, tuple[str, ...]], dict[str, tuple[AttemptMark, ...]]] = {}
    for document in documents:
        name = attack_name(document["test"])
        for attempt in (document.get("attack") or {}).get("tries", ()):
            cells = lines.setdefault((name, tuple(attempt["grants"])), {})
            control, passed = attempt.get("control", False), document["result"] == "passed"
            mark = AttemptMark(attempt["extracted"], document["test"], attempt["evidence"], control, passed)
            cells[attempt["guard"]] = (*cells.get(attempt["guard"], ()), mark)
    ordered = sorted(lines.items(), key=lambda item: (item[0][0], len(item[0][1]), item[0][1]))
    return tuple(AttackRow(attack, grants, cells) for (attack, grants), cells in ordered)


def attack_name(test: str) -> str:
    """What an attack is called: the name of its test's function without ``test_``, hyphens in it."""
    return test.partition("::")[2].partition("[")[0].removeprefix("test_").replace("_", "-")


def guards(lines: Sequence[AttackRow]) -> tuple[str, ...]:
    """The columns of the matrix, sorted."""
    return tuple(sorted({guard for line in lines for guard in line.cells}))
