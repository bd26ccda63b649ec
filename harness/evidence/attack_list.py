"""What attackers got in real runs, as CSV: ``docs/attacks.csv`` is such a list, and `unlock-lab explain` reads it.

``attack,grants,guard,extracted``: a line for each try, its grants separated by blanks, **X** where the key or the
canary was printed and **R** where it was not. ``unlock-lab report --record LIST`` makes the lines, of evidence alone:

- what was printed is proof, whatever became of the test; that nothing was printed counts where the test has passed, its
  control included (a Tang server that was out of reach, say, shows nothing);
- a control, which is a try without the attack, is no line.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.evidence import csv_list
from harness.evidence.attacks import attack_name
from harness.evidence.record import OUTCOME, Document, Result
from harness.evidence.record import load as load_document

_COLUMNS = ("attack", "grants", "guard", "extracted")
_LETTERS = {"X": True, "R": False}
_SCENARIOS = "scenarios/"


@dataclass(frozen=True, order=True)
class AttackVerdict:
    """One try.

    Attributes:
        attack: The name of the test's function, without ``test_``.
        grants: What the attacker had, sorted.
        guard: What guarded the volume: a policy's name, or a volume's.
        extracted: Whether they printed the key or the canary.
    """

    attack: str
    grants: tuple[str, ...]
    guard: str
    extracted: bool


def verdicts(documents: Iterable[Document]) -> Iterator[AttackVerdict]:
    """What the evidence says of this project's own scenarios; a stranger's guards may have the same names."""
    for document in documents:
        if document["test"].startswith(_SCENARIOS) and document.get("attack"):
            passed = document["result"] == Result.PASSED.value
            for attempt in document["attack"]["tries"]:
                if not attempt.get("control", False) and (passed or attempt["extracted"]):
                    yield AttackVerdict(
                        attack_name(document["test"]), tuple(attempt["grants"]), attempt["guard"], attempt["extracted"]
                    )


def evidence_of(folders: Iterable[Path]) -> Iterator[Document]:
    """The documents of all tests in these folders of artifacts, but for what was cut off or another version wrote.

    Raises:
        UsageError: A folder is not there.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", hint="name the folders of artifacts that runs left")
        for path in sorted(folder.glob(f"*/{OUTCOME}")):
            with suppress(UsageError):
                yield load_document(path.parent)


def record(found: Sequence[AttackVerdict], path: Path) -> None:
    """Add verdicts to a list, in place of those that it had of the same attack, grants and guard, atomically.

    Args:
        found: What is new.
        path: The list; made if it is not there.

    Raises:
        UsageError: There is something else than such a list.
        HostError: It cannot be written.
    """
    new = {(each.attack, each.grants, each.guard) for each in found}
    kept = [each for each in load(path) if (each.attack, each.grants, each.guard) not in new]
    lines = (
        (each.attack, " ".join(each.grants), each.guard, "X" if each.extracted else "R")
        for each in sorted((*kept, *found))
    )
    csv_list.write(path, _COLUMNS, lines)


def load(path: Path) -> tuple[AttackVerdict, ...]:
    """Read a list; one that is not there is empty.

    Raises:
        UsageError: It cannot be read, or a line of it is wrong; with its number.
    """
    if not path.exists():
        return ()
    hint = "such a list is what `unlock-lab report --record` writes"
    return csv_list.read(path, _COLUMNS, _verdict, what="attacks", hint=hint)


def _verdict(line: Sequence[str]) -> AttackVerdict:
    attack, grants, guard, extracted = line
    return AttackVerdict(attack, tuple(grants.split()), guard, _LETTERS[extracted])
