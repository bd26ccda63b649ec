"""Shared by all tests of this repository: the plugin itself is an entry point, see pyproject.toml."""

from pathlib import Path

import pytest
from hypothesis import settings

# A busy host is no mistake of what is tested.
settings.register_profile("unlock-lab", deadline=None)
settings.load_profile("unlock-lab")

TESTS = Path(__file__).parent / "tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are errors in the tests of the harness, and in these alone: scenarios are other people's too."""
    for item in items:
        if item.path.is_relative_to(TESTS):
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
