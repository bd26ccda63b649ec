"""The truth table as JUnit XML, for those who collect it: a test for each cell."""

from pathlib import Path
from xml.etree import ElementTree as ET

from harness.files import write_whole
from harness.matrix.cells import Cell, Matrix
from harness.plain import plain


def write_junit(matrix: Matrix, path: Path) -> None:
    """Write the table: a cell that differs is a failure, one without a verdict an error."""
    suite = ET.Element(
        "testsuite",
        name="truth table",
        tests=str(len(matrix.cells)),
        failures=str(len(matrix.differing)),
        errors=str(len(matrix.unjudged)),
        time=f"{matrix.seconds:.3f}",
    )
    for cell in matrix.cells:
        suite.append(_case(cell))
    root = ET.Element("testsuites")
    root.append(suite)
    write_whole(path, ET.tostring(root, encoding="unicode", xml_declaration=True))


def _case(cell: Cell) -> ET.Element:
    case = ET.Element(
        "testcase", classname=plain(f"{cell.stack}.{cell.policy}"), name=cell.condition, time=f"{cell.took:.3f}"
    )
    if cell.observed is None:
        ET.SubElement(case, "error", message=plain(cell.error))
    elif cell.differs:
        said = f"{cell.observed.value}, and not {cell.predicted.value}: {cell.seen}"
        ET.SubElement(case, "failure", message=plain(said)).text = plain(cell.reason)
    return case
