"""What mutation testing found, and which of it is accepted (pure).

mutmut writes each mutant of a function beside the original, in one file: ``x_held__mutmut_3`` is the third of `held`,
``xǁDoorǁopen__mutmut_1`` the first of `Door.open`, and ``…__mutmut_orig`` each as it was.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

WORDS = "other words"
"""What `Accepted.becomes` says where any change to the text of the line's strings is accepted, and nothing else is."""


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    """A test failed."""
    TIMED_OUT = "timed out"
    """The tests took far more of the processor than they take: a loop without an end."""
    SURVIVED = "survived"
    """All tests passed, or none calls the function."""
    UNCLEAR = "unclear"
    """Its process crashed: no verdict."""


@dataclass(frozen=True)
class Mutant:
    """One change to one function.

    Attributes:
        module: The file, from the root of the repository.
        function: ``name`` or ``Class.name``.
        line: What was changed, without indentation; more lines if the change takes more.
        becomes: What it was changed to; "" when the lines went.
        source: The whole function as changed, as it stands in the file.
    """

    module: str
    function: str
    line: str
    becomes: str
    source: str = ""

    def __str__(self) -> str:
        told = [f"{self.module}: {self.function}"]
        told += [f"  - {line}" for line in self.line.splitlines()]
        told += [f"  + {line}" for line in self.becomes.splitlines()]
        return "\n".join(told)


@dataclass(frozen=True)
class Accepted:
    """A mutant that may survive; see `survivors.yaml`.

    Attributes:
        module: The file, from the root of the repository.
        function: ``name`` or ``Class.name``.
        line: The line that is changed.
        becomes: What it is changed to, or `WORDS`.
        reason: Why no test has to notice.
    """

    module: str
    function: str
    line: str
    becomes: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether this is about a mutant."""
        if (self.module, self.function, self.line) != (mutant.module, mutant.function, mutant.line):
            return False
        return only_words(mutant) if self.becomes == WORDS else self.becomes == mutant.becomes


@dataclass(frozen=True)
class Tally:
    """How the mutants of one module ended.

    Attributes:
        module: The file, from the root of the repository.
        fates: How many ended how.
        survivors: Those that no test noticed.
        by_types: How many of those that survived mypy refuses, so that they are no survivors.
    """

    module: str
    fates: Mapping[Fate, int]
    survivors: tuple[Mutant, ...]
    by_types: int = 0


def only_words(mutant: Mutant) -> bool:
    """Whether nothing but the letters of strings differs: their case, or XX around them."""
    return _letters(mutant.line) == _letters(mutant.becomes)


def _letters(line: str) -> str:
    return line.replace("XX", "").lower()


def undecorated(source: str) -> str:
    """Write decorators of functions as the calls that they stand for: mutmut leaves decorated functions alone.

    ``@property`` above ``def a(self)`` becomes ``a = property(a)`` below it. Functions named ``_`` stay as they are:
    their decorators register them under another name.
    """
    lines = source.splitlines()
    for node in sorted(_decorated(ast.parse(source)), key=lambda node: -node.lineno):
        first, last = node.decorator_list[0].lineno - 1, node.end_lineno
        assert last is not None
        called = node.name
        for decorator in reversed(node.decorator_list):
            called = f"{ast.unparse(decorator)}({called})"
        indent = " " * node.col_offset
        lines[first:last] = [*lines[node.lineno - 1 : last], f"{indent}{node.name} = {called}"]
    return "\n".join(lines) + "\n"


def _decorated(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Functions and methods that mutmut would not look into, but for its own two exceptions."""
    for scope in _scopes(tree):
        for node in scope.body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list and node.name != "_":
                names = {ast.unparse(decorator) for decorator in node.decorator_list}
                if not names & {"staticmethod", "classmethod", "overload"} and not any("." in name for name in names):
                    yield node


def _scopes(tree: ast.Module) -> list[ast.Module | ast.ClassDef]:
    """Where mutmut looks for functions: the module, and its classes."""
    return [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]


def function_of(name: str) -> str:
    """mutmut's name of the function that a mutant is one of, with its module."""
    return name.partition("__mutmut_")[0]


