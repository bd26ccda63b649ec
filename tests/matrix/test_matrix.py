"""The truth table: its file, its terminal table, its page and its picture."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from harness.errors import HostError, UsageError
from harness.matrix import cells, table
from harness.matrix.cells import MARKS, Cell, Matrix
from harness.matrix.picture import write_page, write_svg
from harness.unlock import Unlock

EVIL = "</td></table><script>alert(1)</script>\"'&\x1b[31m{{ 7*7 }}[red]x[/red]"
A, P, E, B = Unlock.AUTO, Unlock.PASSPHRASE_FALLBACK, Unlock.LOCKED, Unlock.REFUSED
AUTO = Cell("tpm2", "debian-13", "control", A, A, "tpm2 answers", seen="it opened", boot="b1", took=65.5, inputs="one")
WRONG = replace(
    AUTO, condition="tpm absent", predicted=P, reason="there is no TPM", evidence="m-1/boot-2", boot="b2", took=100.0
)
BROKEN = replace(
    AUTO, policy="tang", condition="tang refused", observed=None, error="RigError: a panic", boot="b3", took=0.0
)
TABLE = Matrix((AUTO, WRONG, BROKEN), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def shown(matrix: Matrix, width: int = 100) -> str:
    stream = StringIO()
    table.show(matrix, Console(file=stream, width=width, force_terminal=False))
    return stream.getvalue()


# The value.


def test_a_cell_agrees_differs_or_has_no_verdict() -> None:
    assert [(cell.agrees, cell.differs) for cell in TABLE.cells] == [(True, False), (False, True), (False, False)]
    assert [cell.marks for cell in TABLE.cells] == ["A", "A≠P", "!"]
    assert TABLE.differing == (WRONG,)
    assert TABLE.unjudged == (BROKEN,)
    assert set(MARKS) == set(Unlock)
    assert len(set(MARKS.values()) | {cells.NO_VERDICT, cells.NO_CELL}) == len(Unlock) + 2


def test_the_rows_and_columns_come_from_the_cells() -> None:
    other = replace(AUTO, stack="debian-13-root", policy="root", boot="b4", boots=2, took=34.5)
    matrix = TABLE.joined([other])
    assert matrix.stacks == ("debian-13", "debian-13-root")
    assert matrix.conditions == ("control", "tpm absent", "tang refused")
    assert (matrix.policies("debian-13"), matrix.policies("debian-13-root")) == (("tpm2", "tang"), ("root",))
    assert (matrix.boots, matrix.seconds, matrix.boots_per_cell) == (5, 200.0, 1.25)
    assert Matrix().boots_per_cell == 0


def test_what_a_boot_cost_is_counted_once_and_only_for_cells_that_are_shown() -> None:
    matrix = TABLE.joined([replace(AUTO, policy="tpm2-pcr7"), replace(WRONG, boots=2)])
    assert (matrix.boots, matrix.seconds) == (4, 165.5)
    shown_only = matrix.ordered([AUTO.place, ("debian-13", "tpm2-pcr7", "control")])
    assert (shown_only.boots, shown_only.seconds, shown_only.boots_per_cell) == (1, 65.5, 0.5)
    assert Matrix((replace(AUTO, boot=""), replace(WRONG, boot=""))).boots == 2, "nothing was kept: a boot each"


def test_a_run_goes_on_where_an_earlier_one_stopped() -> None:
    assert TABLE.known(AUTO.place, "one") == AUTO
    assert TABLE.known(AUTO.place, "two") is None, "what it depends on has changed"
    assert TABLE.known(BROKEN.place, "one") is None, "it has no verdict yet"
    assert TABLE.known(("debian-13", "tpm2", "never"), "one") is None
    again = replace(BROKEN, observed=P, predicted=P, error="")
    now = TABLE.joined([again])
    assert now.cells == (AUTO, WRONG, again), "in its place"
    assert now.ordered([again.place, ("x", "y", "z"), AUTO.place]).cells == (again, AUTO)


# The file.

texts = st.text(max_size=20)
names = st.text(min_size=1, max_size=8)
some_cells = st.builds(
    Cell,
    *(names, names, names),
    observed=st.one_of(st.none(), st.sampled_from([unlock for unlock in Unlock if unlock is not Unlock.NOT_PREDICTED])),
    predicted=st.sampled_from(Unlock),
    reason=texts,
    evidence=texts,
    seen=texts,
    failed_pins=st.frozensets(names),
    predicted_failed_pins=st.frozensets(names),
    seconds=st.one_of(st.none(), st.floats(0, 1e6)),
    how=texts,
    boot=texts,
    boots=st.integers(0, 99),
    took=st.floats(0, 1e6),
    inputs=texts,
    error=texts,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(Matrix, st.lists(some_cells, max_size=3).map(tuple)))
def test_what_is_saved_is_loaded(tmp_path: Path, matrix: Matrix) -> None:
    assert cells.load(cells.save(matrix, tmp_path).parent) == matrix


def test_the_file_has_the_keys_that_the_issue_names(tmp_path: Path) -> None:
    value = json.loads(cells.save(TABLE, tmp_path).read_text())
    assert value["boots"] == 3
    assert value["started"] == "2026-01-02T03:04:05+00:00"
    keys = ("policy", "stack", "condition", "observed", "predicted", "reason", "evidence")
    assert {key: value["cells"][1][key] for key in keys} == {
        "policy": "tpm2",
        "stack": "debian-13",
        "condition": "tpm absent",
        "observed": "auto-unlock",
        "predicted": "passphrase-fallback",
        "reason": "there is no TPM",
        "evidence": "m-1/boot-2",
    }
    assert value["cells"][2]["observed"] is None
    assert cells.load(tmp_path) == TABLE


def test_a_file_with_no_more_than_these_keys_and_with_unknown_ones_is_read(tmp_path: Path) -> None:
    entry = {"policy": "p", "stack": "s", "condition": "c", "observed": "locked", "predicted": "locked", "reason": "r"}
    entry |= {"evidence": "", "of tomorrow": "x"}
    (tmp_path / cells.MATRIX).write_text(json.dumps({"boots": 1, "cells": [entry], "of tomorrow": 1}))
    assert cells.load(tmp_path) == Matrix((Cell("p", "s", "c", E, E, "r"),))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", ""),
        ('{"boots": -1, "cells": []}', "$.boots"),
        ('{"boots": 1}', "$"),
        ('{"boots": 1, "cells": [], "started": "yesterday"}', "$.started"),
        (json.dumps(cells.document(Matrix((AUTO,)))).replace("auto-unlock", "opened"), "$.cells[0]."),
        (json.dumps(cells.document(Matrix((AUTO,)))).replace('"tpm2"', '""'), "$.cells[0].policy"),
    ],
)
def test_a_file_that_is_no_matrix_says_where(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / cells.MATRIX).write_text(text)
    with pytest.raises(UsageError) as caught:
        cells.load(tmp_path)
    assert caught.value.detail.startswith(where)


def test_no_file_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=cells.MATRIX):
        cells.load(tmp_path)
    with pytest.raises(HostError):
        cells.save(TABLE, tmp_path / "not there")


# The terminal.


def test_the_table_shows_each_cell_and_what_needs_attention() -> None:
    text = shown(TABLE)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("tpm2 ", "tang "))}
    assert rows == {"tpm2": ["A", "A≠P", "·"], "tang": ["·", "·", "!"]}
    assert "1 control" in text
    assert "3 tang refused" in text
    assert "predicted passphrase-fallback: there is no TPM" in text
    assert "m-1/boot-2" in text
    assert "no verdict: RigError: a panic" in text
    assert "3 cells, 3 boots (1.00 boots per cell), 1 differs from the prediction, 1 without a verdict, 3 min" in text


def test_the_sum_of_a_table_that_agrees() -> None:
    assert (
        table.summary(Matrix((AUTO, AUTO)))
        == "2 cells, 1 boot (0.50 boots per cell), 0 differ from the prediction, 1 min"
    )
    assert "0 cells" in shown(Matrix())


def wide(columns: int, name: int = 12) -> Matrix:
    stacks = ("debian-13", "debian-13-root")
    return Matrix(
        tuple(
            Cell("p" * name + str(row), stack, f"condition {column}", A, P if column % 7 == 3 else A, "r")
            for stack in stacks
            for row in range(3)
            for column in range(columns)
        )
    )


def test_a_row_stands_only_in_tables_where_it_has_a_cell() -> None:
    few = Cell("few", "debian-13", "condition 0", A, A, "r")
    assert len([line for line in shown(wide(40).joined([few]), 60).splitlines() if line.startswith("few ")]) == 1


@pytest.mark.parametrize("columns", [1, 20, 40])
@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("name", [4, 60])
def test_the_table_fits_and_loses_nothing(columns: int, width: int, name: int) -> None:
    matrix = wide(columns, name)
    lines = shown(matrix, width).splitlines()
    assert all(cell_len(line) <= width for line in lines)
    rows = [line for line in lines if line.startswith("pppp")]
    marks = [mark for row in rows for mark in re.findall(r"A≠P|[A·]", row)]
    assert marks.count("A≠P") == len(matrix.differing)
    assert len(marks) == len(matrix.cells)


def test_twenty_conditions_stand_in_one_table_of_100_columns() -> None:
    rows = [line for line in shown(wide(20)).splitlines() if line.startswith("ppp")]
    assert len(rows) == 6


def test_a_stack_has_no_column_that_it_does_not_need() -> None:
    other = replace(AUTO, stack="debian-13-root", policy="root", condition="tang refused")
    text = shown(TABLE.joined([other]))
    assert [line.split() for line in text.splitlines() if re.fullmatch(r" +\d[ \d]*", line)] == [["1", "2", "3"], ["3"]]


def test_what_the_guest_says_colours_nothing_in_the_terminal() -> None:
    evil = replace(WRONG, policy=EVIL, condition=EVIL, reason=EVIL, seen=EVIL, evidence=EVIL)
    text = shown(Matrix((evil,)), 300)
    assert "\x1b" not in text
    assert "[red]x[/red]" in text


# The page and the picture.


class Page(HTMLParser):
    """The elements of a page, in which all that opens closes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data

    def every(self, tag: str, style: str = "") -> list[dict[str, str]]:
        return [found for name, found in self.tags if name == tag and style in [*found.get("class", "").split(), ""]]


