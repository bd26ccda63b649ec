"""What is made of mutmut's mutants, and when a survivor is accepted; and, slowly, the mutants themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mutation.mutants import (
    WORDS,
    Accepted,
    Fate,
    Mutant,
    Tally,
    only_words,
    outdated,
    read_accepted,
    table,
    tally_of,
    unaccepted,
    undecorated,
    with_mutant,
)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCE = '''\
class Door:
    @property
    def open(self) -> bool:
        """Whether it is."""
        return self.key > 1

    @staticmethod
    def sound() -> str:
        return "creak"


@cache
def knock(
    times: int,
) -> str:
    return "knock" * times
'''


def test_decorators_are_written_as_calls() -> None:
    source = undecorated(SOURCE)
    assert "    def open(self) -> bool:" in source
    assert "        return self.key > 1\n    open = property(open)\n" in source
    assert '    return "knock" * times\nknock = cache(knock)\n' in source
    assert "    @staticmethod\n    def sound" in source
    assert "@property" not in source
    names: dict[str, object] = {}
    exec(f"from functools import cache\n{source}", names)
    assert names["knock"](2) == "knockknock"  # type: ignore[operator]


def test_functions_that_are_registered_keep_their_decorators() -> None:
    source = "@holds.register\ndef _(pin: int) -> bool:\n    return True\n"
    assert undecorated(source) == source


GENERATED = """\
def x_held__mutmut_orig(at):
    return (
        at > 1,
        "held",
    )
def x_held__mutmut_1(at):
    return (
        at >= 1,
        "held",
    )
def x_held__mutmut_2(at):
    return (
        at > 1,
        )
class Door:
    def xǁDoorǁopen__mutmut_orig(self):
        return self.key
    def xǁDoorǁopen__mutmut_1(self):
        return None
"""
SPANS = {
    "x_held__mutmut_orig": (1, 5),
    "x_held__mutmut_1": (6, 10),
    "x_held__mutmut_2": (11, 14),
    "xǁDoorǁopen__mutmut_orig": (16, 17),
    "xǁDoorǁopen__mutmut_1": (18, 19),
}


def found(*fates: Fate) -> Tally:
    names = [name for name in SPANS if not name.endswith("orig")]
    return tally_of("harness/door.py", GENERATED, SPANS, dict(zip(names, fates, strict=True)))


def test_what_survived_is_told_by_its_lines() -> None:
    tally = found(Fate.SURVIVED, Fate.SURVIVED, Fate.SURVIVED)
    assert [(one.function, one.line, one.becomes) for one in tally.survivors] == [
        ("held", "at > 1,", "at >= 1,"),
        ("held", '"held",', ""),
        ("Door.open", "return self.key", "return None"),
    ]
    assert tally.survivors[2].source == "    def open(self):\n        return None"


def test_only_what_survived_is_a_survivor() -> None:
    tally = found(Fate.KILLED, Fate.TIMED_OUT, Fate.UNCLEAR)
    assert tally.survivors == ()
    assert tally.fates == {Fate.KILLED: 1, Fate.TIMED_OUT: 1, Fate.UNCLEAR: 1}


def test_a_mutant_put_back_into_its_module_keeps_the_decorators() -> None:
    changed = with_mutant(SOURCE, Mutant("m", "Door.open", "", "", "    def open(self) -> bool:\n        return 2"))
    assert "    @property\n    def open(self) -> bool:\n        return 2\n\n    @staticmethod\n" in changed
    assert "return self.key" not in changed
    assert "@cache\ndef knock(times) -> str:\n    ...\n" in with_mutant(
        SOURCE, Mutant("m", "knock", "", "", "def knock(times) -> str:\n    ...")
    )
    assert with_mutant(
        "async def wait() -> None:\n    pass\n", Mutant("m", "wait", "", "", "async def wait() -> None:\n    ...")
    ) == ("async def wait() -> None:\n    ...\n")


MORE = Mutant("harness/door.py", "held", "at > 1,", "at >= 1,")
LOUD = Mutant("harness/door.py", "held", 'raise Error("it is Shut")', 'raise Error("XXit is ShutXX")')


@pytest.mark.parametrize(
    ("line", "becomes", "expected"),
    [
        ('say("Shut")', 'say("XXShutXX")', True),
        ('say("Shut")', 'say("SHUT")', True),
        ('say("Shut")', "say(None)", False),
        ('say("Shut") if at > 1 else ""', 'say("Shut") if at >= 1 else ""', False),
    ],
)
def test_words_are_the_letters_of_strings_alone(line: str, becomes: str, expected: bool) -> None:
    assert only_words(Mutant("m", "f", line, becomes)) is expected


def accepted(mutant: Mutant, becomes: str) -> Accepted:
    return Accepted(mutant.module, mutant.function, mutant.line, becomes, "because")


def test_a_reason_is_about_one_change_of_one_line_of_one_function() -> None:
    assert accepted(MORE, MORE.becomes).covers(MORE)
    assert not accepted(MORE, "at > 2,").covers(MORE)
    assert not accepted(Mutant(MORE.module, "shut", MORE.line, ""), MORE.becomes).covers(MORE)
    assert accepted(LOUD, WORDS).covers(LOUD)
    assert not accepted(MORE, WORDS).covers(MORE), "a comparison is no word"


def test_a_survivor_needs_a_reason_and_a_reason_a_survivor() -> None:
    one = Tally("harness/door.py", {Fate.SURVIVED: 2}, (MORE, LOUD))
    known = [accepted(MORE, MORE.becomes)]
    assert unaccepted([one], known) == [LOUD]
    assert outdated([one], known) == []
    gone = accepted(MORE, "at > 2,")
    assert outdated([one], [gone]) == [gone]
    assert outdated([], [gone]) == [], "its module was not tried"


def test_the_table_counts_by_module() -> None:
    fates = {Fate.KILLED: 5, Fate.TIMED_OUT: 1, Fate.SURVIVED: 5}
    lines = table([Tally("a.py", fates, (MORE, LOUD), by_types=3)], [accepted(MORE, MORE.becomes)]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["a.py", "11", "5", "1", "0", "3", "1", "1"],
        ["all", "11", "5", "1", "0", "3", "1", "1"],
    ]


def test_reasons_are_read_and_none_is_empty() -> None:
    entry = {"function": "held", "line": "at > 1,\n", "becomes": ["at >= 1,", WORDS], "reason": "because"}
    assert read_accepted({"a.py": [entry]}) == [
        Accepted("a.py", "held", "at > 1,", becomes, "because") for becomes in ("at >= 1,", WORDS)
    ]
    with pytest.raises(ValueError, match=r"a\.py: held: a survivor without a reason"):
        read_accepted({"a.py": [{**entry, "reason": " "}]})


def test_what_is_configured_is_there() -> None:
    groups = yaml.safe_load((HERE / "modules.yaml").read_text())
    named = [path for group in groups for path in (*group["modules"], *group["tests"])]
    assert [path for path in named if not (ROOT / path).is_file()] == []
    modules = {module for group in groups for module in group["modules"]}
    listed = read_accepted(yaml.safe_load((HERE / "survivors.yaml").read_text()) or {})
    assert {one.module for one in listed} <= modules, "a reason for a module that nobody tries"


@pytest.mark.slow
def test_no_mutant_survives_without_a_reason() -> None:
    done = subprocess.run(
        [sys.executable, HERE / "run.py"],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * 3600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