def tally_of(module: str, code: str, spans: Mapping[str, tuple[int, int]], fates: Mapping[str, Fate]) -> Tally:
    """What was found out about one module.

    Args:
        module: The file, from the root of the repository.
        code: The file with all mutants.
        spans: The first and the last line of each function in it.
        fates: What became of each mutant, by the name of its function.
    """
    lines = code.splitlines()
    functions = {name: "\n".join(lines[first - 1 : last]) for name, (first, last) in spans.items()}
    survived = [name for name, fate in fates.items() if fate is Fate.SURVIVED]
    return Tally(module, Counter(fates.values()), tuple(_mutant(module, name, functions) for name in survived))


def _mutant(module: str, name: str, functions: Mapping[str, str]) -> Mutant:
    mangled = function_of(name)
    function = mangled.removeprefix("x").strip("ǁ").replace("ǁ", ".") if "ǁ" in mangled else mangled.removeprefix("x_")
    bare = function.rpartition(".")[2]
    before, after = (
        re.sub(rf"\bdef {re.escape(mangled)}__mutmut_\w+\(", f"def {bare}(", functions[which], count=1)
        for which in (f"{mangled}__mutmut_orig", name)
    )
    return Mutant(module, function, *_changed(before, after), after)


def _changed(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, without indentation."""
    one, two = ([line.strip() for line in text.splitlines()] for text in (before, after))
    parts = [part for part in SequenceMatcher(None, one, two, autojunk=False).get_opcodes() if part[0] != "equal"]
    gone = [line for _, start, end, _, _ in parts for line in one[start:end]]
    come = [line for _, _, _, start, end in parts for line in two[start:end]]
    return "\n".join(gone), "\n".join(come)


def with_mutant(source: str, mutant: Mutant) -> str:
    """A module's source with one function changed; its decorators stay."""
    owner, _, name = mutant.function.rpartition(".")
    scope = next(node for node in _scopes(ast.parse(source)) if getattr(node, "name", "") == owner)
    functions = (node for node in scope.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    found = next(node for node in functions if node.name == name)
    lines = source.splitlines()
    lines[found.lineno - 1 : found.end_lineno] = mutant.source.strip("\n").splitlines()
    return "\n".join(lines) + "\n"


def read_accepted(listed: Mapping[str, Iterable[Mapping[str, object]]]) -> list[Accepted]:
    """What `survivors.yaml` accepts, in its order."""
    found = []
    for module, entries in listed.items():
        for entry in entries:
            reason, function = str(entry["reason"]), str(entry["function"])
            if not reason.strip():
                raise ValueError(f"{module}: {function}: a survivor without a reason")
            line, becomes = str(entry["line"]).strip(), entry["becomes"]
            each = becomes if isinstance(becomes, list) else [becomes]
            found += [Accepted(module, function, line, str(one).strip(), reason) for one in each]
    return found


def unaccepted(tallies: Iterable[Tally], accepted: Iterable[Accepted]) -> list[Mutant]:
    """Survivors that nobody gave a reason for."""
    known = list(accepted)
    survivors = (mutant for tally in tallies for mutant in tally.survivors)
    return [mutant for mutant in survivors if not any(one.covers(mutant) for one in known)]


def outdated(tallies: Iterable[Tally], accepted: Iterable[Accepted]) -> list[Accepted]:
    """Reasons for what does not survive, or is not there any more; only in modules that were tried."""
    by_module = {tally.module: tally.survivors for tally in tallies}
    return [
        one
        for one in accepted
        if one.module in by_module and not any(one.covers(mutant) for mutant in by_module[one.module])
    ]


def table(tallies: Iterable[Tally], accepted: Iterable[Accepted]) -> str:
    """The counts, one line a module, and their sum."""
    known = list(accepted)
    rows = []
    for one in tallies:
        left = len(unaccepted([one], known))
        counts = [one.fates.get(fate, 0) for fate in (Fate.KILLED, Fate.TIMED_OUT, Fate.UNCLEAR)]
        rows.append((one.module, sum(one.fates.values()), *counts, one.by_types, len(one.survivors) - left, left))
    total = ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))
    head = ("module", "mutants", "killed", "timed out", "unclear", "by types", "with a reason", "survived")
    return "\n".join(
        f"{name:40} " + " ".join(f"{value:>13}" for value in values) for name, *values in (head, *rows, total)
    )
