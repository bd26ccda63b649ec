"""The rules that keep the code in shape, read from the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest

import harness
from harness.policy.pins import KINDS, Leaf

ROOT = Path(harness.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
SCENARIOS = sorted((ROOT.parent / "scenarios").rglob("*.py"))
LONGEST = 350

SAYS_PURE = re.compile(r"\(pure\)|\bPure(?: data)?[.:,]")
"""How a module's docstring says that it decides without touching the world, and a package's that its modules do."""

WORLD = frozenset(
    {"asyncio", "ctypes", "docker", "fcntl", "filelock", "glob", "grp", "http", "libvirt", "multiprocessing", "os"}
    | {"paramiko", "pexpect", "pty", "pwd", "random", "requests", "secrets", "select", "shutil", "signal", "socket"}
    | {"ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request"}
)
"""Libraries that reach out of the process, or give another answer each time."""

TOUCHES = frozenset(
    {"chmod", "cwd", "exec", "exists", "generate_private_key", "glob", "home", "input", "is_dir", "is_file", "iterdir"}
    | {"lstat", "mkdir", "now", "open", "print", "random_serial_number", "read_bytes", "read_text", "readlink"}
    | {"resolve", "rglob", "rmdir", "stat", "symlink_to", "today", "touch", "unlink", "urandom", "uuid1", "uuid4"}
    | {"write_bytes", "write_text"}
)
"""Functions and methods that do, wherever they come from."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in ("harness", *parts) if part != "__init__")


def room_of(module: str) -> str:
    """``harness.guest.boot`` is in ``guest``, ``harness.cache`` in ``cache``."""
    return module.split(".")[1] if "." in module else ""


def rooms() -> dict[str, int]:
    """Each room's floor, counted from the top of the map in the docstring of the package."""
    assert harness.__doc__
    lines = harness.__doc__.split("::\n")[1].strip("\n").splitlines()
    floors = [re.split(r"\s{2,}", line.strip())[0] for line in lines]
    return {room.strip().rstrip("/"): floor for floor, names in enumerate(floors) for room in names.split(",")}


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Everything that a module imports, wherever in it, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            assert node.module
            # ``from harness import cache`` names modules, ``from harness.cache import digest`` what is in one.
            whole = node.module == "harness"
            yield from ((f"harness.{alias.name}" if whole else node.module, node.lineno) for alias in node.names)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), path)


def misplaced(module: str, tree: ast.Module, floors: dict[str, int]) -> list[str]:
    """Imports that go up, or to a room on the same floor other than the shared ones at top and bottom."""
    here = room_of(module)
    found = []
    for target, line in imported(tree):
        there = room_of(target)
        if not target.startswith("harness.") or there == here:
            continue
        if floors[there] < floors[here]:
            found.append(f"line {line}: {module} imports {target}, which is above it")
    return found


def calls(tree: ast.Module, owner: str, name: str) -> list[int]:
    """Lines that call ``owner.name``, or that import the name."""
    by_attribute = (
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr == name
        and isinstance(node.value, ast.Name)
        and node.value.id == owner
    )
    by_import = (
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == owner and any(a.name == name for a in node.names)
    )
    return sorted(chain(by_attribute, by_import))


