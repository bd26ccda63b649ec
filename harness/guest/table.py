"""The table of patterns: which text shows which event (pure).

Everything that decides how a boot is read is here, but for what pins say of themselves: that is in their kinds
(`harness.policy.pins`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.guest.events import (
    BootEntryFailed,
    BootEntryStarted,
    BootRefused,
    ClevisAnswered,
    ClevisDone,
    ClevisReplyDiscarded,
    ClevisTries,
    DeviceTimedOut,
    EmergencyShell,
    Event,
    FirmwareStarted,
    IgnitionFailed,
    IgnitionFinished,
    InitFailed,
    InitrdStarted,
    KernelBug,
    KernelStalled,
    KernelStarted,
    KeyslotUsed,
    LoginReached,
    NetworkUp,
    NoBootOption,
    NoPromptPossible,
    Panic,
    PassphraseWrong,
    PinAnswered,
    PinFailed,
    PoweredOff,
    PromptKind,
    PromptShown,
    Rebooting,
    Stream,
    SystemStarted,
    SystemUp,
    TokenUsed,
    TooManyAttempts,
    TpmTimeout,
    TpmToolError,
    VolumeAttaching,
    VolumeFailed,
    VolumeUnlocked,
)
from harness.policy.pins import KINDS, OPENERS, Leaf, Opener


@dataclass(frozen=True)
class MessagePattern:
    """One row of the table.

    Attributes:
        event_type: The class of the event.
        pattern: Searched for in a line; named groups are fields of the event.
        constants: Further fields.
        ends: What a line ends with that has not ended: a prompt, which only a console has. "" for a line that has.
        once: Whether only the first time since power-on or reset counts.
        stream: Where to look; everywhere when None.
    """

    event_type: type[Event]
    pattern: re.Pattern[str]
    constants: Mapping[str, object] = field(default_factory=dict)
    ends: str = ""
    once: bool = False
    stream: Stream | None = None


def _pattern(
    event_type: type[Event], pattern: str, *, stream: Stream | None = None, once: bool = False, **fields: object
) -> MessagePattern:
    return MessagePattern(event_type, re.compile(pattern), fields, once=once, stream=stream)


def _prompt(event_type: type[Event], pattern: str, ends: str = ": ", **fields: object) -> MessagePattern:
    return MessagePattern(event_type, re.compile(pattern + re.escape(ends) + "$"), fields, ends=ends)


def _first(words: str) -> str:
    """A line up to the first of these words: what does not follow the first of them follows none.

    Where ``.*`` stands after words that a line may repeat, a search would begin at each of them anew, and a few lines
    of a hostile guest would keep the reader for minutes.
    """
    return rf"^(?>.*?{words})"


_REFUSAL = r"Access [Dd]enied|Security [Vv]iolation"
_NUMBER = r"\d{1,9}"
"""One that is counted with; Python reads none of more than 4300 digits."""
_DISK = r"(?:.* \()?(?P<volume>[^()]+?)\)?(?: on /\S*)?"
"""A disk as systemd's friendly_disk_name() puts it: ``NAME``, ``DESCRIPTION (NAME)``, either with `` on /MOUNT``."""
_KINDS = rf"(?P<asks>{PromptKind.EITHER}|{PromptKind.PASSPHRASE}|{PromptKind.RECOVERY_KEY})"
_LUKS = r"(?P<device>/\S+) \(UUID=(?P<uuid>[0-9a-fA-F-]*)\)"
_NO_INIT = (
    r"(?:VFS: Unable to mount root fs|No working init found|Requested init \S+ failed"
    r"|Attempted to kill init! exitcode=0x[0-9a-f]{6}00\b)"
)
"""Linux: init/do_mounts.c, init/main.c, kernel/exit.c. An init that a signal killed (the low byte of its exit code,
wait(2)) may have met an emulator's mistake, and is not among them."""

FIRMWARE = (  # edk2: MdeModulePkg BdsDxe, UefiBootManagerLib; shim.c; systemd-boot boot.c
    _pattern(FirmwareStarted, r"BdsDxe: (?:loading|failed to load) Boot\w+", once=True),
    _pattern(BootEntryStarted, r"BdsDxe: starting (?P<entry>Boot\w+)"),
    _pattern(BootRefused, _first(r"BdsDxe: failed to (?:load|start) Boot\w") + rf".*: (?P<reason>{_REFUSAL})"),
    _pattern(
        BootRefused,
        _first(r"(?:[Vv]erification failed|(?:Error loading|Failed to (?:load|start)) .*?): ")
        + rf".*(?P<reason>{_REFUSAL})",
    ),
    _pattern(
        BootEntryFailed, rf"BdsDxe: failed to (?:load|start) (?P<entry>Boot\w++).*: (?P<reason>(?!{_REFUSAL})[^:]+)$"
    ),
    _pattern(NoBootOption, r"No bootable option or device was found|UEFI Interactive Shell|>>Start (?:PXE|HTTP)"),
)

