"""What a person reads in the terminal: the reason first, then what was seen, then where to look further.

Everything is text that fits 80 columns; only `summary` may have another width, and colours, when it is asked to and
``NO_COLOR`` is not set (no-color.org).
"""

import os
import textwrap
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.errors import HarnessError
from harness.evidence.attacks import AttackRow, attack_rows
from harness.evidence.record import Boot, Document, Failure, Problem, Result
from harness.guest.outcome import Outcome, Seconds, Unlock
from harness.plain import plain

_COLOURS = {
    Unlock.AUTO.value: "green",
    Unlock.PASSPHRASE_FALLBACK.value: "yellow",
    Unlock.LOCKED.value: "magenta",
    Unlock.REFUSED.value: "magenta",
}

_GROUPS = (
    (Result.PASSED, "passed", "green"),
    (Result.FAILED, "failed: the disk did not do what the scenario expects", "red"),
    (Result.ERROR, "errors: no verdict, the guest was not judged", "yellow"),
    (Result.UNFINISHED, "unfinished: no verdict, the test was cut off", "yellow"),
    (Result.SKIPPED, "skipped: no verdict, the scenario says that it does not apply here", "yellow"),
)

_WIDTH = 80
"""In columns."""


def failure_text(
    failure: Failure,
    boots: Sequence[Boot],
    *,
    console: Sequence[str] = (),
    evidence: Path | None = None,
) -> str:
    """What a failed assertion prints in place of a traceback.

    Args:
        failure: The assertion.
        boots: All boots of the test.
        console: The last lines of the last boot's console (`artifacts.tail`).
        evidence: The test's folder; its path stays on one line, so that it can be copied.
    """
    lines = _wrap(failure.reason)
    if failure.source or failure.text:
        lines += _wrap(": ".join(filter(None, (failure.source, failure.text.strip()))), "  ")
    for number, boot in enumerate(boots, 1):
        lines += ["", *_boot(number, boot)]
    return "\n".join([*lines, *_console(console), *_evidence(evidence)])


def rig_error_text(
    error: HarnessError | Problem,
    boots: Sequence[Boot] = (),
    *,
    console: Sequence[str] = (),
    evidence: Path | None = None,
) -> str:
    """What an error of the rig, of this host or of the call prints in place of a traceback.

    Args:
        error: What happened. Only a `RigError` claims that the guest was not judged.
        boots: The boots before it, if any.
        console: The last lines of the console, when the error does not quote them itself.
        evidence: The test's folder.
    """
    problem = error if isinstance(error, Problem) else Problem.of(error)
    lines = _problem(problem)
    for number, boot in enumerate(boots, 1):
        if boot.observed != problem:
            lines += ["", *_boot(number, boot)]
    quoted = set(plain(problem.detail).splitlines())
    return "\n".join([*lines, *_console([line for line in console if line not in quoted]), *_evidence(evidence)])


def summary(documents: Sequence[Document], *, width: int = _WIDTH, color: bool = False) -> str:
    """The table at the end of a run: scenarios with their boots; those without a verdict apart from those that failed.

    Args:
        documents: As `record.document` makes or `record.load` reads them.
        width: In columns.
        color: Whether the text goes to a terminal that shows colours.
    """
    parts: list[RenderableType] = []
    for result, title, colour in _GROUPS:
        group = [document for document in documents if document["result"] == result]
        if group:
            parts += ["", Text(f"{title} ({len(group)})", f"bold {colour}")]
            for document in group:
                parts += _scenario(document, width)
    if lines := attack_rows(documents):
        parts += [
            "",
            Text("attacks: X extracted, R resisted, C control without the attack", "bold"),
            _attack_table(lines),
        ]
    parts += ["", _totals(documents)]
    stream = StringIO()
    shown = color and not os.environ.get("NO_COLOR")
    console = Console(
        file=stream, width=width, force_terminal=shown, color_system="standard" if shown else None, emoji=False
    )
    console.print(Group(*parts), highlight=False, markup=False)
    return "\n".join(line.rstrip() for line in stream.getvalue().strip("\n").split("\n"))


def _problem(problem: Problem) -> list[str]:
    title = f"{problem.kind}: {problem.what}"
    lines = _wrap(title)
    lines += _wrap(problem.detail, "  ") if problem.detail else []
    lines += _wrap(f"hint: {problem.hint}") if problem.hint else []
    if problem.kind == "RigError":
        lines += _wrap("This is a fault of the emulated hardware: it says nothing about the guest.")
    return lines


def _boot(number: int, boot: Boot) -> list[str]:
    name = f"boot {number} ({', '.join(filter(None, (boot.label, boot.machine)))})"
    if isinstance(boot.observed, Problem):
        return _wrap(f"{name}: no verdict. {boot.observed.kind}: {boot.observed.what}")
    head = f"{name}: {boot.observed.unlock.value}: {boot.observed.reason}"
    return [*_wrap(head), *_facts(boot.observed)]


def _facts(outcome: Outcome) -> Iterator[str]:
    for name, values in _fact_table(outcome):
        for position, value in enumerate(values):
            first = f"  {name:<13}" if position == 0 else " " * 15
            yield from _wrap(value, first, " " * 15)


