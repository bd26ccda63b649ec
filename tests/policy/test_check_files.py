"""The rules for files, directories, links and what they hold, each alone."""

from typing import Any

import pytest
from policy.documents import document, mistakes

from harness.policy import urls
from harness.policy.check_files import check_nodes, check_once, check_path, check_resource, resources
from harness.policy.document import Document
from harness.policy.variants import NEWEST, Variant

Section = dict[str, Any]


def variant(spec: int, *, is_ignition: bool = False) -> Variant:
    return Variant("some", 7, spec, is_ignition=is_ignition)


def noted(found_in: Variant = NEWEST, **storage: list[Section]) -> list[str]:
    """The mistakes and the notes of a file with such nodes, without the section's name."""
    found = document({"storage": storage}, found_in)
    check_nodes(found, storage)
    return [line.removeprefix("storage.") for line in (*mistakes(found), *found.notes)]


# --- what names contents


def test_every_section_that_names_contents() -> None:
    def said(number: int) -> Section:
        return {"inline": str(number)}

    data = {
        "storage": {
            "files": [
                {"path": "/a", "append": [said(0)]},
                {"path": "/b", "contents": said(1), "append": [said(2), said(3)]},
                {"path": "/c"},
            ],
            "luks": [{"name": "a"}, {"name": "b", "key_file": said(4)}],
        },
        "ignition": {
            "config": {"merge": [said(5), said(6)], "replace": said(7)},
            "security": {"tls": {"certificate_authorities": [said(8), said(9)]}},
        },
    }
    files, authorities = ("storage", "files"), ("ignition", "security", "tls", "certificate_authorities")
    assert list(resources(data)) == [
        ((*files, 0, "append", 0), said(0)),
        ((*files, 1, "contents"), said(1)),
        ((*files, 1, "append", 0), said(2)),
        ((*files, 1, "append", 1), said(3)),
        (("storage", "luks", 1, "key_file"), said(4)),
        (("ignition", "config", "merge", 0), said(5)),
        (("ignition", "config", "merge", 1), said(6)),
        (("ignition", "config", "replace"), said(7)),
        ((*authorities, 0), said(8)),
        ((*authorities, 1), said(9)),
    ]
    assert list(resources({})) == list(resources({"ignition": {"security": {}}})) == []


# --- what is there twice, and paths


def test_a_value_that_is_there_twice_is_told_with_the_line_of_the_first() -> None:
    found = document({})
    found.lines.update({("a",): 3, ("b",): 4})
    check_once(found, [(("a",), "x"), (("b",), "y"), (("c",), "y"), (("d",), "x"), (("e",), "y")], "the sign")
    assert list(found.mistakes) == [
        (1, "c: the sign 'y' is there twice, first on line 4"),
        (1, "d: the sign 'x' is there twice, first on line 3"),
        (1, "e: the sign 'y' is there twice, first on line 4"),
    ]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/", ""),
        ("/a", ""),
        ("/a b/ä.c", ""),
        ("", "expected an absolute path, found ''"),
        ("a/b", "expected an absolute path, found 'a/b'"),
        ("/" + "é" * 2047 + "a", ""),
        ("/" + "é" * 2048, "a path has at most 4096 bytes"),
        ("/a\n", "a path has no newline and no other control character"),
        ("/a/", "write the path as /a"),
        ("/a//b", "write the path as /a/b"),
        ("//a", "write the path as /a"),
        ("/a/../b/.", "write the path as /b"),
    ],
)
def test_a_path(path: str, why: str) -> None:
    found = document({})
    check_path(found, ("a",), path)
    assert mistakes(found) == ([f"a: {why}"] if why else [])


# --- files, directories, links, trees


def test_a_path_is_there_once_whatever_the_kind() -> None:
    assert noted(files=[{"path": "/a"}], directories=[{"path": "/b"}], links=[{"path": "/c", "target": "/a"}]) == []
    twice = {"path": "/a"}
    assert noted(files=[twice, twice], directories=[twice], links=[twice | {"target": "/c"}]) == [
        "files[0].path: the path '/a' is there twice, first on line 1",
        "files[1].path: the path '/a' is there twice, first on line 1",
        "links[0].path: the path '/a' is there twice, first on line 1",
    ]


@pytest.mark.parametrize("kind", ["files", "directories", "links"])
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"user": {"id": 0}, "group": {"name": "a"}}, ""),
        ({"user": {"id": 0, "name": "a"}}, ".user: either id or name, not both"),
        ({"group": {"id": 0, "name": "a"}}, ".group: either id or name, not both"),
        ({"path": "b"}, ".path: expected an absolute path, found 'b'"),
        ({"path": "/link/b"}, ".path: passes through the link on line 7"),
        ({"path": "/link/b/c"}, ".path: passes through the link on line 7"),
        ({"path": "/linked/b"}, ""),
    ],
)
def test_a_node(kind: str, said: Section, why: str) -> None:
    link = {"path": "/link", "target": "/c"}
    nodes = {"links": [link], kind: [{"path": "/first"}, {"path": "/b", "target": "x", **said}]}
    if kind == "links":
        nodes["links"] = [link, nodes["links"][1]]
    found = document({"storage": nodes})
    found.lines[("storage", "links", 0)] = 7
    check_nodes(found, nodes)
    assert [message for _, message in found.mistakes] == ([f"storage.{kind}[1]{why}"] if why else [])


