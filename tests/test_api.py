"""The public face: scenarios, examples and third parties import what is below harness.api, and nothing else."""

import ast
import dataclasses
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest
from markdown_it import MarkdownIt

from harness import api, attack, edge, lab
from harness.guest.ssh import Shell
from harness.lab.install import SealedEntry
from harness.lab.powered import Powered
from harness.lab.sealed import Sealed
from harness.machine.rig import Rig
from harness.policy.pins import KINDS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("images/**/*.md")])
SCENARIOS = sorted(ROOT.glob("scenarios/**/*.py"))
PUBLIC = ("harness.api", "harness.api.attack", "harness.api.edge")
MOST = 40
"""Names that one of them may export: what a reader takes in at one look."""


def examples(page: Path) -> Iterator[str]:
    """The Python of a page."""
    tokens = MarkdownIt().parse(page.read_text())
    return (token.content for token in tokens if token.type == "fence" and token.info.strip() == "python")


def harness_imports(source: str) -> Iterator[tuple[str, str | None]]:
    """The modules of the harness that some Python imports, each with a name that it takes from there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.partition(".")[0] == "harness")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "harness":
            yield from ((node.module, alias.name) for alias in node.names)


def private_imports(source: str) -> list[str]:
    """What Python takes from the harness that is not in the public face."""
    return [
        f"{module}.{name}" if name else module
        for module, name in harness_imports(source)
        if module not in PUBLIC or name not in import_module(module).__all__
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_import_the_public_face_only(page: Path) -> None:
    assert [name for example in examples(page) for name in private_imports(example)] == []


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenarios_import_the_public_face_only(path: Path) -> None:
    assert private_imports(path.read_text()) == []


def test_private_names_are_caught() -> None:
    source = (
        "from harness.api import Sealed, no_such\nimport pytest\n"
        "def test() -> None:\n    from harness.policy.pins import Pin\n    import harness.cache\n"
    )
    assert private_imports(source) == ["harness.api.no_such", "harness.policy.pins.Pin", "harness.cache"]


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_face_stays_small_and_is_explained(module: str) -> None:
    face = import_module(module)
    assert len(face.__all__) <= MOST
    # A constant and a type alias have their docstring where they are assigned.
    explained = [getattr(face, name) for name in face.__all__ if not name.isupper() and name not in ("Fault", "Pin")]
    assert [each for each in explained if not each.__doc__] == []


def test_each_kind_of_pin_can_be_written_in_a_scenario() -> None:
    assert {kind.__name__ for kind in KINDS} <= set(api.__all__)


def test_the_reference_has_the_public_face_and_the_modules_among_its_names() -> None:
    (listed,) = re.findall(r"^PAGES := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    faces = [import_module(name) for name in PUBLIC]
    modules = [getattr(face, name) for face in faces for name in face.__all__]
    wanted = {*PUBLIC, *(each.__name__ for each in modules if isinstance(each, ModuleType))}
    assert set(listed.replace("\\", "").split()) == wanted


def test_what_a_scenario_holds_of_a_running_machine_is_shown_in_a_few_words() -> None:
    """pytest prints both sides of an assertion that failed; the fields of a machine would be pages of it."""
    live = {Powered, Rig, Sealed, SealedEntry, Shell}
    shown = [
        cls.__name__
        for room in (attack, edge, lab)
        for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")
        for cls in vars(import_module(module.name)).values()
        if dataclasses.is_dataclass(cls) and isinstance(cls, type) and live & set(get_type_hints(cls).values())
        if cls.__module__ == module.name and cls.__repr__ is not object.__repr__
    ]
    assert shown == []
