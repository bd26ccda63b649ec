"""The rules for systemd units and drop-ins, each alone."""

from typing import Any

import pytest
from policy.documents import document, mistakes

from harness.policy.check_units import check_units, trouble


def noted(*units: dict[str, Any], **storage: list[dict[str, Any]]) -> list[str]:
    """The mistakes of a file with these units."""
    found = document({"systemd": {"units": list(units)}})
    check_units(found, storage)
    return mistakes(found)


FINE = "[Unit]\nDescription=x\n"
OURS = {"name": "a.service", "contents": FINE, "dropins": [{"name": "b.conf", "contents": FINE}]}


@pytest.mark.parametrize("data", [{}, {"systemd": {}}])
def test_a_file_without_units_has_nothing_wrong_with_them(data: dict[str, Any]) -> None:
    found = document(data)
    check_units(found, {"files": [{"path": "/etc/x"}]})
    assert mistakes(found) == []


@pytest.mark.parametrize(
    "kind",
    [
        "service",
        "socket",
        "device",
        "mount",
        "automount",
        "swap",
        "target",
        "path",
        "timer",
        "snapshot",
        "slice",
        "scope",
    ],
)
def test_a_unit_of_each_type_is_fine(kind: str) -> None:
    assert noted({"name": f"a.{kind}"}) == []


@pytest.mark.parametrize("name", ["a", "a.conf", ".service", "a b.service", "a/b.service", "a.service.d"])
def test_a_units_name_ends_in_its_type(name: str) -> None:
    said = "a unit name ends in its type: .service, .mount, .timer, … (systemd.unit(5))"
    assert noted(OURS, {"name": name}) == [f"systemd.units[1].name: {said}"]


@pytest.mark.parametrize("name", ["b", "b.config", ".conf", "b c.conf", "b/c.conf", "xconf"])
def test_a_drop_ins_name_ends_in_conf(name: str) -> None:
    dropins = [{"name": "b.conf"}, {"name": name}]
    said = "systemd.units[1].dropins[1].name: a drop-in's name ends in .conf"
    assert noted(OURS, {"name": "c.service", "dropins": dropins}) == [said]


def test_what_is_there_twice_is_told() -> None:
    assert noted(OURS, {"name": "a.service"}) == [
        "systemd.units[1].name: the unit 'a.service' is there twice, first on line 1"
    ]
    assert noted({"name": "a.service", "dropins": [{"name": "b.conf"}, {"name": "b.conf"}]}) == [
        "systemd.units[0].dropins[1].name: the drop-in 'b.conf' is there twice, first on line 1"
    ]
    assert noted(OURS, {"name": "c.service", "dropins": [{"name": "b.conf"}]}) == []


@pytest.mark.parametrize("kind", ["files", "directories", "links"])
@pytest.mark.parametrize(
    ("path", "name"),
    [("/etc/systemd/system/a.service", "a.service"), ("/etc/systemd/system/a.service.d/b.conf", "b.conf")],
)
def test_a_file_where_a_unit_is_written_is_told(kind: str, path: str, name: str) -> None:
    nodes = [{"path": "/etc/other"}, {"path": path}]
    assert noted(OURS, **{kind: nodes}) == [f"storage.{kind}[1].path: systemd.units writes {name} to this path"]
    empty: dict[str, Any] = {"name": "a.service", "contents": "", "dropins": [{"name": "b.conf", "contents": ""}]}
    assert noted(empty, **{kind: nodes}) == []
    assert noted({"name": "a.service", "dropins": [{"name": "b.conf"}]}, **{kind: nodes}) == []


def test_contents_stand_in_the_file_or_beside_it() -> None:
    both = {"contents": FINE, "contents_local": "x"}
    said = "contents_local: either contents or contents_local, not both"
    assert noted(OURS, {"name": "c.service", **both}) == [f"systemd.units[1].{said}"]
    assert noted({"name": "c.service", "dropins": [{"name": "b.conf"}, {"name": "d.conf", **both}]}) == [
        f"systemd.units[0].dropins[1].{said}"
    ]
    assert noted({"name": "c.service", "contents_local": "x"}) == []


def test_what_ignition_would_not_take_is_told_where_it_stands() -> None:
    bad = {"contents": "[Unit]\njunk"}
    said = "contents: expected NAME=value, found 'junk'"
    assert noted(OURS, {"name": "c.service", **bad}) == [f"systemd.units[1].{said}"]
    assert noted({"name": "c.service", "dropins": [{"name": "b.conf", **bad}]}) == [
        f"systemd.units[0].dropins[0].{said}"
    ]


LONG = "a line of a unit has less than 2048 bytes (systemd.unit(5))"
X = "x" * 50


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ("", ""),
        ("junk", ""),
        ("junk\n[Unit]\nA=b", ""),
        ("# comment\n; comment\n\n  \n[Unit]\n # comment\n\tA=b\n", ""),
        ("#comment\njunk\n[Unit]", "expected NAME=value, found 'junk'"),
        (";comment\njunk", "expected NAME=value, found 'junk'"),
        (f"[Unit]\n  {X} ", f"expected NAME=value, found '{'x' * 40}'"),
        ("[Unit", "a section is one word in brackets, found '[Unit'"),
        ("[a]b]", "a section is one word in brackets, found '[a]b]'"),
        (f"[Unit]\nA=b\n [{X}", f"a section is one word in brackets, found '[{'x' * 39}'"),
        ("[]\n[two words]\nA=b", ""),
        (f"[Unit]\nA={'x' * 2045}", ""),
        (f"[Unit]\nA={'x' * 2046}", LONG),
        (f"[Unit]\nA={'é' * 1023}", LONG),
        ("[Unit]\nA=b \\\nc\\\nd\nB=c", ""),
        ("[Unit]\nA=b \\\nc\nd", "expected NAME=value, found 'd'"),
        ("[Unit]\nA=b\\ \nc", "expected NAME=value, found 'c'"),
        ("[Unit]\nA=b\\", ""),
        ("[Unit]\n# comment \\\njunk\nA=b", ""),
        ("[Unit]\n; comment \\ \njunk\nA=b", ""),
        ("[Unit]\n\njunk", "expected NAME=value, found 'junk'"),
        ("[Unit]\n# comment\njunk", "expected NAME=value, found 'junk'"),
        ("[Unit]\n# A=b\njunk=\\\nmore\nmore", "expected NAME=value, found 'more'"),
    ],
)
def test_what_is_wrong_with_the_text_of_a_unit(contents: str, said: str) -> None:
    assert trouble(contents) == said
