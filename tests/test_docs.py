"""What the documentation names is there: links and anchors, files in backticks, options."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.attack.grants import Grant
from harness.commands import COMMANDS
from harness.guest.outcome import Outcome
from harness.images.recipe import Recipe
from harness.lab import faults
from harness.policy.pins import KINDS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("images/**/*.md")])

TOP = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.name not in (".git", "artifacts"))
FILE = re.compile(rf"(?:{TOP})(?:/[\w.@*-]+)*/?")
"""A path of this repository. In capitals: NAME and the like stand for what a reader chooses."""


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """All tokens of a page, those of its lines included."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    return tuple(token for block in blocks for token in (block, *(block.children or ())))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that a Markdown viewer gives the headings, as GitHub does: its own letters, digits, _ and -."""
    seen: Counter[str] = Counter()
    found = set()
    for heading, line in zip(tokens(page), tokens(page)[1:], strict=False):
        if heading.type == "heading_open":
            text = "".join(child.content for child in line.children or () if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return frozenset(found)


def broken_links(page: Path) -> Iterator[str]:
    """Relative links to nothing, and anchors that no heading has."""
    for token in tokens(page):
        target = token.attrs.get("href") or token.attrs.get("src")
        if not isinstance(target, str) or urlsplit(target).scheme:
            continue
        path, fragment = (unquote(part) for part in (urlsplit(target).path, urlsplit(target).fragment))
        there = page.parent / path if path else page
        if not there.exists() or (fragment and fragment not in anchors(there)):
            yield target


def missing_files(page: Path) -> Iterator[str]:
    """Paths of this repository in backticks where nothing is."""
    for token in tokens(page):
        name = token.content
        if token.type != "code_inline" or not FILE.fullmatch(name) or re.search(r"\b[A-Z]{3,}\b(?!\.md)", name):
            continue
        if not any(ROOT.glob(name.rstrip("/"))):
            yield name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    assert list(missing_files(page)) == []


def test_a_page_with_mistakes_is_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One thing\n\n[a](gone.md) [b](#one-thing) [c](#other) [d](page.md#one-thing) [e](https://example.org/x)\n"
        "`harness/nowhere.py` `harness/api` `images/NAME/recipe.yaml` `docs/*.md`\n"
    )
    assert list(broken_links(page)) == ["gone.md", "#other"]
    assert list(missing_files(page)) == ["harness/nowhere.py"]


def test_a_newcomer_finds_what_to_write_at_the_head_of_contributing() -> None:
    lines = [line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line]
    assert lines[1].startswith("| to add a")
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    for one in ("scenario", "policy", "pin kind", "service", "guest image", "hypervisor"):
        assert re.search(r"\| one (function|file|module|folder)\b.*\]\(docs/", rows[one]), one


def test_the_tutorial_of_a_home_server_names_just_its_steps() -> None:
    """They bear the mark by which ``make scenarios ARGS='-m homelab'`` runs them."""
    marked: set[str] = set()
    for path in (ROOT / "scenarios").glob("test_*.py"):
        tree = ast.parse(path.read_text())
        whole = "pytestmark = pytest.mark.homelab" in path.read_text()
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = {ast.unparse(mark) for mark in node.decorator_list}
                if whole or "pytest.mark.homelab" in marks:
                    marked.add(node.name)
    table = [line for line in (ROOT / "docs" / "tutorial-homelab.md").read_text().splitlines() if line.startswith("|")]
    assert set(re.findall(r"`(test_\w+)`", "\n".join(table))) == marked


def untold(text: str) -> Iterator[str]:
    """Scenarios that name no source, be it that of the whole file, and attacks that do not tell their grants."""
    tree = ast.parse(text)
    head = ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            told = ast.get_docstring(node) or ""
            attack = any(ast.unparse(mark).startswith("pytest.mark.attack(") for mark in node.decorator_list)
            if "ource:" not in head + told or (attack and "ranted" not in told):
                yield node.name


@pytest.mark.parametrize("path", sorted(ROOT.glob("scenarios/test_*.py")), ids=lambda path: path.stem)
def test_each_scenario_names_its_source_and_an_attack_its_grants(path: Path) -> None:
    assert list(untold(path.read_text())) == []


def test_a_scenario_that_tells_too_little_is_caught() -> None:
    told = '"""Shut. Granted: the disk. Source: clevis(1)."""'
    attack = "@pytest.mark.attack(Grant.DISK)\ndef test_it():\n    "
    assert list(untold(attack + told)) == []
    assert list(untold(attack + told.replace("Granted", "Has"))) == ["test_it"]
    assert list(untold(f"def test_it():\n    {told.replace('Source', 'See')}")) == ["test_it"]
    assert list(untold('"""All. Source: clevis(1)."""\ndef test_it():\n    """It."""')) == []


# Reference


def reference(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text()


def plugin_calls(method: str) -> list[str]:
    """The first word of the first argument of each such call in the plugin: options, marks."""
    tree = ast.parse((ROOT / "harness" / "plugin.py").read_text())
    return [
        str(argument.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method
        for argument in node.args
        if isinstance(argument, ast.Constant)
    ]


def test_every_option_is_prefixed_and_documented() -> None:
    options = plugin_calls("addoption")
    assert options
    assert [option for option in options if not option.startswith("--lab-")] == []
    assert [option for option in options if f"`{option}" not in reference("plugin.md")] == []


def test_every_mark_and_fixture_is_documented() -> None:
    marks = re.findall(r'"markers", "(\w+)', (ROOT / "harness" / "plugin.py").read_text())
    fixtures = re.findall(r"@pytest\.fixture.*\ndef (\w+)", (ROOT / "harness" / "fixtures.py").read_text())
    assert {"policy", "attack"} <= set(marks)
    assert "sealed" in fixtures
    assert [name for name in (*marks, *fixtures) if f"`{name}" not in reference("plugin.md")] == []


def test_every_command_is_documented() -> None:
    assert [name for name in COMMANDS if f"`unlock-lab {name}" not in reference("commands.md")] == []


def test_all_of_an_outcome_is_documented() -> None:
    assert [each.name for each in fields(Outcome) if f"{each.name}`" not in reference("scenario.md")] == []


def test_every_key_of_a_recipe_is_documented() -> None:
    told = (ROOT / "images" / "README.md").read_text()
    assert [each.name for each in fields(Recipe) if each.name != "folder" and f"`{each.name}`" not in told] == []


def test_every_variable_is_documented() -> None:
    read = {
        name
        for path in ROOT.glob("harness/**/*.py")
        for name in re.findall(r"\bUNLOCK_LAB_[A-Z_]+\b", path.read_text())
    }
    assert "UNLOCK_LAB_CACHE" in read
    assert set(re.findall(r"`(UNLOCK_LAB_[A-Z_]+)", reference("environment.md"))) == read


def test_the_checks_before_a_commit_are_those_of_make_lint_and_types() -> None:
    hooks = set(
        re.findall(
            r"entry: \.venv/bin/(\w+(?: check| format --check)?)", (ROOT / ".pre-commit-config.yaml").read_text()
        )
    )
    recipe = (ROOT / "Makefile").read_text()
    lint = "\n".join(re.findall(r"^(?:lint|types):.*\n((?:\t.*\n)+)", recipe, re.MULTILINE))
    assert set(re.findall(r"\$\(VENV\)/(\w+(?: check| format --check)?)", lint)) == hooks


def test_every_fault_pin_and_grant_is_documented() -> None:
    how_to, threats = ROOT / "docs" / "how-to", (ROOT / "docs" / "explanation" / "threat-model.md").read_text()
    ours = [name for name, each in vars(faults).items() if getattr(each, "__module__", "") == faults.__name__]
    applied = [name for name in ours if name[0].islower() and not name.startswith(("_", "as_"))]
    assert {"tpm_removed", "firmware_swapped"} <= set(applied)
    assert [name for name in applied if f"`faults.{name}" not in (how_to / "fault.md").read_text()] == []
    pins = [kind.__name__ for kind in KINDS]
    assert [name for name in pins if f"`{name}(" not in (how_to / "policy.md").read_text()] == []
    assert [grant for grant in Grant if f"`Grant.{grant.name}`" not in threats] == []