def scripts(tree: ast.Module) -> list[int]:
    """The lines where strings begin that are scripts of several lines."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=bytes(data)):
                text = data.decode("latin-1")
            case ast.Constant(value=str(text)):
                pass
            case _:
                continue
        if text.lstrip().startswith("#!/") and "\n" in text.strip():
            found.append(node.lineno)
    return found


def users_of(library: str) -> set[str]:
    return {
        name_of(path)
        for path in MODULES
        if any(target.split(".")[0] == library for target, _ in imported(parsed(path)))
    }


def says_pure(tree: ast.Module) -> bool:
    return bool(SAYS_PURE.search(ast.get_docstring(tree) or ""))


def pure_modules(trees: dict[str, ast.Module]) -> set[str]:
    """Those that say it."""
    return {name for name, tree in trees.items() if says_pure(tree)}


def excepted(docstring: str) -> set[str]:
    """Of a package that is pure, the modules that it names as not: ``Pure, but for `reader` and `butane`.``"""
    found = re.search(r"\bPure, but for ((?:`\w+`(?:, | and )?)+)", docstring)
    return set(re.findall(r"\w+", found[1])) - {"and"} if found else set()


def impurities(tree: ast.Module, pure: set[str], modules: set[str]) -> list[str]:
    """What a module does that a pure one must not: by itself, or by importing one of ours that is not pure."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = {name if name in modules else str(node.module) for name in inner}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            names = set()
        found += [
            f"line {node.lineno}: {name}"  # type: ignore[attr-defined]
            for name in sorted(names)
            if (name in modules and name not in pure) or name in WORLD or name.split(".")[0] in WORLD
        ]
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            found += [f"line {node.lineno}: {called}()"] if called in TOUCHES else []
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    module = name_of(path)
    if module != "harness":
        assert room_of(module) in rooms(), f"the map in harness/__init__.py does not have {room_of(module)}"
        assert misplaced(module, parsed(path), rooms()) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST
    assert ast.get_docstring(parsed(path)), "no docstring"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_sleeps(path: Path) -> None:
    """A sleep hides what is waited for, and for how long at most."""
    assert calls(parsed(path), "time", "sleep") == []


@pytest.mark.parametrize("path", [*MODULES, *SCENARIOS], ids=lambda path: path.stem)
def test_a_script_is_a_file_that_shellcheck_reads(path: Path) -> None:
    """In a string a quote that is missing shows when the guest runs it."""
    assert scripts(parsed(path)) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_relies_on_the_interpreter_to_clean_up(path: Path) -> None:
    """A kill -9 runs neither."""
    tree = parsed(path)
    assert not any(target == "atexit" for target, _ in imported(tree))
    assert not any(isinstance(node, ast.FunctionDef) and node.name == "__del__" for node in ast.walk(tree))


def test_what_is_temporary_has_a_reaper() -> None:
    """A folder of Python's tempfile stays when the process is killed; `whole_file` writes beside a place of ours."""
    assert users_of("tempfile") <= {"harness.temporary", "harness.files", "harness.paths"}


def test_one_module_talks_to_libvirt() -> None:
    assert users_of("libvirt") <= {"harness.machine.libvirt"}


def test_services_talk_to_docker() -> None:
    assert {name for name in users_of("docker") if not name.startswith("harness.services.")} <= {"harness.host.docker"}


TREES = {name_of(path): parsed(path) for path in MODULES}
PURE = pure_modules(TREES)


@pytest.mark.parametrize("module", sorted(PURE))
def test_what_says_it_is_pure_is(module: str) -> None:
    """And all that it imports of ours, since that must say so, too."""
    assert impurities(TREES[module], PURE, set(TREES)) == []


@pytest.mark.parametrize("package", [name_of(path) for path in MODULES if path.name == "__init__.py"])
def test_in_a_pure_package_every_module_says_so(package: str) -> None:
    docstring = ast.get_docstring(TREES[package]) or ""
    inside = {name for name in TREES if name.rpartition(".")[0] == package}
    if package != "harness" and says_pure(TREES[package]):
        silent = inside - PURE
        assert {name.rpartition(".")[2] for name in silent} == excepted(docstring)


def test_what_the_map_calls_pure_says_so_itself() -> None:
    assert harness.__doc__
    lines = harness.__doc__.split("::\n")[1].strip("\n").splitlines()
    rooms_told = [line.split()[0].rstrip("/") for line in lines if "(pure" in line]
    assert rooms_told
    assert [room for room in rooms_told if not says_pure(TREES[f"harness.{room}"])] == []


def kind_tests(tree: ast.Module) -> list[int]:
    """Lines that test which kind a pin is, by isinstance or by a pattern of match."""
    kinds = {"Sss", *(kind.__name__ for kind in KINDS)}

    def names(node: ast.AST) -> set[str]:
        return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}

    return [
        node.lineno if isinstance(node, ast.Call) else node.cls.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and names(node.func) == {"isinstance"} and names(node.args[1]) & kinds)
        or (isinstance(node, ast.MatchClass) and names(node.cls) & kinds)
    ]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_tests_which_kind_a_pin_is(path: Path) -> None:
    """What is to be known of a pin is asked of its kind, so that another kind is one module more."""
    assert kind_tests(parsed(path)) == []


