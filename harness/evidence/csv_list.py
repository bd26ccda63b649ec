"""Lists that are kept as CSV below a line with the names of their columns, such as ``docs/attacks.csv``."""

import csv
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import TypeVar

from harness.errors import UsageError
from harness.evidence import artifacts
from harness.files import read_whole, why_unread

T = TypeVar("T")


def read(
    path: Path, columns: Sequence[str], parse: Callable[[Sequence[str]], T], *, what: str, hint: str
) -> tuple[T, ...]:
    """Read a list.

    Args:
        path: The list.
        columns: Their names, in order.
        parse: What a line is; a ValueError or a KeyError says what is wrong with it.
        what: What it is a list of, for messages.
        hint: Where such a list comes from.

    Raises:
        UsageError: It cannot be read, or a line of it is wrong; with its number.
    """
    try:
        reader = csv.reader(StringIO(read_whole(path).decode()), strict=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read", why_unread(error), hint) from error
    try:
        if tuple(next(reader, ())) != tuple(columns):
            raise ValueError(f"it should read {','.join(columns)}")
        return tuple(map(parse, reader))
    except (ValueError, KeyError, csv.Error) as error:
        detail = f"line {max(reader.line_num, 1)}: {error}"
        raise UsageError(f"{path} is no list of {what}", detail, hint) from error


def write(path: Path, columns: Sequence[str], lines: Iterable[Iterable[object]]) -> None:
    """Write a list, atomically.

    Raises:
        HostError: It cannot be written.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    artifacts.write_named(path, text.getvalue(), 0o644)
