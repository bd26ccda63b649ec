"""The policies of scenarios/: those that differ in little are written from one source, and are plain Butane files."""

import runpy
from pathlib import Path

import pytest

from harness.paths import POLICIES
from harness.policy.butane import read_policy

WRITTEN: dict[Path, str] = dict(runpy.run_path(str(POLICIES / "write.py"))["written"]())


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_a_file_is_what_its_source_says(file: Path) -> None:
    again = "python scenarios/policies/write.py writes it anew; what it differs in stands in source.yaml"
    assert file.read_text() == WRITTEN[file], again


@pytest.mark.parametrize("file", sorted(POLICIES.glob("*.bu")), ids=lambda file: file.name)
def test_every_file_is_a_policy_that_says_what_it_promises(file: Path) -> None:
    assert read_policy(file).volumes
    assert "Promise: " in file.read_text().partition("\nvariant:")[0]
