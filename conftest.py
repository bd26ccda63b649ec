"""Shared by all tests of this repository: the plugin itself is an entry point, see pyproject.toml."""

from hypothesis import settings

# A busy host is no mistake of what is tested.
settings.register_profile("unlock-lab", deadline=None)
settings.load_profile("unlock-lab")
