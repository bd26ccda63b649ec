"""One config over another, as Ignition's config/merge has it."""

from typing import Any

import pytest

from harness.policy.merge import elsewhere, merge


@pytest.mark.parametrize(
    ("parent", "child", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": [1]}, {"a": 2}, {"a": 2}),
        ({"a": 2}, {"a": [1]}, {"a": [1]}),
        ({"a": [1, 2]}, {"a": [2, 3]}, {"a": [1, 2, 3]}),
    ],
)
def test_what_the_child_says_counts(parent: dict[str, Any], child: dict[str, Any], merged: dict[str, Any]) -> None:
    before = (repr(parent), repr(child))
    assert merge(parent, child) == merged
    assert (repr(parent), repr(child)) == before


@pytest.mark.parametrize("name", ["options", "mountOptions", "append"])
def test_lists_whose_items_may_be_there_twice_are_joined(name: str) -> None:
    assert merge({name: ["a", "b"]}, {name: ["b", "a"]}) == {name: ["a", "b", "b", "a"]}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("disks", "device"),
        ("raid", "name"),
        ("luks", "name"),
        ("filesystems", "device"),
        ("files", "path"),
        ("directories", "path"),
        ("links", "path"),
        ("users", "name"),
        ("groups", "name"),
        ("units", "name"),
        ("dropins", "name"),
        ("tang", "url"),
        ("certificateAuthorities", "source"),
        ("merge", "source"),
        ("httpHeaders", "name"),
    ],
)
def test_items_are_told_apart_by_their_key(name: str, key: str) -> None:
    parent = [{key: "/a", "value": 1, "y": 1}, {key: "/b", "value": 1}]
    child = [{key: "/c", "value": 2}, {key: "/a", "value": 2}]
    merged = [{key: "/a", "value": 2, "y": 1}, {key: "/b", "value": 1}, {key: "/c", "value": 2}]
    assert merge({name: parent}, {name: child}) == {name: merged}


def test_partitions_are_told_apart_by_number_and_else_by_label() -> None:
    parent = [{"number": 1, "label": "a", "size": 1}, {"number": 0, "label": "1", "size": 1}, {"label": "b", "size": 1}]
    child = [{"number": 1, "label": "z"}, {"label": "1", "size": 2}, {"label": "b", "size": 2}, {"number": 2}]
    assert merge({"partitions": parent}, {"partitions": child})["partitions"] == [
        {"number": 1, "label": "z", "size": 1},
        {"number": 0, "label": "1", "size": 2},
        {"label": "b", "size": 2},
        {"number": 2},
    ]


def test_a_header_without_a_value_takes_the_parents_away() -> None:
    parent = [{"name": "a", "value": "1"}, {"name": "b", "value": "1"}, {"name": "c", "value": "1"}]
    child = [{"name": "a"}, {"name": "b"}]
    assert merge({"httpHeaders": parent}, {"httpHeaders": child}) == {"httpHeaders": parent[2:]}
    assert merge({"users": parent}, {"users": child}) == {"users": parent}


NODES = ("files", "directories", "links")


@pytest.mark.parametrize(("name", "other"), [(one, two) for one in NODES for two in NODES if one != two])
def test_a_path_is_in_one_list_at_most(name: str, other: str) -> None:
    parent = {name: [{"path": "/a", "x": 1}, {"path": "/b"}]}
    child = [{"path": "/a", "y": 2}]
    assert merge(parent, {other: child}) == {name: [{"path": "/b"}], other: child}
    assert merge(parent, {other: child, name: child}) == {
        name: [{"path": "/a", "x": 1, "y": 2}, {"path": "/b"}],
        other: child,
    }
    assert merge({"users": parent[name]}, {other: child}) == {"users": parent[name], other: child}


def test_a_kernel_argument_is_wanted_or_not() -> None:
    parent = {"shouldExist": ["a", "b"], "shouldNotExist": ["c"]}
    assert merge(parent, {"shouldNotExist": ["a"]}) == {"shouldExist": ["b"], "shouldNotExist": ["c", "a"]}
    assert merge(parent, {"shouldExist": ["c"]}) == {"shouldExist": ["a", "b", "c"], "shouldNotExist": []}


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ({}, []),
        ({"config": {}}, []),
        ({"config": {"merge": [{"source": "data:,{}"}, {"source": "http://a/"}, {"source": "s3://b"}]}}, [1, 2]),
        ({"config": {"replace": {"source": "http://a/"}, "merge": [{"source": "s3://b"}]}}, [1]),
        ({"config": {"replace": {"source": "data:,{}"}, "merge": [{"source": "s3://b"}]}}, []),
        ({"config": {"replace": {"source": None}, "merge": [{"source": "s3://b"}]}}, [2]),
        ({"config": {"replace": {}, "merge": [{"source": "s3://b"}]}}, [2]),
    ],
)
def test_the_configs_that_would_be_fetched(named: dict[str, Any], found: list[int]) -> None:
    assert elsewhere({"ignition": named}) == [["http://a/", "s3://b"][number - 1] for number in found]
