"""The wheel: all that the harness reads is in it, and it works from any folder, where no clone is in sight."""

import os
import stat
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from harness.cache import digest
from harness.commands import COMMANDS
from harness.paths import IMAGES, POLICIES

ROOT = Path(__file__).parent.parent

SCENARIO = """
import pytest
from harness.api import Sealed, Unlock, faults


@pytest.mark.policy("mine")
def test_mine(sealed: Sealed) -> None:
    assert sealed.boot(faults.tpm_removed).unlock is Unlock.PASSPHRASE_FALLBACK
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return path


def shipped() -> Mapping[str, Path]:
    """Every file that belongs into a wheel, by its name there."""
    package = {path: path.relative_to(ROOT) for path in (ROOT / "harness").rglob("*")}
    images = {path: Path("harness/data/images", path.relative_to(IMAGES)) for path in IMAGES.rglob("*")}
    policies = {path: Path("harness/data/policies", path.relative_to(POLICIES)) for path in POLICIES.rglob("*")}
    return {
        str(name): path
        for path, name in (package | images | policies).items()
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_everything_is_in_the_wheel_byte_for_byte_and_as_executable_as_it_was(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) >= shipped().keys()
        assert [name for name, path in shipped().items() if archive.read(name) != path.read_bytes()] == []
        modes = {name: archive.getinfo(name).external_attr >> 16 for name in shipped()}
    executable = {name for name, path in shipped().items() if path.stat().st_mode & stat.S_IXUSR}
    assert {name for name, mode in modes.items() if mode & stat.S_IXUSR} == executable
    assert {"harness/data/images/guest/build", "harness/data/images/debian-13/configure"} <= executable


def test_what_is_shipped_has_no_symbolic_links_which_a_wheel_cannot_hold() -> None:
    folders = (ROOT / "harness", IMAGES, POLICIES)
    assert [path for folder in folders for path in folder.rglob("*") if path.is_symlink()] == []


def test_the_licence_the_types_and_the_command_are_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    assert "harness/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in metadata
    assert "unlock-lab = harness.__main__:main" in entry_points
    assert "[pytest11]\nunlock-lab = harness.plugin" in entry_points


@pytest.mark.real
def test_it_works_from_another_folder_in_a_venv_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Installed with all that it depends on: pytest finds the plugin, and the images hash to the same cache keys."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet"]
    pins = dict.fromkeys(("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"), (ROOT / "constraints.txt").as_uri())
    subprocess.run([*pip, str(wheel)], check=True, env={**os.environ, **pins})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "test_mine.py").write_text(SCENARIO)
    (elsewhere / "mine.bu").write_text((POLICIES / "tpm2.bu").read_text())

    def run(*words: str | Path, statuses: Sequence[int] = (0,)) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(words, cwd=tmp_path, env=clean, check=False, capture_output=True, text=True)
        assert done.returncode in statuses, done.stdout + done.stderr
        return done.stdout

    assert "elsewhere/test_mine.py::test_mine" in run(
        python, "-m", "pytest", "--strict-markers", "--collect-only", "-q", "elsewhere/test_mine.py", "--lab-accel=tcg"
    )
    told = run(python, "-c", "from harness import cache, paths; print(paths.IMAGES, cache.digest(paths.IMAGES))")
    site = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    assert told.split() == [f"{site}/harness/data/images", digest(IMAGES)]
    assert set(COMMANDS) <= set(run(python.with_name("unlock-lab"), "--help").split())
    assert "debian-13-initramfs" in run(python.with_name("unlock-lab"), "images")
    assert "test_mine" in run(python.with_name("unlock-lab"), "list", "elsewhere", "--json")
    assert "tpm-absent" in run(python.with_name("unlock-lab"), "explain", "elsewhere/mine.bu", "--json")
    assert "scenarios can" in run(python.with_name("unlock-lab"), "doctor", statuses=(0, 1))
