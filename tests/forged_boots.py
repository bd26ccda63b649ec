"""Boots as a hostile guest writes them: real lines in any order, torn, told twice, about any volume, by anyone.

A fuzzer by coverage guesses no whole line of systemd's, still less one that a kernel line cuts in two. So four of its
bytes choose each line: which, about whom, how it is twisted, and where.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from harness.errors import RigError
from harness.guest.boot import BootReader
from harness.guest.events import Event, PromptKind, PromptShown, Stream
from harness.guest.judge import judge
from harness.guest.outcome import Outcome, Unlock
from harness.guest.plan import BootPlan, decide
from harness.guest.steps import Type
from harness.guest.volumes import VolumePlan
from harness.guest.witness import End, ExternalEvidence, Observation, TypedPassphrase, security_key_testimony
from harness.luks2.metadata import LuksHeader, Token
from harness.policy.pins import CryptenrollPin, Fido2Pin, Pin, ServiceId, Sss, TangPin, Tpm2Pin, Tpm12Pin
from harness.policy.pins.systemd_fido2 import SECURITY_KEY
from harness.services.tang_log import TangCalls, TangRequest

LINES = (
    "BdsDxe: starting Boot0001 “UEFI QEMU HARDDISK” from PciRoot(0x0)",
    "[    0.000000] Linux version 6.12.57",
    "[    3.200000] systemd[1]: Welcome to Debian GNU/Linux 13 (trixie) dracut-106 (Initramfs)!",
    "[   30.100000] systemd[1]: Switching root.",
    "[   31.000000] systemd-cryptsetup[{pid}]: run {volume} ← /dev/disk/by-uuid/7f1c type=LUKS cipher=",
    "Please enter passphrase for disk {volume}: (press TAB for no echo) ",
    "Please enter passphrase for disk QEMU HARDDISK ({volume}) on /var: ",
    "Please enter LUKS2 token PIN: ",
    "Please unlock disk {volume}: ",
    "[   35.000000] clevis-luks-askpass[{pid}]: Unlocked /dev/disk/by-uuid/7f1c (UUID=7f1c) successfully",
    "[   35.100000] clevis-luks-askpass[{pid}]: Unlocked {volume} (UUID=) successfully",
    "Unlocked /dev/vda5 with clevis",
    "clevis tries {volume}",
    "clevis is done with {volume}",
    "[   35.200000] clevis-luks-askpass[{pid}]: Error communicating with server http://10.0.2.2:80",
    "[   35.200000] clevis-luks-askpass[{pid}]: Unsealing jwk from TPM failed!",
    "[   35.200000] clevis-luks-askpass[{pid}]: ERROR: Esys_Load(0x1DF) - tpm:parameter(1):integrity check failed",
    "[   36.000000] systemd-cryptsetup[{pid}]: Verifying key from keyslot 1, digest 0.",
    "[   36.100000] systemd-cryptsetup[{pid}]: Digest 0 (pbkdf2) verify failed with -1.",
    "[   36.200000] systemd-cryptsetup[{pid}]: dm create {volume} CRYPT-LUKS2-7f1c-{volume} [ opencount flush ]",
    "[   36.300000] systemd-cryptsetup[{pid}]: dm resume {volume}  [ opencount flush securedata ]   [16384] (*1)",
    "[   36.400000] systemd-cryptsetup[{pid}]: Volume {volume} activated with a LUKS token.",
    "[   36.400000] systemd-cryptsetup[{pid}]: Failed to activate with specified passphrase. (Passphrase incorrect?)",
    "[   36.400000] systemd-cryptsetup[{pid}]: Too many attempts to activate; giving up.",
    "[   36.500000] systemd[1]: Finished systemd-cryptsetup@{volume}.service - Cryptography Setup for {volume}.",
    "[  OK  ] Finished systemd-cryptsetup@{volume}.service - Cryptography Setup for {volume}.",
    "[  OK  ] Found device dev-mapper-{volume}.device - /dev/mapper/{volume}.",
    "[FAILED] Failed to start systemd-cryptsetup@{volume}.service - Cryptography Setup for {volume}.",
    "cryptsetup: {volume}: set up successfully",
    "tpm12: the TPM unsealed the key of {volume}",
    "Key slot 1 unlocked.",
    "[  OK  ] Reached target multi-user.target - Multi-User System.",
    "unlock-lab login: ",
    "Entering emergency mode. Exit the shell to continue.",
    "[   40.000000] reboot: Restarting system",
)
VOLUMES = ("var", "data", "other", "", "/dev/vda5", "var.service", "var on /var", "var)")
KERNEL = "[   33.333333] usb 1-1: new device\n"
ESCAPE = "\x1b[0;1;31m"
OTHER_UNIT = "[   34.000000] evil.service[666]: "

_AT = 100.0


def written(choices: bytes) -> list[tuple[Stream, bytes]]:
    """What the two streams bring, piece by piece."""
    pieces: list[tuple[Stream, bytes]] = []
    late = ""
    for line, about, twist, where in zip(*(choices[start::4] for start in range(4)), strict=False):
        stream = Stream.JOURNAL if about & 1 else Stream.CONSOLE
        words = LINES[line % len(LINES)].format(volume=VOLUMES[(about >> 1) % len(VOLUMES)], pid=(about >> 4) % 3 + 1)
        at = where * len(words) // 255
        text, held = _twisted(words, at, twist % 9)
        pieces.append((stream, (text + late).encode()))
        late = held
    return [*pieces, (Stream.CONSOLE, late.encode())]


def _twisted(words: str, at: int, twist: int) -> tuple[str, str]:
    """The line, and what of it comes after the next one."""
    begin, end = words[:at], words[at:]
    if twist == 7:
        return begin, end + "\n"
    twisted = (
        begin + KERNEL + end + "\n",
        begin + ESCAPE + end + "\n",
        words + "\r",
        words,
        OTHER_UNIT + words + "\n",
        end + words + "\n",
        begin + "\n",
    )
    return twisted[twist] if twist < len(twisted) else words + "\n", ""


def read(pieces: list[tuple[Stream, bytes]]) -> list[Event]:
    """What the pieces show, one a second."""
    reader = BootReader()
    return [event for at, (stream, piece) in enumerate(pieces) for event in reader.feed(stream, piece, float(at))]


TPM, TANG = Tpm2Pin(), TangPin("tang", "@TANG_URL@")
ALONE: tuple[Pin, ...] = (
    *(TPM, TANG, Sss(2, (TPM, TANG)), Sss(1, (TPM, TANG)), CryptenrollPin((7,)), Fido2Pin()),
    *(Tpm12Pin((8,)), Sss(1, (CryptenrollPin(asks_pin=True), TANG), separate=True)),
)
SERVED = TangRequest(0.0, "POST", "/rec/kid", 200, None)
HEADERS = {"var": LuksHeader(((1, "pbkdf2"),), (Token(0, "systemd-tpm2", (1,)),))}


def _evidence(*requests: TangRequest, headers: bool) -> ExternalEvidence:
    """Nobody answered, but for what Tang served."""
    services = {ServiceId("tang", "tang"): TangCalls("tang", requests).testimony}
    key = {SECURITY_KEY: security_key_testimony(())}
    return ExternalEvidence(services | key, tpm=(), headers=HEADERS if headers else {})


def believe(choices: bytes) -> None:
    """Hold that no such boot makes a verdict which needs more than a guest's word.

    Raises:
        AssertionError: One does.
    """
    events, first = tuple(read(written(choices))), choices[0] if choices else 0
    end, headers = (End.UP, End.WAITING, End.SHUT)[first % 3], bool(first & 4)
    typed = TypedPassphrase(float(first >> 3), "var", 7)
    shown = Observation(events, (), end, "it says so", _AT, 1.0)
    nobody, once = _evidence(headers=headers), _evidence(SERVED, headers=headers)
    for pins in ALONE:
        alone = [VolumePlan("var", pins=pins)]
        for outcome in _verdicts(alone, shown, nobody):
            assert outcome.unlock is Unlock.LOCKED, f"{outcome.unlock} by a guest's word alone"
        for outcome in _verdicts(alone, replace(shown, typed=(typed,)), nobody):
            assert outcome.unlock is not Unlock.AUTO, "an auto-unlock where a passphrase was typed"
    pair = [VolumePlan("var", pins=TANG), VolumePlan("data", pins=Sss(1, (TANG, TPM)))]
    for outcome in _verdicts(pair, shown, nobody):
        assert outcome.unlock is Unlock.LOCKED, f"{outcome.unlock} of one of two by a guest's word alone"
    opened = [outcome for outcome in _verdicts(pair, shown, once) if outcome.unlock is not Unlock.LOCKED]
    assert len(opened) <= 1, "two volumes opened by one answer of Tang"
    _type_only_where_asked(events, typed)


def _verdicts(volumes: list[VolumePlan], seen: Observation, evidence: ExternalEvidence) -> list[Outcome]:
    """The verdict on each volume; none where the evidence does not agree."""
    try:
        outcome = judge(volumes, seen, evidence)
    except RigError:
        return []
    return list(outcome.volumes.values()) or [outcome]


def _type_only_where_asked(events: Sequence[Event], typed: TypedPassphrase) -> None:
    plan = BootPlan(
        (VolumePlan("var", pins=TANG, typing=("secret",), tpm_pins=("1234",)), VolumePlan("data", pins=TPM))
    )
    prompts = [event for event in events if isinstance(event, PromptShown)]
    for now, said in product((0.0, 30.0, 1e4), ((), (typed,))):
        step = decide(plan, events, said, now)
        if isinstance(step, Type):
            asks = [event.volume for event in prompts if step.pin is (event.asks is PromptKind.PIN)]
            assert any(volume in ("", step.volume) or volume.startswith("/dev/") for volume in asks), "nobody asked"
