"""What was proved, side by side: agreement, difference, no verdict, and a file that never opens by itself."""

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from harness.errors import ControlError
from harness.explain.answer import Answer
from harness.explain.command import explained_policy
from harness.matrix.cells import Cell, Matrix
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.prove.attacks import AttackLine, staged, told
from harness.prove.plan import Doubt, Step
from harness.prove.show import lines_of, never_opens, show
from harness.unlock import Unlock

POLICY = read_policy(POLICIES / "tpm2-and-tang.bu")
STEPS = (
    Step("present", ("boot-entry",), Doubt.CONFIRMED, 0),
    Step("tpm-absent", ("tpm-replaced",), Doubt.NEVER_BOOTED, 1),
)


@pytest.fixture(scope="module")
def answer() -> Answer:
    return explained_policy(POLICY, "debian-13")


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=120)


def cell(observed: Unlock | None) -> Matrix:
    predicted, error = Unlock.PASSPHRASE_FALLBACK, "" if observed else "it stalled"
    return Matrix(
        (Cell("mine", "debian-13", "tpm-absent", observed, predicted, "because", "matrix-1/boot-1", error=error),)
    )


def test_what_agrees_ends_well_and_what_a_boot_stands_for_is_told(answer: Answer, console: Console) -> None:
    lines = list(lines_of(answer, STEPS, ["mine"], cell(Unlock.PASSPHRASE_FALLBACK)))
    assert [(line.condition, line.agrees) for line in lines] == [("present", True), ("tpm-absent", True)]
    assert show(answer, lines, [], console) == 0
    assert "4 conditions told, 0 of 2 lines otherwise" in console.export_text()


@pytest.mark.parametrize("observed", [Unlock.AUTO, None])
def test_a_difference_and_no_verdict_are_told_with_their_evidence(
    answer: Answer, console: Console, observed: Unlock | None
) -> None:
    assert show(answer, list(lines_of(answer, STEPS, ["mine"], cell(observed))), [], console) == 1
    assert "✗ var, tpm-absent: see matrix-1/boot-1" in console.export_text()


@pytest.mark.parametrize(("predicted", "status"), [(Unlock.AUTO, 1), (Unlock.PASSPHRASE_FALLBACK, 0)])
def test_a_file_that_never_opens_is_an_outcome_with_its_reason(
    answer: Answer, console: Console, predicted: Unlock, status: int
) -> None:
    (volume,) = answer.volumes
    present = tuple(replace(line, unlock=predicted) for line in volume.conditions if line.condition == "present")
    boot = {"unlock": "passphrase-fallback", "reason": "tpm2 failed: bound in another boot", "volumes": {}}
    error = ControlError("it did not open", evidence="/artifacts/install-mine")
    told = replace(answer, volumes=(replace(volume, conditions=present),))
    assert never_opens(told, error, {"boots": [boot]}, console) == status
    text = console.export_text()
    assert "bound in another boot" in text
    assert "never opens by itself; nothing else was booted" in text


def attempts(*found: tuple[list[str], bool]) -> dict[str, Any]:
    tries = [{"guard": "tpm2-and-tang", "grants": grants, "extracted": extracted} for grants, extracted in found]
    return {"test": "prove::it", "attack": {"tries": tries}}


def test_each_try_is_told_of_the_attacker_that_it_plays(answer: Answer) -> None:
    clone, theft, _ = staged(POLICY)
    lines = list(told(clone, attempts((["disk", "network"], False), (["disk"], True)), POLICY, answer.volumes))
    assert [(line.attacker, line.agrees) for line in lines] == [("disk-cloned-at-home", True), ("disk-stolen", False)]
    near = list(told(theft, attempts((["machine", "network"], True)), POLICY, answer.volumes))
    assert [(line.attacker, line.predicted) for line in near] == [("visitor-live-system", True)]


def test_on_a_seal_to_the_firmware_a_live_system_is_one_that_the_firmware_accepts() -> None:
    policy = read_policy(POLICIES / "tpm2-pcr7.bu")
    theft = next(each for each in staged(policy) if each.foreign)
    document = attempts((["machine"], True), (["machine", "network"], True))
    document["attack"]["tries"] = [{**each, "guard": "tpm2-pcr7"} for each in document["attack"]["tries"]]
    lines: list[AttackLine] = list(told(theft, document, policy, explained_policy(policy, "debian-13").volumes))
    assert [(line.attacker, line.agrees) for line in lines] == [("machine-same-signer", True)]


def test_verdicts_and_names_are_whole_on_a_narrow_terminal(answer: Answer) -> None:
    narrow = Console(record=True, width=80)
    lines = list(lines_of(answer, STEPS, ["mine"], cell(Unlock.PASSPHRASE_FALLBACK)))
    show(answer, lines, [], narrow)
    text = narrow.export_text()
    assert "…" not in text
    assert "passphrase-fallback   passphrase-fallback" in text
    assert "and so tpm-replaced" in text
    assert "var: it opened by itself" in text