def page(matrix: Matrix, folder: Path) -> Page:
    return Page(write_page(matrix, folder).read_text())


def with_evidence(folder: Path, cell: Cell, *files: str) -> None:
    place = folder / cell.evidence
    place.mkdir(parents=True)
    for name in files:
        (place / name).write_text("x")


def test_the_page_leads_to_the_evidence_with_one_click(tmp_path: Path) -> None:
    with_evidence(tmp_path, WRONG, "console.log", "journal.log", "qemu.log")
    (tmp_path / "m-1" / "outcome.json").write_text("{}")
    made = page(TABLE, tmp_path)
    assert [link["href"] for link in made.every("a", "mark")] == ["./m-1/boot-2/console.log"]
    assert [link["href"] for link in made.every("a")][1:] == [
        "./m-1/boot-2/console.log",
        "./m-1/boot-2/journal.log",
        "./m-1/outcome.json",
    ]
    assert all((tmp_path / link["href"]).is_file() for link in made.every("a"))


def test_a_cell_that_never_booted_leads_to_what_its_test_says(tmp_path: Path) -> None:
    unbooted = replace(BROKEN, evidence="m-2")
    with_evidence(tmp_path, unbooted, "outcome.json")
    made = page(Matrix((unbooted,)), tmp_path)
    assert {link["href"] for link in made.every("a")} == {"./m-2/outcome.json"}


