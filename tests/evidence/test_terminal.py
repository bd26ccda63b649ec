"""What a person reads: the reason first, within the width, without colours unless they were asked for."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from harness.errors import HostError, RigError
from harness.evidence import terminal
from harness.evidence.record import Boot, Failure, Problem, Result, Scenario, document
from harness.guest.outcome import Outcome, PinFailure, Seconds, Unlock

AUTO = Outcome(
    Unlock.AUTO,
    "the boot went through and nothing was typed",
    unlocked_by=frozenset({"tpm2", "tang"}),
    keyslot=1,
    token=0,
    proofs=("tang log: POST /rec/JnW6o0yUeS4rKzKp0Fk9t4vXy7E => 200", "0 bytes were typed"),
    prompts=1,
    seconds=Seconds(26.2, 29.8, 36.1),
    canary="secret",
)
LOCKED = Outcome(
    Unlock.LOCKED,
    "the attacker knows no passphrase",
    failures=(PinFailure("tpm2", "Loading jwk to TPM2 failed! " + "x" * 200, "journal"),),
    seconds=Seconds(27.0),
)
PANIC = RigError("the guest kernel panicked while the prompt was awaited", "[ 14.2] Kernel panic\n  oops", "try again")
FAILURE = Failure(
    "a thief read the disk\nassert <Unlock.AUTO> is <Unlock.LOCKED>",
    "scenarios/test_clone.py:31",
    "    assert loot.unlock is Unlock.LOCKED",
)
EVIDENCE = Path("/somewhere/with/a/rather/long/path/artifacts/test_clone-test_a_thief_reads_nothing-0123abcd")


def scenario(result: Result, *observed: Outcome | Problem, name: str = "test_x", **rest: object) -> Scenario:
    made = Scenario(f"scenarios/test_clone.py::{name}", result, tuple(Boot(one) for one in observed))
    return replace(made, **rest)  # type: ignore[arg-type]


def fits(text: str, width: int = 80) -> bool:
    return all(cell_len(line) <= width for line in text.splitlines() if "/somewhere/" not in line)


def test_an_outcome_is_explained() -> None:
    text = terminal.failure_text(FAILURE, [Boot(AUTO)])
    assert "boot 1 (boot): auto-unlock: the boot went through and nothing was typed" in text.splitlines()
    assert "  opened by    tang + tpm2, keyslot 1, token 0" in text
    assert "  typed        0 bytes, 1 prompt" in text
    assert "  seconds      prompt 26.2, unlock 29.8, end 36.1" in text
    assert "POST /rec" in text
    assert "secret" not in text
    assert fits(text)


def test_each_volume_is_named_when_there_are_several() -> None:
    text = terminal.failure_text(FAILURE, [Boot(replace(LOCKED, volumes={"root": AUTO, "var": LOCKED}))])
    assert "volumes      root: auto-unlock by tang + tpm2\n               var: locked\n" in text


def test_what_did_not_happen_is_not_claimed() -> None:
    text = terminal.failure_text(FAILURE, [Boot(LOCKED)])
    assert "opened by    nothing" in text
    assert "tpm2: Loading jwk to TPM2 failed!" in text
    assert "unlock " not in text.partition("boot 1")[2]
    assert "proof" not in text
    assert "canary" not in text
    assert fits(text)


def test_a_failure_says_the_reason_then_the_outcome_then_the_console_then_the_evidence() -> None:
    text = terminal.failure_text(
        FAILURE,
        [Boot(AUTO, "attacker", "other", "boot-1"), Boot(Problem.of(PANIC))],
        console=["\x1b[31mred\x1b[0m " + "y" * 100, "lab login: "],
        evidence=EVIDENCE,
    )
    lines = text.splitlines()
    assert lines[0] == "a thief read the disk"
    parts = [
        "  scenarios/test_clone.py:31: assert loot.unlock is Unlock.LOCKED",
        "boot 1 (attacker, other): auto-unlock: the boot went through and nothing was",
        "boot 2 (boot): no verdict. RigError: the guest kernel panicked while the prompt",
        "the last 2 lines of the console:",
        "  │ lab login:",
        f"evidence: {EVIDENCE}",
    ]
    places = [lines.index(part) for part in parts]
    assert places == sorted(places)
    assert lines[-1] == parts[-1]
    assert "\x1b" not in text
    assert "Traceback" not in text
    assert fits(text)


def test_a_bare_failure_is_just_its_reason() -> None:
    assert terminal.failure_text(Failure("no"), []) == "no"


def test_a_rig_error_is_apart_from_a_verdict() -> None:
    before = Boot(AUTO, "control")
    text = terminal.rig_error_text(PANIC, [before, Boot(Problem.of(PANIC))], console=["[ 14.2] Kernel panic", "end"])
    assert text.startswith("RigError: the guest kernel panicked")
    assert "    oops" in text
    assert "hint: try again" in text
    assert "says nothing about the guest" in text
    assert "boot 1 (control): auto-unlock" in text
    assert "boot 2" not in text
    assert text.count("Kernel panic") == 1
    assert "the last 1 line of the console" in text
    assert fits(text)


def test_an_error_of_the_host_does_not_blame_the_hardware() -> None:
    text = terminal.rig_error_text(HostError("swtpm is not installed", "", "apt-get install swtpm"))
    assert text == "HostError: swtpm is not installed\nhint: apt-get install swtpm"


DOCUMENTS = [
    document(scenario(Result.ERROR, AUTO, Problem.of(PANIC), name="test_broken")),
    document(scenario(Result.ERROR, name="test_never_began", error=Problem.of(HostError("swtpm is missing")))),
    document(scenario(Result.FAILED, LOCKED, name="test_failed", failure=FAILURE)),
    document(scenario(Result.PASSED, AUTO, name="test_passed[" + "long-" * 30 + "]")),
]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_summary_is_plain_and_fits(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    text = terminal.summary(DOCUMENTS, width=width)
    assert "\x1b" not in text
    assert fits(text, width)


def test_the_summary_keeps_errors_apart_from_failures() -> None:
    lines = terminal.summary(DOCUMENTS).splitlines()
    parts = [
        "passed (1)",
        "    boot      auto-unlock          by tang + tpm2                        36.1 s",
        "failed: the disk did not do what the scenario expects (1)",
        "  test_failed",
        "    boot      locked               not opened        failed tpm2",
        "    scenarios/test_clone.py:31: assert loot.unlock is Unlock.LOCKED",
        "    a thief read the disk",
        "errors: no verdict, the guest was not judged (2)",
        "  test_broken",
        "    boot      no verdict",
        "    RigError: the guest kernel panicked while the prompt was awaited",
        "  test_never_began",
        "    HostError: swtpm is missing",
        "4 scenarios, 4 boots: 1 passed, 1 failed, 2 errors",
    ]
    places = [lines.index(part) for part in parts]
    assert places == sorted(places)


def test_colours_are_asked_for_and_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in terminal.summary(DOCUMENTS, color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in terminal.summary(DOCUMENTS, color=True)


def test_markup_in_names_is_text() -> None:
    made = scenario(Result.FAILED, name="test_x[[red]a[/red]:smile:]", failure=Failure("\x1b[31m[bold]x[/bold]"))
    text = terminal.summary([document(made)])
    assert "test_x[[red]a[/red]:smile:]" in text
    assert "[bold]x[/bold]" in text


def test_nothing_ran() -> None:
    assert terminal.summary([]) == "0 scenarios, 0 boots: nothing ran"
