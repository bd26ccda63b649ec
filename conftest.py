"""Shared by all tests of this repository: the plugin itself is an entry point, see pyproject.toml."""
