"""What was observed in one boot, and what proves it (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.unlock import Unlock

__all__ = ["Outcome", "PinFailure", "Seconds", "Unlock"]


@dataclass(frozen=True)
class PinFailure:
    """A pin that did not answer, and how we know.

    Attributes:
        pin: The leaf's name: ``tpm2``, ``tang``, or what the placeholder calls the server.
        reason: The message, as it was said.
        source: Who said it: ``journal``, ``console``, ``tang log``, ``tpm``, ``fault proxy``.
    """

    pin: str
    reason: str
    source: str


@dataclass(frozen=True)
class Seconds:
    """Seconds from power-on; None for what did not happen."""

    prompt: float | None = None
    unlock: float | None = None
    end: float | None = None


@dataclass(frozen=True, repr=False)
class Outcome:
    """The verdict on one boot.

    Attributes:
        unlock: What the disk did.
        reason: One sentence that says why, for a report.
        unlocked_by: Pins that are proved to have answered, or ``passphrase``; empty when nothing opened.
        keyslot: The LUKS keyslot that opened, when the guest said.
        token: The LUKS token that led to it, when known.
        failed_pins: Names of the pins that failed, each proved by an entry of `failures`.
        failures: Why each failed.
        proofs: Sentences of positive evidence, each naming its source.
        measured_otherwise: Where the firmware's event log parts from that of the control boot: for each PCR the first
            event that differs, in words. Only of a boot that did not open by itself, and whose guest came up.
        prompts: How often it asked.
        typed_bytes: How many bytes the harness typed on the console.
        seconds: When things happened.
        pcrs: PCR values (sha256, hex) by index, when they could be read.
        canary: The secret on the encrypted volume, when this boot could read it.
        evidence: The folder that this boot left behind; complete once the machine is off.
        volumes: Each volume's own outcome, by name, when the policy has several; this one is then the worst of them.
    """

    unlock: Unlock
    reason: str
    unlocked_by: frozenset[str] = frozenset()
    keyslot: int | None = None
    token: int | None = None
    failures: tuple[PinFailure, ...] = ()
    proofs: tuple[str, ...] = ()
    measured_otherwise: tuple[str, ...] = ()
    prompts: int = 0
    typed_bytes: int = 0
    seconds: Seconds = field(default_factory=Seconds)
    pcrs: Mapping[int, str] = field(default_factory=dict)
    canary: str | None = None
    evidence: Path | None = None
    volumes: Mapping[str, "Outcome"] = field(default_factory=dict)

    def __repr__(self) -> str:
        # A failed assertion shows it in its first lines; the whole outcome follows there in words.
        return f"<outcome {self.unlock.value}>"

    @property
    def failed_pins(self) -> frozenset[str]:
        """Names of the pins that are proved to have failed."""
        return frozenset(failure.pin for failure in self.failures)