@pytest.mark.parametrize("evidence", ["", "../secret", "/etc", "m/../../secret", "javascript:alert(1)", ".hidden"])
def test_the_page_leads_nowhere_else(tmp_path: Path, evidence: str) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    with_evidence(tmp_path, replace(AUTO, evidence="secret"), "console.log")
    assert page(Matrix((replace(AUTO, evidence=evidence),)), folder).every("a") == []


def test_each_cell_says_what_was_observed_predicted_and_why(tmp_path: Path) -> None:
    made = page(TABLE, tmp_path)
    assert len(made.every("td", "auto-unlock")) == 2
    assert len(made.every("td", "differs")) == 1
    assert len(made.every("td", "none")) == 1
    assert len(made.every("td", "void")) == 3
    for words in ("there is no TPM", "it opened", "RigError: a panic", "1 of 3 cells differs from the prediction"):
        assert words in made.words
    assert [row["class"] for row in made.every("tr", "row")] == ["row has-differs", "row has-none"]


@pytest.mark.parametrize(
    ("matrix", "title"),
    [
        (Matrix(), "Nothing was booted yet"),
        (Matrix((AUTO,)), "1 cell, as predicted"),
        (Matrix((AUTO, BROKEN)), "1 of 2 cells as predicted, the others without a verdict"),
    ],
)
def test_the_headline(tmp_path: Path, matrix: Matrix, title: str) -> None:
    assert title in page(matrix, tmp_path).words


def test_nothing_that_a_guest_says_becomes_markup(tmp_path: Path) -> None:
    evil = replace(
        WRONG, policy=EVIL, stack=EVIL, condition=EVIL, reason=EVIL, seen=EVIL, failed_pins=frozenset({EVIL})
    )
    matrix = Matrix((evil, replace(evil, observed=None, error=EVIL, condition="c"), replace(evil, boot=EVIL, how=EVIL)))
    made = page(matrix, tmp_path)
    assert made.every("script") == []
    assert "alert(1)" in made.words
    assert "49" not in made.words
    write_svg(matrix, tmp_path / "m.svg")
    drawn = ET.parse(tmp_path / "m.svg")
    assert not [element for element in drawn.iter() if element.tag.endswith("script")]


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    text = write_page(TABLE, tmp_path).read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|url\(|@import|<script|<link|<img", text)


def test_the_picture_has_each_cell_in_its_row_and_column(tmp_path: Path) -> None:
    write_svg(TABLE, tmp_path / "m.svg")
    drawn = ET.parse(tmp_path / "m.svg").getroot()
    groups = list(drawn.iter("{http://www.w3.org/2000/svg}g"))
    assert [each.get("class") for each in groups] == ["auto-unlock", "auto-unlock differs", "none"]
    assert ["".join(each.itertext()) for each in groups][1] == "tpm2, tpm absent: there is no TPMAP"
    places = [tuple(map(float, re.findall(r"[\d.]+", each.get("transform") or ""))) for each in groups]
    assert places[0][1] == places[1][1] < places[2][1]
    assert places[0][0] < places[1][0] < places[2][0]


def test_the_picture_of_an_empty_table(tmp_path: Path) -> None:
    write_svg(Matrix(), tmp_path / "m.svg")
    assert "0 cells" in "".join(ET.parse(tmp_path / "m.svg").getroot().itertext())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(HostError):
        write_page(TABLE, tmp_path / "not there")