def _fact_table(outcome: Outcome) -> Iterator[tuple[str, list[str]]]:
    slot = [f"{name} {at}" for name, at in (("keyslot", outcome.keyslot), ("token", outcome.token)) if at is not None]
    yield "opened by", [", ".join([" + ".join(sorted(outcome.unlocked_by)) or "nothing", *slot])]
    if outcome.failures:
        yield "failed pins", [f"{pin.pin}: {pin.reason} ({pin.source})" for pin in outcome.failures]
    if outcome.measured_otherwise:
        yield "measured", list(outcome.measured_otherwise)
    yield "typed", [f"{counted(outcome.typed_bytes, 'byte')}, {counted(outcome.prompts, 'prompt')}"]
    if outcome.volumes:
        yield "volumes", [f"{name}: {_opened(volume)}" for name, volume in outcome.volumes.items()]
    if when := seconds_text(outcome.seconds):
        yield "seconds", [when]
    if outcome.canary is not None:
        yield "canary", ["read"]
    if outcome.proofs:
        yield "proof", list(outcome.proofs)


def _opened(outcome: Outcome) -> str:
    by = " + ".join(sorted(outcome.unlocked_by))
    return f"{outcome.unlock.value} by {by}" if by else outcome.unlock.value


def seconds_text(seconds: Seconds) -> str:
    """The moments of a boot, in seconds from power-on."""
    return ", ".join(f"{name} {at:.1f}" for name, at in vars(seconds).items() if at is not None)


def _console(lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    quoted = [part for line in lines for part in _wrap(line, "  │ ", "  │   ")]
    return ["", f"the last {counted(len(lines), 'line')} of the console:", *quoted]


def _evidence(folder: Path | None) -> list[str]:
    return ["", f"evidence: {folder}"] if folder else []


def _wrap(text: str, first: str = "", rest: str | None = None) -> list[str]:
    rest = first if rest is None else rest
    lines: list[str] = []
    for line in plain(text).strip("\n").split("\n"):
        before = rest if lines else first
        # A line's own indentation is part of what it says.
        own = line[: len(line) - len(line.lstrip())].expandtabs()[: _WIDTH // 2]
        lines += textwrap.wrap(
            line.strip(), _WIDTH, initial_indent=before + own, subsequent_indent=rest + own, break_on_hyphens=False
        ) or [before.rstrip()]
    return lines


def _scenario(document: Document, width: int) -> Iterator[RenderableType]:
    name = document["test"].partition("::")[2] or document["test"]
    yield Padding(Text(plain(name), "bold", overflow="fold"), (0, 0, 0, 2))
    if document["boots"]:
        yield _boot_table(document["boots"], width)
    if failure := document.get("failure"):
        yield _note(": ".join(filter(None, (failure["source"], failure["text"].strip()))))
        yield _note(failure["reason"].strip().split("\n")[0])
    problems = [boot["error"] for boot in document["boots"] if "error" in boot]
    if (error := document.get("error")) and error not in problems:
        problems.append(error)
    for problem in problems:
        yield _note(f"{problem['kind']}: {problem['what']}")


def _note(text: str) -> Padding:
    return Padding(Text(plain(text), "dim", overflow="fold"), (0, 0, 0, 4))


def _boot_table(boots: Sequence[Document], width: int) -> Padding:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    names = max(8, (width - 4 - 8 - 19 - 8 - 4 * 2) // 2)
    table.add_column(width=8, overflow="fold")
    table.add_column(width=19)
    table.add_column(width=names, overflow="fold")
    table.add_column(width=names, overflow="fold")
    table.add_column(width=8, justify="right")
    for boot in boots:
        label = Text(plain(boot["label"]))
        if "error" in boot:
            table.add_row(label, Text("no verdict", "yellow"))
            continue
        by = " + ".join(boot["unlocked_by"])
        failed = ", ".join(boot["failed_pins"])
        end = boot["seconds"]["end"]
        table.add_row(
            label,
            Text(boot["unlock"], _COLOURS[boot["unlock"]]),
            Text(f"by {plain(by)}" if by else "not opened"),
            Text(f"failed {plain(failed)}" if failed else ""),
            Text("" if end is None else f"{end:.1f} s"),
        )
    return Padding(table, (0, 0, 0, 4))


def _attack_table(lines: Sequence[AttackRow]) -> Padding:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(overflow="fold", ratio=1)
    table.add_column(overflow="fold", ratio=1)
    table.add_column(overflow="fold", ratio=1)
    table.add_column(overflow="fold", ratio=1)
    for line in lines:
        fell, stood = (", ".join(line.guards(extracted)) for extracted in (True, False))
        table.add_row(
            Text(plain(f"{line.attack}: {', '.join(line.grants) or 'nothing'}")),
            Text(plain(f"X {fell}") if fell else "", "red"),
            Text(plain(f"R {stood}") if stood else "", "green"),
            Text(plain(f"C {', '.join(line.controls)}") if line.controls else "", "dim"),
        )
    return Padding(table, (0, 0, 0, 2))


def _totals(documents: Sequence[Document]) -> Text:
    boots = sum(len(document["boots"]) for document in documents)
    counts = []
    for result, _, colour in _GROUPS:
        if count := sum(document["result"] == result for document in documents):
            counts.append(Text(counted(count, "error") if result is Result.ERROR else f"{count} {result}", colour))
    line = Text(f"{counted(len(documents), 'scenario')}, {counted(boots, 'boot')}: ", "bold")
    return line.append(Text(", ").join(counts or [Text("nothing ran")]))


def counted(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
