"""What can be seen in a boot, and the table of the words that show it (pure).

The table holds every pattern there is; nothing else in the project looks for a string of the guest. Rows come from the
sources that they name, and recorded consoles (tests/guest/consoles) hold them to what real guests say.

Stacks: *DR* is dracut with systemd, *IT* is initramfs-tools with cryptsetup-initramfs.
"""

from dataclasses import dataclass
from enum import StrEnum


class Stream(StrEnum):
    """Where a byte came from."""

    CONSOLE = "console"
    """The serial console: firmware, kernel, systemd's status, the prompt."""
    JOURNAL = "journal"
    """journald's own console (journald.conf(5), ForwardToConsole=)."""


class PromptKind(StrEnum):
    """What a prompt asks for."""

    PASSPHRASE = "passphrase"
    RECOVERY_KEY = "recovery key"
    EITHER = "passphrase or recovery key"
    PIN = "PIN"


@dataclass(frozen=True)
class Event:
    """Something that the guest said.

    Attributes:
        at: Seconds from power-on.
        stream: Where it was said.
        line: The words, as evidence.
    """

    at: float
    stream: Stream
    line: str


@dataclass(frozen=True)
class FirmwareStarted(Event):
    """The firmware picked its first boot entry."""


@dataclass(frozen=True)
class BootEntryStarted(Event):
    """The firmware handed over to a boot image."""

    entry: str


@dataclass(frozen=True)
class BootEntryFailed(Event):
    """A boot entry could not be loaded, for a reason that is no refusal (a disk that is not there)."""

    entry: str
    reason: str


@dataclass(frozen=True)
class BootRefused(Event):
    """The firmware, the shim or the boot loader refused an image."""

    reason: str


@dataclass(frozen=True)
class NoBootOption(Event):
    """The firmware is at the end of its boot order."""


@dataclass(frozen=True)
class KernelStarted(Event):
    """The kernel runs."""


@dataclass(frozen=True)
class InitrdStarted(Event):
    """The initrd's init runs."""


@dataclass(frozen=True)
class SystemStarted(Event):
    """The init of the root file system runs."""


@dataclass(frozen=True)
class NetworkUp(Event):
    """The guest has an address."""


@dataclass(frozen=True)
class VolumeAttaching(Event):
    """systemd-cryptsetup set to work on a volume (said at debug level)."""

    volume: str
    device: str


@dataclass(frozen=True)
class PromptShown(Event):
    """The console asks; an answer may be typed now.

    Attributes:
        volume: As the prompt names it; "" for a PIN.
        asks: What for.
        number: How often this volume has been asked for, with this time.
    """

    volume: str
    asks: PromptKind
    number: int = 1


@dataclass(frozen=True)
class PassphraseWrong(Event):
    """A passphrase opened no keyslot; it may have been clevis's, or a cached one (systemd#38495)."""

    volume: str = ""


@dataclass(frozen=True)
class PinFailed(Event):
    """A pin said that it cannot answer.

    Attributes:
        pin: ``tpm2`` or ``tang``.
        reason: Its message, with what its tools said before.
        url: Of the Tang server, when it was said.
        final: Whether another try in this boot cannot end otherwise.
        about: The volume or the device that it was said about, when that is known.
    """

    pin: str
    reason: str
    url: str = ""
    final: bool = False
    about: str = ""


@dataclass(frozen=True)
class PinAnswered(Event):
    """A pin said that it answered.

    Attributes:
        pin: Its kind.
        about: The volume that it was said about, when that is known.
    """

    pin: str
    about: str = ""


@dataclass(frozen=True)
class TpmToolError(Event):
    """A TPM tool reported a response code."""

    code: str
    text: str


@dataclass(frozen=True)
class TpmTimeout(Event):
    """The kernel gave up on the TPM: a starved host, so the rig's fault (swtpm#849)."""


@dataclass(frozen=True)
class ClevisTries(Event):
    """Clevis set to work on a device or a volume; what it says until the next one is about that one."""

    device: str


@dataclass(frozen=True)
class ClevisDone(Event):
    """Clevis ended a round of a volume's pins: on IT, where it says nothing of their answers and failures."""

    volume: str


@dataclass(frozen=True)
class ClevisAnswered(Event):
    """Clevis recovered a passphrase and gave it to whoever asked."""

    device: str
    uuid: str = ""


@dataclass(frozen=True)
class ClevisReplyDiscarded(Event):
    """Clevis recovered a passphrase, and nobody wanted it any more."""

    device: str
    uuid: str = ""


@dataclass(frozen=True)
class KeyslotUsed(Event):
    """A LUKS keyslot opened."""

    keyslot: int
    volume: str = ""


@dataclass(frozen=True)
class TokenUsed(Event):
    """A LUKS token opened the volume, without clevis."""

    volume: str = ""
    token: int = -1


@dataclass(frozen=True)
class VolumeUnlocked(Event):
    """The volume is open.

    Attributes:
        volume: Its name.
        opener_is_logged: Whether another message will say who opened it. On IT none does: clevis 20 means to, but its
            ``luks2_decrypt`` returns success from a pipeline's subshell, and failure from the function itself.
    """

    volume: str
    opener_is_logged: bool = True


@dataclass(frozen=True)
class VolumeFailed(Event):
    """The unit or script that opens the volume gave up."""

    volume: str


@dataclass(frozen=True)
class TooManyAttempts(Event):
    """The guest takes no more passphrases."""

    volume: str = ""


@dataclass(frozen=True)
class NoPromptPossible(Event):
    """The guest will not ask."""

    reason: str
    volume: str = ""


@dataclass(frozen=True)
class DeviceTimedOut(Event):
    """The guest waited for a disk as long as its own clock allows, and gave it up.

    Attributes:
        guest_seconds: What that clock said: seconds since the kernel started.
    """

    guest_seconds: float


@dataclass(frozen=True)
class EmergencyShell(Event):
    """The boot ended in a shell, or would have if root could log in."""


@dataclass(frozen=True)
class Panic(Event):
    """The kernel stopped, for what may be an emulator's mistake."""


@dataclass(frozen=True)
class InitFailed(Event):
    """The kernel stopped since it has no root or no init, or since that ended by itself: so it will at each boot."""


@dataclass(frozen=True)
class KernelBug(Event):
    """The kernel went on after an error that it must not have."""


@dataclass(frozen=True)
class KernelStalled(Event):
    """A watchdog of the kernel barked: a starved host, which may recover."""


@dataclass(frozen=True)
class IgnitionFailed(Event):
    """Ignition could not make what the config says."""


@dataclass(frozen=True)
class IgnitionFinished(Event):
    """Ignition made what the config says."""


@dataclass(frozen=True)
class LoginReached(Event):
    """A login prompt."""


@dataclass(frozen=True)
class SystemUp(Event):
    """Every unit of the boot was started."""


@dataclass(frozen=True)
class Rebooting(Event):
    """The guest resets the machine."""


@dataclass(frozen=True)
class PoweredOff(Event):
    """The guest turned the machine off."""
