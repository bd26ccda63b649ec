"""What `try` prints: of one image, and of several beside each other."""

import pytest
from rich.console import Console

from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.real_tools import command
from harness.real_tools.show import Line, show

VERSIONS = {"debian-13": "clevis 20-1", "debian-12": "clevis 19-2"}


def line(condition: str, *, opened: bool | None, image: str = "debian-13", predicted: bool = True) -> Line:
    return Line("var", condition, predicted, opened, "clevis said why", 0.5, image)


def text(lines: list[Line], versions: dict[str, str]) -> str:
    console = Console(record=True, width=120)
    show(lines, versions, console, 2.0)
    return console.export_text()


def test_a_cell_that_differs_from_the_rules_is_told_with_what_was_said() -> None:
    said = text([line("present", opened=True), line("tpm-absent", opened=False)], {"debian-13": "clevis 20-1"})
    assert "✗ var, tpm-absent, on debian-13: clevis said why" in said
    assert "2 cells, 0.50 s a cell, 2 s in all; 1 differ from the rules" in said
    assert "between them" not in said


def test_no_verdict_is_no_difference_and_no_agreement() -> None:
    silent = line("present", opened=None)
    assert not silent.agrees
    said = text([silent], {"debian-13": "clevis 20-1"})
    assert "0 differ from the rules, 1 have no verdict" in said
    assert "no verdict" in said


def test_images_stand_side_by_side_and_their_differences_are_named() -> None:
    lines = [
        line("present", opened=True),
        line("present", opened=True, image="debian-12"),
        line("unbound", opened=False, predicted=False),
        line("unbound", opened=True, image="debian-12", predicted=False),
        line("cmdline", opened=True),
    ]
    said = text(lines, VERSIONS)
    assert "debian-12: clevis 19-2" in said
    assert "2 cells on several images; 1 differ between them\n  var, unbound" in said
    assert next(row for row in said.splitlines() if "cmdline" in row).split()[2:] == ["opens", "opens", "not", "tried"]


@pytest.mark.parametrize(
    ("systemd", "able"), [("252.39-1~deb12u2", False), ("256-1", True), ("257.13-1", True), ("", False)]
)
def test_before_256_systemd_cryptenroll_opens_nothing_by_a_tpm(systemd: str, able: bool) -> None:
    (volume,) = (each for each in command._of_table() if each.name == "cryptenroll")
    assert command._can_be_opened(volume, {"systemd": systemd}) is able
    (clevis,) = read_policy(POLICIES / "tpm2-and-tang.bu").volumes
    assert command._can_be_opened(clevis, {"systemd": systemd})
