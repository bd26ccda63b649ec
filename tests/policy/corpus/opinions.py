"""``make corpus``: what the real Butane and ignition-validate say of every file of the corpus, into opinions.json.

Both are built from Go's module proxy, pinned in go/go.mod and go/go.sum. Placeholders, which Butane does not know, are
swapped for addresses that nobody has (RFC 6761, ``.invalid``) on the way in and back on the way out.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policy.corpus import generated

HERE = Path(__file__).parent
OPINIONS = HERE / "opinions.json"
FILES = HERE / "files"
BUTANE = "0.29.0"
_SECONDS = 600
_PLACEHOLDER = re.compile(r"@TANG_(URL|THUMBPRINT)(?::([a-z0-9-]+))?@")
_STAND_IN = re.compile(r"http://(url|thumbprint)(?:-([a-z0-9-]+))?\.invalid")


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of every file of the corpus; the name of a kept one has its ending."""
    for path in sorted(FILES.iterdir()):
        if path.suffix in (".bu", ".ign"):
            yield path.name, path.read_text()
    yield from generated.files()


def digest(text: str) -> str:
    """What says whether an opinion is still about the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build(folder: Path) -> None:
    """Build both commands into a folder."""
    if not shutil.which("go"):
        sys.exit(
            "make corpus builds Butane and ignition-validate, and there is no go: apt-get install golang-go (1.25)"
        )
    packages = {
        "butane": "github.com/coreos/butane/internal",
        "validate": "github.com/coreos/ignition/v2/validate",
        "render": "./render",
    }
    shutil.copytree(HERE / "go", folder / "go")
    for name, package in packages.items():
        version = f"-X github.com/coreos/butane/internal/version.Raw={BUTANE}"
        command = ["go", "build", "-mod=mod", "-trimpath", "-ldflags", version, "-o", str(folder / name), package]
        environment = os.environ | {"CGO_ENABLED": "0"}
        done = subprocess.run(command, cwd=folder / "go", env=environment, timeout=_SECONDS, check=False)
        if done.returncode:
            sys.exit(f"{package} was not built: does Go's module proxy answer?")


def opinion(folder: Path, name: str, text: str) -> dict[str, Any]:
    """What the real command says of one file: its config, or null, and its messages."""
    if name.endswith(".ign"):
        done = subprocess.run([folder / "validate", "-"], input=text, capture_output=True, text=True, check=False)
        config = json.loads(text) if done.returncode == 0 else None
        return {"of": digest(text), "config": config, "said": _said(done)} | _rendered(folder, config)
    swapped = _PLACEHOLDER.sub(lambda m: f"http://{m[1].lower()}{f'-{m[2]}' if m[2] else ''}.invalid", text)
    command = [str(folder / "butane"), "--files-dir", str(FILES)]
    done = subprocess.run(command, input=swapped, capture_output=True, text=True, check=False)
    output = _STAND_IN.sub(lambda m: f"@TANG_{m[1].upper()}{f':{m[2]}' if m[2] else ''}@", done.stdout)
    config = json.loads(output) if done.returncode == 0 and output.startswith("{") else None
    return {"of": digest(text), "config": config, "said": _said(done)} | _rendered(folder, config)


def _rendered(folder: Path, config: dict[str, Any] | None) -> dict[str, Any]:
    """What Ignition makes of a config that names others, or null, and its messages."""
    if config is None or not config["ignition"].get("config"):
        return {}
    done = subprocess.run([folder / "render"], input=json.dumps(config), capture_output=True, text=True, check=False)
    return {"rendered": json.loads(done.stdout) if done.returncode == 0 else None, "rendering": _said(done)}


def _said(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Messages without the lines of the file that they show; sorted, since Go walks its maps in any order."""
    said = done.stderr.replace(f"{FILES}/", "")  # where this checkout lies is no opinion
    words = re.findall(r"^(?:\s*\|\s*\^+ (.*)|((?:Error|error|warning).*))$", said, re.MULTILINE)
    return sorted(" ".join(filter(None, word)).strip() for word in words)


def main() -> int:
    """Write opinions.json anew."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build(folder)
        found = {name: opinion(folder, name, text) for name, text in texts()}
    lines = [f"{json.dumps(name)}: {json.dumps(said, sort_keys=True)}" for name, said in found.items()]
    OPINIONS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    taken = sum(said["config"] is not None for said in found.values())
    print(f"{len(found)} files, {taken} taken by Butane {BUTANE} or ignition-validate; {OPINIONS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
