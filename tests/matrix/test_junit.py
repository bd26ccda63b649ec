"""The truth table as JUnit XML."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

from harness.matrix.cells import Cell, Matrix
from harness.matrix.junit import write_junit
from harness.unlock import Unlock


def cell(condition: str, observed: Unlock | None, error: str = "") -> Cell:
    return Cell(
        "tang",
        "dr",
        condition,
        observed,
        Unlock.AUTO,
        reason="both pins answer",
        seen="it asked",
        error=error,
        took=60.0,
    )


def test_a_name_that_xml_cannot_say_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    write_junit(Matrix((replace(cell("present", Unlock.AUTO), policy="a\x1b[1mb\x01"),)), tmp_path / "junit.xml")
    ((case,),) = ET.parse(tmp_path / "junit.xml").getroot()
    assert case.get("classname") == "dr.ab"


def test_each_cell_is_a_test_that_passed_failed_or_has_no_verdict(tmp_path: Path) -> None:
    table = Matrix(
        (cell("present", Unlock.AUTO), cell("tpm-absent", Unlock.LOCKED), cell("cut", None, "QEMU \x1b[31mdied & gone"))
    )
    write_junit(table, tmp_path / "junit.xml")
    (suite,) = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    good, differs, none = suite
    assert (good.get("classname"), good.get("name"), list(good)) == ("dr.tang", "present", [])
    assert differs[0].tag == "failure"
    assert differs[0].get("message") == "locked, and not auto-unlock: it asked"
    assert none[0].tag == "error"
    assert none[0].get("message") == "QEMU died & gone"