KERNEL = (  # Linux: init/version.c, kernel/panic.c, kernel/reboot.c, drivers/char/tpm/tpm-interface.c
    _pattern(KernelStarted, r"\] Linux version \S+|EFI stub: ", once=True),
    _pattern(Panic, rf"Kernel panic - not syncing(?!: {_NO_INIT})"),
    _pattern(InitFailed, rf"Kernel panic - not syncing: {_NO_INIT}"),
    _pattern(KernelBug, r"\] (?:BUG: (?!soft lockup)|Oops: |kernel BUG at |(?:traps: )?general protection fault)"),
    _pattern(KernelBug, _first(r"\] ") + r".*double fault:"),
    _pattern(
        KernelStalled,
        r"soft lockup - CPU#|\brcu_\w+ (?:self-)?detected stall|detected stalls on CPUs|blocked for more than",
    ),
    _pattern(TpmTimeout, r"tpm\d+: Operation [Tt]imed out"),
    _pattern(TpmTimeout, _first(r"tpm\d+: ") + r".*\berror -62\b"),
    _pattern(Rebooting, r"reboot: Restarting system"),
    _pattern(PoweredOff, r"reboot: (?:Power down|System halted)"),
)

STAGES = (  # systemd: core/main.c, core/job.c; dracut-emergency.sh; sulogin.c; initramfs-tools scripts
    _pattern(
        InitrdStarted, r"Welcome to .*[Ii]nitramfs|Booting initrd of |Begin: Loading essential drivers", once=True
    ),
    _pattern(
        SystemStarted,
        r"Welcome to (?!GRUB!|.*[Ii]nitramfs)|systemd\[1\]: Switching root|Begin: Running /scripts/init-bottom",
        once=True,
    ),
    _pattern(
        NetworkUp, r"DHCPv4 address \S+ |Reached target network-online\.target|IP-Config: (?:Complete|\S+ complete)"
    ),
    _pattern(NetworkUp, r"dhclient\S*: bound to|NetworkManager state is now CONNECTED"),
    _pattern(SystemUp, r"Reached target (?:multi-user|graphical)\.target", once=True),
    _prompt(LoginReached, r"(?:^|[\s)])(?!Last )[\w.-]+", ends=" login: "),
    _pattern(DeviceTimedOut, r"^\[ *(?P<guest_seconds>\d+\.\d+)\] systemd\[1\]: Timed out waiting for device"),
    _pattern(
        EmergencyShell,
        r"Entering emergency mode|You are in (?:emergency|rescue) mode|Dropping to a shell|Could not boot\.",
    ),
    _pattern(EmergencyShell, r"Cannot open access to console, the root account is locked"),
    _pattern(EmergencyShell, r"(?:Press Enter|Give root password) for (?:maintenance|system maintenance)"),
    _prompt(EmergencyShell, r"", ends="(initramfs) "),
    _pattern(IgnitionFailed, r"Ignition failed: |ignition\[\d+\]: CRITICAL|Failed to start ignition-\S+\.service"),
    _pattern(IgnitionFinished, r"Finished ignition-files\.service|Reached target ignition-complete\.target", once=True),
)

PROMPTS = (  # systemd: cryptsetup.c, ask-password-api.c; cryptsetup-initramfs functions; dracut crypt-lib.sh
    _prompt(PromptShown, rf"Please enter {_KINDS} for disk {_DISK}"),
    _pattern(PromptShown, rf"(?<!')Please enter {_KINDS} for disk {_DISK}:$", stream=Stream.CONSOLE),
    _prompt(PromptShown, r"Please enter (?:TPM2|LUKS2 token|security token) PIN", volume="", asks=PromptKind.PIN),
    _prompt(PromptShown, r"lease enter (?:correct )?PIN for security token .*", volume="", asks=PromptKind.PIN),
    _prompt(PromptShown, r"Please unlock disk (?P<volume>\S+)", asks=PromptKind.PASSPHRASE),
    _prompt(PromptShown, r"Password \((?P<volume>[^)]+)\) \[\d+/\d+", ends="]:", asks=PromptKind.PASSPHRASE),
)

