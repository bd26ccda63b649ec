"""What each power-on of a test measured, side by side: a good boot and the attacker's, and where they part (pure).

The rig leaves a ``pcrs.json`` for every machine with a TPM 2.0: the PCRs of the bank sha256 that the extends of its log
add up to when it goes off, ``{"0": "3d45…"}``; PCRs that were never extended are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.evidence.record import parse_json

PCRS = "pcrs.json"


@dataclass(frozen=True)
class PcrLine:
    """One PCR.

    Attributes:
        index: Its number.
        values: In hex, by power-on; None where it was never extended.
    """

    index: int
    values: tuple[str | None, ...]

    def parts(self, column: int) -> bool:
        """Whether a power-on found another value than the first one."""
        return self.values[column] != self.values[0]


def compared(columns: Mapping[str, Mapping[int, str]]) -> tuple[PcrLine, ...]:
    """The PCRs of several power-ons, by index; nothing when there are none to compare."""
    if len(columns) < 2:
        return ()
    indices = sorted({index for values in columns.values() for index in values})
    return tuple(PcrLine(index, tuple(values.get(index) for values in columns.values())) for index in indices)


def read(path: Path) -> dict[int, str]:
    """The PCRs of a power-on; nothing when the file is missing or is not what it should be."""
    try:
        found: Any = parse_json(path.read_text(), PCRS)
        return {int(index): str(value) for index, value in found.items()}
    except (OSError, ValueError, AttributeError, UsageError):
        return {}