def test_a_path_that_is_too_long_or_relative_passes_through_nothing() -> None:
    links = [{"path": "/l", "target": "/b"}, {"path": "r", "target": "/b"}]
    (found,) = noted(links=links[:1], files=[{"path": "/l" + "/a" * 2048}])
    assert found == "files[0].path: a path has at most 4096 bytes"
    assert noted(links=links, files=[{"path": "r/a"}]) == [
        "files[0].path: expected an absolute path, found 'r/a'",
        "links[1].path: expected an absolute path, found 'r'",
    ]
    assert noted(links=links[:1], files=[{"path": "/l" + "/a" * 2047}]) == [
        "files[0].path: passes through the link on line 1"
    ]


@pytest.mark.parametrize("key", ["inline", "local", "source"])
def test_what_is_written_over_has_contents(key: str) -> None:
    assert noted(files=[{"path": "/a", "overwrite": True, "contents": {key: "data:,"}}]) == []
    for contents in ({}, {"contents": {"compression": "gzip"}}):
        assert noted(files=[{"path": "/b"}, {"path": "/a", "overwrite": True, **contents}]) == [
            "files[1].overwrite: needs contents with inline, local or source"
        ]
    assert noted(files=[{"path": "/a", "overwrite": False}]) == []
    folder = {"path": "/a", "overwrite": True}
    assert noted(directories=[folder], links=[{"path": "/b", "target": "/c", "overwrite": True}]) == []


@pytest.mark.parametrize(
    ("path", "target", "hard", "fine"),
    [
        ("/l", "/d", True, False),
        ("/l", "../d", True, False),  # from the link itself, as Ignition looks at it
        ("/l", "/d", False, True),
        ("/l", "/f", True, True),
    ],
)
def test_a_hard_link_does_not_lead_to_a_directory(path: str, target: str, hard: bool, fine: bool) -> None:
    links: list[Section] = [{"path": "/other", "target": "/d"}, {"path": path, "target": target, "hard": hard}]
    found = noted(links=links, directories=[{"path": "/d"}], files=[{"path": "/f"}])
    assert found == ([] if fine else ["links[1].target: a hard link cannot lead to a directory"])


def test_the_path_of_a_tree() -> None:
    assert noted(trees=[{"local": "a"}, {"local": "a", "path": "/b"}]) == []
    assert noted(trees=[{"local": "a"}, {"local": "a", "path": "b"}]) == [
        "trees[1].path: expected an absolute path, found 'b'"
    ]


# --- modes


DROPPED = "the special bits of storage.files[0].mode, 0{:o}, which Ignition drops before spec 3.6.0"


@pytest.mark.parametrize(
    ("mode", "spec", "said"),
    [
        (0, 3, ""),
        (0o644, 3, ""),
        (0o777, 3, ""),
        (0o1000, 3, DROPPED.format(0o1000)),
        (0o4755, 5, DROPPED.format(0o4755)),
        (0o7777, 6, ""),
        (0o10000, 6, "files[0].mode: 4096 is not a mode: write it in octal, from 0 to 0777"),
        (-1, 6, "files[0].mode: -1 is not a mode: write it in octal, from 0 to 0777"),
    ],
)
def test_a_mode(mode: int, spec: int, said: str) -> None:
    assert noted(variant(spec), files=[{"path": "/a", "mode": mode}]) == (
        [said.removeprefix("storage.")] if said else []
    )


@pytest.mark.parametrize(
    ("kind", "mode", "slip"),
    [
        *(("files", mode, True) for mode in (644, 600, 640, 755, 700, 750, 664, 775, 660, 770)),
        *(("directories", mode, True) for mode in (755, 700, 750, 775)),
        # What a folder's owner could not enter was not meant, nor what others may do more with than its owner.
        ("directories", 644, False),
        ("directories", 600, False),
        ("directories", 711, False),
        *(("files", mode, False) for mode in (577, 746, 674, 7777, 444 * 0o10 + 4)),
        # What is a mode that people use as it is, whatever it may look like.
        *(("files", mode, False) for mode in (0o644, 0o600, 0o400, 420, 384, 0o444, 500)),
        # Digits that are not octal, too many, too few.
        *(("files", mode, False) for mode in (648, 849, 77, 6, 2000)),
    ],
)
def test_a_mode_that_was_meant_in_octal(kind: str, mode: int, slip: bool) -> None:
    said = f"storage.{kind}[0].mode is {mode} in decimal, which is 0{mode:o}; was 0{mode} meant?"
    node = {"path": "/a", "mode": mode}
    found = document({"storage": {kind: [node]}}, variant(6))
    check_nodes(found, {kind: [node]})
    assert (said in found.notes) is slip
    in_json = document({"storage": {kind: [node]}}, variant(6, is_ignition=True))
    check_nodes(in_json, {kind: [node]})
    assert in_json.notes == []  # JSON has no octal numbers, so none was forgotten


