"""What one boot is to do, as a scenario says it.

`BootRequest` is the one value that goes from a scenario to the plan of the boot. `BootOptions` are its fields as
keyword arguments, for whatever boots a machine: ``sealed.boot(tpm_removed, typing=["wrong"], hold=90)``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from harness.guest.events import Event
from harness.guest.plan import ASK_SECONDS, HOLD_SECONDS, BootPlan
from harness.machine.rig import Rig
from harness.policy.policy import Volume

Meanwhile = Callable[[Rig, Event], None]
"""Changes the world in mid-boot: the rig, and what was just seen."""


@dataclass(frozen=True)
class BootRequest:
    """What one boot is to do.

    Attributes:
        label: What this boot is for, in the evidence.
        typing: What to type at the prompts of each volume; by default its own passphrase, once its pins are known to
            have failed, or the hold time is over.
        tpm_pins: What to type at prompts for the TPM's PIN; by default the right one, unless `typing` says something.
        hold: Seconds after a prompt for which pins that may still answer are waited for, at the least.
        hold_out: Whether to wait that long even for pins that are known to have failed.
        ask_within: Seconds without progress after which a guest that asked for nothing is taken to ask for nothing.
        meanwhile: Is told each event as it is seen, and may change the world in mid-boot. Such a boot is not repeated
            when the emulation stalled.
        orderly: Whether a guest that came up is shut down at the end; otherwise its power is cut.
    """

    label: str = "boot"
    typing: Sequence[str] | None = None
    tpm_pins: Sequence[str] | None = None
    hold: float = HOLD_SECONDS
    hold_out: bool = False
    ask_within: float = ASK_SECONDS
    meanwhile: Meanwhile | None = None
    orderly: bool = False

    def plan(self, volumes: Sequence[Volume], urls: Mapping[str, str]) -> BootPlan:
        """How to do it with a policy's volumes.

        Args:
            volumes: Of the policy.
            urls: Where the guest finds each server that pins ask, by the server's name.
        """
        return BootPlan.for_volumes(
            volumes,
            urls,
            typing=None if self.typing is None else tuple(self.typing),
            tpm_pins=None if self.tpm_pins is None else tuple(self.tpm_pins),
            hold=self.hold,
            hold_out=self.hold_out,
            ask_within=self.ask_within,
        )


class BootOptions(TypedDict, total=False):
    """The fields of `BootRequest`, which says what each means."""

    label: str
    typing: Sequence[str] | None
    tpm_pins: Sequence[str] | None
    hold: float
    hold_out: bool
    ask_within: float
    meanwhile: Meanwhile | None
    orderly: bool
