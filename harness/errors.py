"""The errors that reach a user (pure).

::

    HarnessError(what, detail, hint)
     ├─ UsageError    the scenario, the policy file or the call is wrong: file, line, key
     ├─ HostError     this host cannot run it: what is missing and the command that installs it
     ├─ GuestError    the guest went wrong by itself in what is no matter of its disks: Ignition failed
     ├─ ControlError  it was installed as the policy says, and its control boot did not open it by itself
     └─ RigError      emulated hardware misbehaved: what was awaited, the last lines of the console
         └─ StallError    it stood still, or crashed at random: another try may go otherwise
"""


class HarnessError(Exception):
    """An error that explains itself.

    Args:
        what: One sentence: what happened and, for a wait, what was awaited and for how long (seconds).
        detail: The evidence: the last lines of a log, the offending line of a file. May span lines.
        hint: What to do next, where possible a command that can be pasted.
        evidence: The folder with the evidence, when that is not the folder of the test that meets this error.
    """

    def __init__(self, what: str, detail: str = "", hint: str = "", evidence: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.detail = detail
        self.hint = hint
        self.evidence = evidence

    def __str__(self) -> str:
        parts = [self.what]
        if self.detail:
            parts.append(self.detail.rstrip())
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


class UsageError(HarnessError):
    """The scenario, the policy file or the call is wrong."""


class HostError(HarnessError):
    """This host cannot run it."""


class GuestError(HarnessError):
    """The guest went wrong by itself, on a rig that worked, in what is no matter of its disks.

    Its Ignition failed, its kernel found nothing to run, or its boot ended in an emergency shell with every disk open:
    the file or the image asks for something that does not work. No verdict about its disks, and another try would end
    alike.
    """


class ControlError(HarnessError):
    """A policy was installed, and its control boot did not open it by itself: an outcome, told by the guest.

    What stays shut by itself shows nothing of any fault, so nothing else is tried on it.
    """


class RigError(HarnessError):
    """The emulated hardware misbehaved: never a verdict about the guest."""


class StallError(RigError):
    """The guest's processors or its TPM stood still, or its kernel crashed: a host too busy, or an emulator's mistake.

    It is tried once more, from the same state, and both tries are in the evidence.
    """
