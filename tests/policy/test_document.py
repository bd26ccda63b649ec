"""How a policy file's mistakes are gathered and told."""

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.policy.document import Document, dotted
from harness.policy.variants import NEWEST, Variant

IGNITION = Variant("Ignition 3.3.0", 4, 3, is_ignition=True)
TEXT = "one\n  two\nthree\n"


def document(text: str = TEXT, variant: Variant = NEWEST) -> Document:
    found = Document(Path("/folder/mine.bu"), text, variant)
    found.lines.update({("a",): 2, ("a", "b_mib"): 3, ("a", "b_mib", 0): 1})
    return found


def told(found: Document) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        found.check()
    return caught.value.what, caught.value.detail


def test_a_key_path_is_written_as_people_do() -> None:
    assert dotted(("storage", "luks", 0, "name")) == "storage.luks[0].name"
    assert dotted((0, "a")) == "[0].a"
    assert dotted(()) == ""
    assert dotted(("X11", "a")) == "X11.a"


def test_a_key_path_is_in_the_files_own_spelling() -> None:
    assert document().named(("a", "b_mib", 0, "c_d")) == "a.b_mib[0].c_d"
    assert document(variant=IGNITION).named(("a", "b_mib", 0, "c_d")) == "a.bMiB[0].cD"
    assert (document().ignition, document(variant=IGNITION).ignition) == (False, True)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 2),
        (("a", "c"), 2),
        (("a", "b_mib"), 3),
        (("a", "b_mib", 0), 1),
        (("a", "b_mib", 1, "c"), 3),
        (("b",), 1),
        ((), 1),
    ],
)
def test_the_line_of_a_key_is_that_of_the_nearest_section(path: tuple[str | int, ...], line: int) -> None:
    assert document().line(path) == line


def test_one_mistake_is_told_with_its_line() -> None:
    document().check()
    assert document().sound
    found = document()
    found.mistake(("a",), "is wrong")
    assert not found.sound
    assert told(found) == ("mine.bu:2: a: is wrong", "    two")


def test_a_mistake_of_the_whole_file_has_no_key() -> None:
    found = document("")
    found.mistake((), "is wrong")
    assert told(found) == ("mine.bu:1: is wrong", "")


def test_several_mistakes_are_told_in_the_order_of_their_lines() -> None:
    found = document()
    found.mistake(("a", "b_mib"), "last")
    found.mistake(("a",), "first", 1)
    found.mistake(("c",), "then")
    found.mistake(("d",), "behind the end", 4)
    assert told(found) == (
        "mine.bu has 4 mistakes",
        "mine.bu:1: a: first\n    one\nmine.bu:1: c: then\n    one\nmine.bu:3: a.b_mib: last\n    three\n"
        "mine.bu:4: d: behind the end",
    )


def test_of_one_key_one_mistake_is_told_but_for_those_inside_it() -> None:
    found = document()
    found.mistake(("a",), "first")
    found.mistake(("a",), "again")
    found.mistake(("a", "c"), "below")
    found.mistake(("a",), "inside", inside=True)
    found.mistake(("a",), "inside, too", inside=True)
    found.mistake((), "whole")
    found.mistake((), "whole, too")
    assert [message for _, message in found.mistakes] == [
        *("a: first", "a.c: below", "a: inside", "a: inside, too", "whole", "whole, too")
    ]


def test_a_mistake_inside_a_key_leaves_room_for_one_of_the_key() -> None:
    found = document()
    found.mistake(("a",), "inside", inside=True)
    found.mistake(("a",), "own")
    assert len(found.mistakes) == 2


def test_of_what_is_a_stand_in_nothing_more_is_told() -> None:
    found = document()
    found.broke(("a", "b_mib"), "has no value")
    for path in (("a", "b_mib"), ("a", "b_mib", 0, "c")):
        found.mistake(path, "more", inside=True)
    found.mistake(("a", "b"), "beside")
    assert [message for _, message in found.mistakes] == ["a.b_mib: has no value", "a.b: beside"]
    assert found.broken(())
    assert found.broken(("a",))
    assert found.broken(("a", "b_mib"))
    assert not found.broken(("a", "b_mib", 0))
    assert not found.broken(("b",))
    found.broke(("d",), "has no value")
    found.mistake(("d", "e"), "more")
    assert (1, "d.e: more") not in found.mistakes


