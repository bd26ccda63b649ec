"""What a host needs, as `requirements.toml` beside this file lists it.

Standard library only, since the set-up runs before there is a venv.
"""

import importlib.util
import os
import shutil
import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.toml")
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Requirement:
    """One line of requirements.toml.

    Attributes:
        name: For people.
        why: What it is for.
        probe: What must be there; see the file's head.
        debian: Packages of Debian.
        backports: Those of them that Debian 12 takes from bookworm-backports.
        fedora: Packages of Fedora.
        venv: Whether it is needed to make the .venv.
    """

    name: str
    why: str
    probe: tuple[str, ...]
    debian: tuple[str, ...]
    fedora: tuple[str, ...]
    backports: tuple[str, ...] = ()
    venv: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """What the probe did not find, each in words; empty when all is there."""
        return tuple(words for item in self.probe if (words := _absent(item)))


def requirements(path: Path = REQUIREMENTS) -> tuple[Requirement, ...]:
    """All needs, in the order of the file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))["need"]
    return tuple(
        Requirement(
            name=row["name"],
            why=row["why"],
            probe=tuple(row["probe"]),
            debian=tuple(row["debian"]),
            fedora=tuple(row["fedora"]),
            backports=tuple(row.get("backports", ())),
            venv=row.get("venv", False),
        )
        for row in table
    )


def command(name: str) -> str | None:
    """The path of a program, looked for in the system's own folders too, which a user's PATH may lack."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")


def _absent(item: str) -> str | None:
    kind, _, what = item.partition(":")
    match kind, what:
        case "command", _:
            return None if command(what) else what
        case "file", _:
            globs = what.split(" or ")
            return None if any(any(Path("/").glob(glob.lstrip("/"))) for glob in globs) else Path(globs[0]).name
        case "python", "headers":
            return None if Path(sysconfig.get_path("include"), "Python.h").is_file() else "Python.h"
        case "python", "ensurepip":
            return None if importlib.util.find_spec("ensurepip") else "the ensurepip module"
    raise ValueError(f"{REQUIREMENTS.name}: a probe must start with command:, file: or python:, not {item!r}")