# --- contents


def resource(found_in: Variant = NEWEST, **said: Any) -> list[str]:
    """The mistakes of a section that names contents, without its name."""
    found: Document = document({}, found_in)
    check_resource(found, ("a",), said)
    assert all(line.startswith("a") for line in mistakes(found))
    return [line.removeprefix("a").removeprefix(": ") for line in mistakes(found)]


@pytest.mark.parametrize("said", [{}, {"inline": "a"}, {"local": "a"}, {"source": "data:,a"}, {"source": ""}])
def test_contents_come_from_one_place(said: Section) -> None:
    assert resource(**said) == []


@pytest.mark.parametrize(
    ("said", "last", "both"),
    [
        ({"inline": "a", "local": "b"}, "local", "inline and local"),
        ({"inline": "a", "source": "data:,"}, "source", "inline and source"),
        ({"local": "a", "source": "data:,"}, "source", "local and source"),
        ({"source": "data:,", "local": "a", "inline": "b"}, "source", "inline and local and source"),
    ],
)
def test_contents_from_several_places(said: Section, last: str, both: str) -> None:
    found = document({})
    check_resource(found, ("a",), said)
    assert mistakes(found) == [f"a.{last}: only one of inline, local and source, not {both}"]
    assert found.broken(("a", last))


SHA512, SHA256 = urls.digest(b"a", "sha512"), urls.digest(b"a", "sha256")
NO_HASH = ".verification.hash: expected sha512- or sha256- and as many hex digits as it has"
OTHER = ".verification.hash: is not the hash of the contents: Ignition would stop"


@pytest.mark.parametrize(
    ("digest", "spec", "why"),
    [
        (SHA512, 0, ""),
        (SHA512.upper().replace("SHA", "sha"), 0, ""),
        (SHA256, 1, ""),
        (SHA256, 0, ".verification.hash: sha256 came with Ignition spec 3.1.0; take sha512"),
        (SHA512[:-1], 6, NO_HASH),
        (SHA256 + "0", 6, NO_HASH),
        (SHA512.replace("512", "256"), 6, NO_HASH),
        ("", 6, NO_HASH),
        ("md5-0", 6, NO_HASH),
        (SHA512[:-1] + ("0" if SHA512[-1] != "0" else "1"), 6, OTHER),
        (SHA256[:-1] + ("0" if SHA256[-1] != "0" else "1"), 6, OTHER),
    ],
)
def test_a_hash(digest: str, spec: int, why: str) -> None:
    said = {"source": "data:,a", "verification": {"hash": digest}}
    assert resource(variant(spec), **said) == ([why] if why else [])
    if why != OTHER:
        other = {"local": "a", "verification": {"hash": digest}}
        assert resource(variant(spec), **other) == ([why] if why else [])


def test_a_hash_is_one_of_something() -> None:
    assert resource(verification={"hash": SHA512}) == ["a hash needs inline, local or source"]
    assert resource(verification={}) == []


@pytest.mark.parametrize("spec", [3, 4])
@pytest.mark.parametrize("scheme", ["http", "https", "tftp", "gs", "s3", "arn"])
def test_where_contents_may_be_fetched(scheme: str, spec: int) -> None:
    why = f".source: expected a url of http, https, tftp, gs, s3, data, found '{scheme}://a/b'"
    assert resource(variant(spec), source=f"{scheme}://a/b") == ([why] if scheme == "arn" and spec < 4 else [])
    for other in ("file:///a", "a"):
        assert resource(source=other) == [
            f".source: expected a url of http, https, tftp, gs, s3, data, found '{other}'"
        ]


def test_a_data_url_is_looked_into() -> None:
    packed: Section = {"source": "data:;base64,H4sIAAAAAAAACAMAAAAAAAAAAAA=", "compression": "gzip"}
    assert resource(source="data:x") == [".source: not a data URL"]
    assert resource(**packed) == []
    (found,) = resource(source="data:,a", compression="gzip")
    assert found.startswith(".source: not gzip: ")
    assert resource(source="data:,a", compression="") == []
    assert resource(**packed, verification={"hash": urls.digest(b"", "sha512")}) == []
    assert resource(**packed, verification={"hash": SHA512}) == [OTHER]


def test_compression_is_gzip() -> None:
    assert resource(local="a", compression="gzip") == resource(local="a", compression="") == []
    assert resource(local="a", compression="xz") == [".compression: 'xz' is not gzip"]


def test_headers_go_with_a_request() -> None:
    headers = [{"name": "a", "value": "b"}, {"name": "b"}]
    for scheme in ("http", "https"):
        assert resource(source=f"{scheme}://a", http_headers=headers) == []
    others: list[Section] = [{"source": "s3://a"}, {"local": "a"}]
    for said in others:
        assert resource(**said, http_headers=headers) == [".http_headers: need a source of http or https"]
    assert resource(local="a", http_headers=[]) == []
    assert resource(source="http://a", http_headers=[*headers, {"name": "a"}]) == [
        ".http_headers[2]: the header 'a' is there twice, first on line 1"
    ]