def test_what_is_missing_is_told_at_its_section() -> None:
    found = document()
    found.broke(("a", "x"), "x is missing", at=("a",))
    found.broke(("a", "y"), "y is missing", at=("a",))
    found.mistake(("a", "x"), "more")
    found.mistake(("a",), "own")
    assert [message for _, message in found.mistakes] == ["a: x is missing", "a: y is missing", "a: own"]


def test_the_mistakes_of_a_file_within_are_told_with_its_own_lines() -> None:
    inner = document()
    inner.mistake(("a", "b_mib"), "one")
    inner.mistake((), "two")
    found = document()
    found.take_over(inner, ("a",), "child.ign")
    found.take_over(inner, ("a",), "")
    assert list(found.mistakes) == [
        (2, "a: child.ign:3: a.b_mib: one"),
        (2, "a: child.ign:1: two"),
        (2, "a: line 3 of it: a.b_mib: one"),
        (2, "a: line 1 of it: two"),
    ]


@pytest.mark.parametrize(("count", "more"), [(20, None), (21, "and 1 more"), (1220, "and 1,200 more")])
def test_twenty_mistakes_are_told(count: int, more: str | None) -> None:
    found = document("")
    for number in range(count):
        found.mistake((f"k{number}",), "is wrong")
    assert found.crowded is (count > 20)
    what, detail = told(found)
    lines = detail.splitlines()
    assert what == f"mine.bu has {count:,} mistakes"
    assert lines[:20] == [f"mine.bu:1: k{number}: is wrong" for number in range(20)]
    assert lines[20:] == ([more] if more else [])


def test_a_long_mistake_is_cut_and_its_line_gets_what_is_left() -> None:
    found = document("x" * 500)
    found.mistake((), "y" * 500)
    what, detail = told(found)
    assert (len(what), what[-2:]) == (240, "y…")
    assert len(what) + 1 + len(detail) == 300
    assert detail == f"    {'x' * 54}…"
    found = document("x" * 400)
    found.mistake((), "y")
    what, detail = told(found)
    assert (what, detail) == ("mine.bu:1: y", f"    {'x' * 282}…")


@pytest.mark.parametrize("length", [240 - len("mine.bu:1: "), 241 - len("mine.bu:1: ")])
def test_a_message_that_just_fits_is_whole(length: int) -> None:
    found = document("")
    found.mistake((), "y" * length)
    what, _ = told(found)
    assert (what.endswith("…"), len(what)) == (length > 240 - len("mine.bu:1: "), 240)


def test_signs_that_no_terminal_shall_get_are_written_out() -> None:
    found = document("\ta\x1b[31m\x7f")
    found.mistake((), "a\nb\x07")
    assert told(found) == (r"mine.bu:1: a\x0ab\x07", r"    a\x1b[31m\x7f")


@pytest.mark.parametrize(
    ("text", "line", "read", "hint"),
    [
        ("version: {{ version }}\n", 1, True, "{{ on line 1"),
        ("version: 1\nluks:\n{% for disk in disks %}\n", 3, False, "{% on line 3"),
        ("version: 1\n<% if disk %>\nluks:\n", 3, False, "<% on line 2"),
        ("luks:\nhosts: all\n{{ a }}", 2, False, ""),
        ("inline: podman ps --format '{{.Names}}'\nluks: 1\n", 2, True, ""),
        ("version: 1\n", 1, False, ""),
    ],
)
def test_a_template_is_told_as_one_where_it_is_mistaken(text: str, line: int, read: bool, hint: str) -> None:
    found = document(text)
    found.data = {"version": "1"} if read else {}
    found.mistake((), "is wrong", line)
    with pytest.raises(UsageError) as caught:
        found.check()
    assert caught.value.hint.startswith(f"it looks like a template: {hint}" if hint else "")
    assert bool(caught.value.hint) is bool(hint)
    found.mistake((), "is wrong, too", line)
    with pytest.raises(UsageError, match="has 2 mistakes") as several:
        found.check()
    assert several.value.hint == caught.value.hint
