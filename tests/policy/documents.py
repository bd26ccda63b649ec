"""A policy file of which only some values matter, for one rule alone."""

from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.policy.document import Document
from harness.policy.variants import NEWEST, Variant

FILE = "mine.bu"


def document(data: dict[str, Any], variant: Variant = NEWEST) -> Document:
    """Such a file."""
    return Document(Path(FILE), "", variant, data)


def mistakes(found: Document) -> list[str]:
    """Those that were noted, each with its key."""
    try:
        found.check()
    except UsageError as error:
        head = f"{FILE}:1: "
        return [line.removeprefix(head) for line in str(error).splitlines() if line.startswith(head)]
    return []
