"""What is written of a volume in a policy reaches the guest's tools as it is, whatever a shell would make of it."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.policy.pins import CryptenrollPin
from harness.policy.policy import Volume
from harness.policy.world import World
from harness.real_tools import trial

ODD = 'it\'s $HOME, `id` and a \\ "quote"; ü'
VOLUME = Volume("var", "volume", CryptenrollPin((7,), asks_pin=True), ODD, "/var", tpm_pin=ODD)


def run(script: str, folder: Path, **stubs: str) -> None:
    """Run lines of bash with programs of the test's own in the place of real ones."""
    for name, body in stubs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", script], check=True, cwd=folder, env={"PATH": path, "HOME": "/"}, timeout=30)


def test_a_passphrase_is_the_header_s_as_it_is_written(tmp_path: Path) -> None:
    run("\n".join(trial.formatted(VOLUME)), tmp_path, cryptsetup="cat > said")
    assert (tmp_path / "said").read_text() == ODD


@pytest.mark.parametrize(("typed", "pin"), [(True, ODD), (False, trial._WRONG_PIN)])
def test_a_pin_is_typed_as_it_is_written(tmp_path: Path, typed: bool, pin: str) -> None:
    *lines, asks = trial._script(VOLUME, replace(World(), pin_typed=typed)).splitlines()
    assert asks.startswith("try_bindings ")
    run("\n".join([*lines, 'printf %s "$PIN" > said']), tmp_path)
    assert (tmp_path / "said").read_text() == pin