def test_every_kind_of_pin_is_listed() -> None:
    """Each module of the package defines the kinds that it has; those that are a base of others are none."""

    def ends(kind: type) -> set[type]:
        return set().union(*map(ends, kind.__subclasses__())) or {kind}

    for path in (ROOT / "policy" / "pins").glob("*.py"):
        import_module(name_of(path))
    assert {kind for kind in ends(Leaf) if kind.__module__.startswith("harness.")} == set(KINDS)


def test_the_map_has_no_room_that_is_not_there() -> None:
    there = {room_of(name_of(path)) for path in MODULES}
    assert set(rooms()) - there == set()


# The checks themselves, made to go red.


def test_an_import_that_goes_up_is_seen() -> None:
    floors = {"lab": 0, "machine": 1, "errors": 2}
    for text in (
        "import harness.lab.sealed",
        "from harness.lab import sealed",
        "from harness import lab",
        "def f():\n    from harness.lab.sealed import Sealed",
    ):
        assert misplaced("harness.machine.rig", ast.parse(text), floors), text
    for text in ("from harness.errors import RigError", "from harness.machine.spec import Disk", "import os"):
        assert not misplaced("harness.machine.rig", ast.parse(text), floors), text


def test_a_test_of_a_pin_s_kind_is_seen() -> None:
    for text in ("isinstance(pin, Sss)", "isinstance(pin, Leaf | TangPin)", "isinstance(pin, (Tpm2Pin, int))"):
        assert kind_tests(ast.parse(text)) == [1], text
    assert kind_tests(ast.parse("match pin:\n    case TangPin():\n        pass")) == [2]
    assert kind_tests(ast.parse("isinstance(pin, Leaf)\nTangPin('tang', 'url')")) == []


def test_a_sleep_is_seen() -> None:
    assert calls(ast.parse("import time\ntime.sleep(1)"), "time", "sleep") == [2]
    assert calls(ast.parse("from time import sleep"), "time", "sleep") == [1]
    assert calls(ast.parse("import time\ntime.monotonic()"), "time", "sleep") == []


def test_a_script_in_a_string_is_seen() -> None:
    assert scripts(ast.parse('INIT = b"""#!/bin/sh\\necho the attacker\'s shell\\n"""')) == [1]
    assert scripts(ast.parse('SHEBANG = "#!/bin/sh"')) == []


def test_an_impurity_is_seen() -> None:
    modules, pure = {"harness.a", "harness.a.b", "harness.c"}, {"harness.c"}
    for text, said in (
        ("import os", "os"),
        ("from os import path", "os"),
        ("from os.path import join", "os.path"),
        ("import urllib.request", "urllib.request"),
        ("from harness.a import b", "harness.a.b"),
        ("from harness.a.b import f", "harness.a.b"),
        ("def f():\n    from harness import a", "harness.a"),
        ("Path('x').read_text()", "read_text()"),
        ("open('x')", "open()"),
        ("datetime.now()", "now()"),
    ):
        assert [found.partition(": ")[2] for found in impurities(ast.parse(text), pure, modules)] == [said], text
    for text in ("import re", "from harness.c import f", "from urllib.parse import urlsplit", "list.append(1)"):
        assert impurities(ast.parse(text), pure, modules) == [], text


def test_who_says_it_is_pure() -> None:
    for text in ("A (pure).", "A.\n\nPure.", "A. Pure: bytes in, bytes out.", "A. Pure, but for `b` and `c`."):
        assert says_pure(ast.parse(repr(text))), text
    for text in ("Purely.", "It is impure.", "The pure ones are elsewhere.", "A"):
        assert not says_pure(ast.parse(repr(text))), text
    assert excepted("Pure, but for `b`, `c` and `d`, which `e`.") == {"b", "c", "d"}
