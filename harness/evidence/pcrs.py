"""What each power-on of a test measured, side by side: a good boot and the attacker's, and where they part (pure).

The rig leaves a ``pcrs.json`` for every machine with a TPM 2.0: the PCRs of the bank sha256 that the extends of its log
add up to when it goes off, ``{"0": "3d45…"}``; PCRs that were never extended are left out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

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


def parse(text: str) -> dict[int, str]:
    """The PCRs of a power-on; nothing when the text is not what it should be."""
    try:
        return {int(index): str(value) for index, value in json.loads(text).items()}
    except (ValueError, RecursionError, AttributeError):
        return {}
