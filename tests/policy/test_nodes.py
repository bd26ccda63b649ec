"""From a text to nodes with lines, and what is no YAML or too much of it."""

import pytest

from harness.policy.nodes import (
    DEEPEST,
    MOST_VALUES,
    Mapping,
    Node,
    NotReadableError,
    Scalar,
    Sequence,
    compose,
)


def plain(node: Node | None) -> object:
    """A node as Python's own values: texts, lists, and pairs."""
    if isinstance(node, Mapping):
        return tuple((plain(key), plain(value)) for key, value in node.pairs)
    return [plain(item) for item in node.items] if isinstance(node, Sequence) else node and node.text


def lines(node: Node | None) -> object:
    if isinstance(node, Mapping):
        return node.line, tuple((lines(key), lines(value)) for key, value in node.pairs)
    return (node.line, [lines(item) for item in node.items]) if isinstance(node, Sequence) else node and node.line


TEXT = """
a: 1
b:
  - [c, "d"]
  - {e: f,
     g: h}
? [i]
: j
a: 2
"""


def test_a_text_becomes_nodes_as_it_is_written() -> None:
    root = compose(TEXT)
    assert plain(root) == (
        ("a", "1"),
        ("b", [["c", "d"], (("e", "f"), ("g", "h"))]),
        (["i"], "j"),
        ("a", "2"),
    )
    assert lines(root) == (
        2,
        ((2, 2), (3, (4, [(4, [4, 4]), (5, ((5, 5), (6, 6)))])), ((7, [7]), 8), (9, 9)),
    )
    assert compose("") is compose("# a\n") is None
    assert plain(compose("a")) == "a"


@pytest.mark.parametrize(
    ("text", "is_plain", "tag"),
    [
        ("a", True, ""),
        ("'a'", False, ""),
        ('"a"', False, ""),
        ("|\n  a", False, ""),
        ("!!str a", True, "tag:yaml.org,2002:str"),
    ],
)
def test_how_a_scalar_is_written(text: str, is_plain: bool, tag: str) -> None:
    (item,) = compose(f"- {text}").items  # type: ignore[union-attr]
    assert isinstance(item, Scalar)
    assert (item.text.strip(), item.plain, item.tag) == ("a", is_plain, tag)


def test_an_alias_is_the_node_that_it_names() -> None:
    root = compose("[&a x, *a, &b [*a], *b, &c {d: *b}, *c, &a y, *a]")
    assert isinstance(root, Sequence)
    one, again, two, second, three, third, other, last = root.items
    assert (one, two, three, other) == (again, second, third, last)
    assert isinstance(two, Sequence)
    assert two.items == [one]
    assert plain(third) == (("d", ["x"]),)
    assert plain(last) == "y"


@pytest.mark.parametrize("text", ['{"a": "\\ud83d\\uDE00"}', '\ufeff \n{"a": "\\uD83D\\ude00"}'])
def test_a_character_that_json_writes_as_two(text: str) -> None:
    assert plain(compose(text)) == (("a", "\U0001f600"),)


def test_the_first_and_the_last_of_those_characters() -> None:
    assert plain(compose('{"a": ["\\ud800\\udc00", "\\udbff\\udfff"]}')) == (("a", ["\U00010000", "\U0010ffff"]),)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: [", 1, "not YAML: did not find expected node content"),
        ("a: 1\nb: ]\n", 2, "not YAML: did not find expected node content"),
        ("a:\n\tb", 2, "not YAML: found character that cannot start any token"),
        ("a: 1\n\nb: \x00\n", 3, "not YAML: control characters are not allowed (character 0)"),
        ("# äöü\nb: \x00\n\n\n\n", 2, "not YAML: control characters are not allowed (character 0)"),
        ("a\n---\nb\n", 2, "not YAML: a second document begins here; only one is read"),
        ("a: 1\nb: *c", 2, "not YAML: found undefined alias 'c'"),
        ("a: 1\nb: [*a, &a c]", 2, "not YAML: found undefined alias 'a'"),
        ("'a", 1, "not YAML: found unexpected end of stream"),
        ("'a\n", 1, "not YAML: found unexpected end of stream"),
    ],
)
def test_what_is_no_yaml(text: str, line: int, message: str) -> None:
    with pytest.raises(NotReadableError) as caught:
        compose(text)
    assert (str(caught.value), caught.value.line) == (message, line)


def test_half_a_pair_of_those_characters_is_no_yaml() -> None:
    with pytest.raises(NotReadableError, match=r"^not YAML: ") as caught:
        compose('{\n"a": "\ud800"}')
    assert caught.value.line == 1


def test_what_is_nested_too_deep() -> None:
    assert compose("[" * DEEPEST + "]" * DEEPEST)
    assert compose("[" * DEEPEST + "]" * DEEPEST + "\n")
    deep = "a:\n" + "  [" * DEEPEST + "]" * DEEPEST
    with pytest.raises(NotReadableError) as caught:
        compose(deep)
    assert (str(caught.value), caught.value.line) == ("lists and mappings nested deeper than 64 levels", 2)


def test_how_many_values_are_read() -> None:
    # Beside the items the stream, the document and the list begin; the list ends, and what follows is not counted.
    fits = "[" + ", ".join(["a"] * (MOST_VALUES - 5)) + "]"
    assert isinstance(compose(fits), Sequence)
    with pytest.raises(NotReadableError) as caught:
        compose("\n" + fits.replace("[", "[" + "a, " * 9))
    assert (str(caught.value), caught.value.line) == ("more than 50,000 keys and values", 2)
