"""The pytest plugin: options, fixtures and reports."""