CRYPTSETUP = (  # systemd: cryptsetup.c; cryptsetup-initramfs local-top/cryptroot; dracut crypt-lib.sh
    _pattern(VolumeAttaching, r"systemd-cryptsetup\[\d+\]: run (?P<volume>\S+) (?:←|<-) (?P<device>\S+)"),
    _pattern(VolumeUnlocked, r"Finished .*Cryptography Setup for (?P<volume>.+?)\.?$"),
    # systemd's own line can get lost where many volumes open at once; this one comes when table and key are loaded.
    _pattern(VolumeUnlocked, r"systemd-cryptsetup\[\d+\]: dm resume (?P<volume>\S+) "),
    _pattern(VolumeUnlocked, r"Found device \S+ - /dev/mapper/(?P<volume>\S+?)\.?$"),
    _pattern(VolumeUnlocked, r"cryptsetup: (?P<volume>\S+): set up successfully", opener_is_logged=False),
    _pattern(VolumeFailed, r"Failed to start .*Cryptography Setup for (?P<volume>.+?)\.?$"),
    _pattern(VolumeFailed, r"cryptsetup: ERROR: (?P<volume>\S+): maximum number of tries exceeded"),
    _pattern(
        TooManyAttempts,
        r"Too many attempts to activate; giving up|(?<!\S)(?P<volume>\S+): maximum number of tries exceeded",
    ),
    _pattern(PassphraseWrong, r"Failed to activate with specified passphrase\. \(Passphrase incorrect\?\)"),
    _pattern(PassphraseWrong, r"cryptsetup: ERROR: (?P<volume>\S+): cryptsetup failed, bad password or options\?"),
    _pattern(PassphraseWrong, r"^Wrong password$"),
    _pattern(NoPromptPossible, r"(?P<reason>(?:Password|PIN) querying disabled via 'headless' option\.)"),
    _pattern(NoPromptPossible, r"(?P<reason>No passphrase or recovery key registered\.)"),
    _pattern(KeyslotUsed, rf"Key ?slot (?P<keyslot>{_NUMBER}) unlocked"),
    _pattern(TokenUsed, rf"Volume (?P<volume>\S+) activated with a LUKS token(?: id (?P<token>{_NUMBER})\b)?"),
)

CLEVIS = (  # clevis 20: clevis-luks-askpass, clevis-luks-unlocker, clevis-decrypt*, local-top/clevis
    _pattern(ClevisTries, r"clevis tries (?P<device>\S+)"),  # images/debian-13: name-device
    _pattern(ClevisDone, r"clevis is done with (?P<volume>\S+)"),  # images/debian-13-initramfs: name-volume
    _pattern(ClevisAnswered, rf"Unlocked {_LUKS} successfully"),
    _pattern(ClevisAnswered, r"Unlocked (?P<device>/\S+) with clevis"),
    _pattern(ClevisReplyDiscarded, rf"Unable to unlock {_LUKS}"),
    _pattern(TpmToolError, r"(?P<text>Esys_\w+\(\) Esys Finish ErrorCode \((?P<code>0x[0-9A-Fa-f]+)\))"),
    _pattern(TpmToolError, r"ERROR: (?P<text>(?:Esys|Tss2|Tcti)_\w+\((?P<code>0x[0-9A-Fa-f]+)\) - .*)"),
)

_REPORTING: tuple[type[Leaf] | Opener, ...] = (*KINDS, *OPENERS)
PINS = tuple(
    _pattern(PinFailed, message.pattern, pin=each.reported_as, final=message.final)
    for each in _REPORTING
    for message in each.failures
) + tuple(_pattern(PinAnswered, message.pattern, pin=kind.reported_as) for kind in KINDS for message in kind.answers)

TABLE: tuple[MessagePattern, ...] = (*FIRMWARE, *KERNEL, *STAGES, *PROMPTS, *CRYPTSETUP, *CLEVIS, *PINS)

FINAL_TPM_CODES = frozenset({0x99D, 0x1DF})
"""TPM_RC_POLICY_FAIL (the PCRs are others), TPM_RC_INTEGRITY (another TPM sealed it): no retry mends these."""

JOURNAL_PREFIX = re.compile(r"(?<![\w.@-])[.@-]*+(?P<name>\w[\w.@-]*+)\[(?P<pid>\d+)\]: ")
"""Who says a journal line."""

KEYSLOT_TRIED = re.compile(rf"Verifying key from keyslot (?P<keyslot>{_NUMBER}), digest")
KEYSLOT_DENIED = re.compile(r"Digest \d+ \(\S+\) verify failed")
MAPPING_MADE = re.compile(r"dm (?:create|reload) (?P<volume>\S+) ")
"""libcryptsetup's debug messages (lib/luks2, lib/libdevmapper.c): together they name the keyslot that opened."""
