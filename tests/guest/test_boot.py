"""Every string of the table is seen as what it is, in any chunking, wherever a kernel line cuts in."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest.boot import BootReader
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
from harness.guest.table import TABLE

UUID = "2f5c1a8e-8d0a-4c1d-9a3e-0b1f6d2f7a11"
DEVICE = f"/dev/disk/by-uuid/{UUID}"
STAMP = "[   12.345678] "


def read(text: str, stream: Stream = Stream.CONSOLE) -> list[Event]:
    return BootReader().feed(stream, text.encode(), 1.0)


def test_a_prompt_in_full() -> None:
    (event,) = read("Please enter passphrase for disk var: (press TAB for no echo) ")
    assert event == PromptShown(
        1.0, Stream.CONSOLE, "Please enter passphrase for disk var:", "var", PromptKind.PASSPHRASE, 1
    )


PROMPTS = [
    ("Please enter passphrase for disk var: ", "var", PromptKind.PASSPHRASE),
    ("\x1b[0;1;39mPlease enter passphrase for disk var: \x1b[0m", "var", PromptKind.PASSPHRASE),
    ("🔐 Please enter passphrase for disk var: (press TAB for no echo) ", "var", PromptKind.PASSPHRASE),
    ("Please enter passphrase for disk var on /var: ", "var", PromptKind.PASSPHRASE),
    ("Please enter passphrase for disk QEMU NVMe Ctrl (luks-var) on /var: ", "luks-var", PromptKind.PASSPHRASE),
    ("Please enter recovery key for disk root (root): ", "root", PromptKind.RECOVERY_KEY),
    ("Please enter passphrase or recovery key for disk root: ", "root", PromptKind.EITHER),
    ("Please enter passphrase for disk var:\r\n", "var", PromptKind.PASSPHRASE),
    ("Please enter TPM2 PIN: ", "", PromptKind.PIN),
    ("Please enter LUKS2 token PIN: (press TAB for no echo) ", "", PromptKind.PIN),
    ("Please enter security token PIN: (press TAB for no echo) ", "", PromptKind.PIN),
    ("Please enter PIN for security token 'lab' in order to unlock disk var: ", "", PromptKind.PIN),
    ("Please unlock disk cryptroot: ", "cryptroot", PromptKind.PASSPHRASE),
    ("Password (/dev/nvme0n1p5) [1/5]:", "/dev/nvme0n1p5", PromptKind.PASSPHRASE),
]


@pytest.mark.parametrize(("text", "volume", "asks"), PROMPTS)
def test_prompts(text: str, volume: str, asks: PromptKind) -> None:
    (event,) = read(text)
    assert isinstance(event, PromptShown)
    assert (event.volume, event.asks) == (volume, asks)


@pytest.mark.parametrize(
    "text",
    [
        "Please enter passphrase for disk var",
        "Please enter passphrase for disk var:",  # not yet: the name may go on
        "Password entry required for 'Please enter passphrase for disk var:' (PID 312).\r\n",
        "[   12.345678] systemd-ask-password[3]: Please enter passphrase for disk",
    ],
)
def test_no_prompt_yet(text: str) -> None:
    assert not [event for event in read(text) if isinstance(event, PromptShown)]


def test_the_journal_shows_no_prompt() -> None:
    for end in (":", ": "):
        assert not read(f"Please enter passphrase for disk var{end}\n", Stream.JOURNAL)


def test_one_line_shows_one_thing_once() -> None:
    line = "Cannot open access to console, the root account is locked. See sulogin(8). Press Enter for maintenance."
    assert [type(event) for event in read(line + "\n")] == [EmergencyShell]


def test_prompts_are_counted_by_volume() -> None:
    prompt = "Please enter passphrase for disk var: (press TAB for no echo) ****\r\n"
    events = read(prompt + prompt.replace("var", "root") + prompt)
    assert [(event.volume, event.number) for event in events if isinstance(event, PromptShown)] == [
        ("var", 1),
        ("root", 1),
        ("var", 2),
    ]


# What a line shows, by the class of the event and those fields that matter.
LINES: list[tuple[str, type[Event], dict[str, object]]] = [
    ('BdsDxe: loading Boot0001 "UEFI NVMe" from PciRoot(0x0)/Pci(0x2,0x0)', FirmwareStarted, {}),
    ('BdsDxe: starting Boot0001 "UEFI NVMe" from PciRoot(0x0)', BootEntryStarted, {"entry": "Boot0001"}),
    (
        'BdsDxe: failed to load Boot0001 "UEFI NVMe" from PciRoot(0x0)/Pci(0x2,0x0): Access Denied',
        BootRefused,
        {"reason": "Access Denied"},
    ),
    (
        'BdsDxe: failed to start Boot0001 "UEFI NVMe" from PciRoot(0x0): Security Violation',
        BootRefused,
        {"reason": "Security Violation"},
    ),
    ("Verification failed: (0x1A) Security Violation", BootRefused, {"reason": "Security Violation"}),
    (r"Error loading EFI binary \EFI\Linux\a.efi: Access denied", BootRefused, {"reason": "Access denied"}),
    (
        'BdsDxe: failed to load Boot0002 "UEFI QEMU HARDDISK" from PciRoot(0x0): Not Found',
        BootEntryFailed,
        {"entry": "Boot0002", "reason": "Not Found"},
    ),
    ("BdsDxe: No bootable option or device was found.", NoBootOption, {}),
    ("UEFI Interactive Shell v2.2", NoBootOption, {}),
    (">>Start PXE over IPv4.", NoBootOption, {}),
    ("[    0.000000] Linux version 6.12.38+deb13-cloud-amd64 (debian-kernel@…)", KernelStarted, {}),
    ("EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path", KernelStarted, {}),
    ("[    9.100000] Kernel panic - not syncing: Fatal exception in interrupt", Panic, {}),
    ("[    9.100000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b", Panic, {}),
    ("[    9.100000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", InitFailed, {}),
    (
        "[    9.100000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        InitFailed,
        {},
    ),
    (
        "[    9.100000] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.",
        InitFailed,
        {},
    ),
    ("[    9.100000] Kernel panic - not syncing: Requested init /bin/none failed (error -2).", InitFailed, {}),
    ("[    9.100000] BUG: unable to handle page fault for address: ffff", KernelBug, {}),
    ("[    9.100000] Oops: double fault: 0000 [#1] PREEMPT SMP", KernelBug, {}),
    ("[    9.100000] traps: PANIC: double fault: 0000 [#1]", KernelBug, {}),
    ("[    9.100000] general protection fault, probably for non-canonical address", KernelBug, {}),
    ("[    9.100000] kernel BUG at mm/slub.c:448!", KernelBug, {}),
    ("[   59.100000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!", KernelStalled, {}),
    ("[   59.100000] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", KernelStalled, {}),
    ("[    2.100000] tpm tpm0: Operation Timed out", TpmTimeout, {}),
    ("[    2.100000] tpm tpm0: tpm_try_transmit: send(): error -62", TpmTimeout, {}),
    ("[   70.100000] reboot: Restarting system", Rebooting, {}),
    ("[   70.100000] reboot: Power down", PoweredOff, {}),
    ("Welcome to Debian GNU/Linux 13 (trixie) dracut-106-6 (Initramfs)!", InitrdStarted, {}),
    ("Booting initrd of dracut...", InitrdStarted, {}),
    ("Begin: Loading essential drivers ... done.", InitrdStarted, {}),
    ("Welcome to Debian GNU/Linux 13 (trixie)!", SystemStarted, {}),
    (STAMP + "systemd[1]: Switching root.", SystemStarted, {}),
    (STAMP + "systemd-networkd[231]: enp1s0: DHCPv4 address 10.0.2.15/24, gateway 10.0.2.2 acquired", NetworkUp, {}),
    ("[  OK  ] Reached target network-online.target - Network is Online.", NetworkUp, {}),
    (STAMP + "dhclient[231]: bound to 10.0.2.15 -- renewal in 40000 seconds.", NetworkUp, {}),
    ("[  OK  ] Reached target multi-user.target - Multi-User System.", SystemUp, {}),
    (
        "[ 1080.310000] systemd[1]: Timed out waiting for device dev-disk-by\\x2dpartlabel-var.device.",
        DeviceTimedOut,
        {"guest_seconds": 1080.31},
    ),
    ("Entering emergency mode. Exit the shell to continue.", EmergencyShell, {}),
    ('You are in emergency mode. After logging in, type "journalctl -xb"', EmergencyShell, {}),
    ("Cannot open access to console, the root account is locked.", EmergencyShell, {}),
    ("Press Enter for maintenance", EmergencyShell, {}),
    ("ALERT!  UUID=1 does not exist.  Dropping to a shell!", EmergencyShell, {}),
    (STAMP + "ignition[512]: CRITICAL : Ignition failed: failed to create disks", IgnitionFailed, {}),
    ("[FAILED] Failed to start ignition-disks.service - Ignition (disks).", IgnitionFailed, {}),
    (STAMP + "systemd[1]: Finished ignition-files.service - Ignition (files).", IgnitionFinished, {}),
    (
        STAMP + f"systemd-cryptsetup[401]: run var ← {DEVICE} type=LUKS2 cipher=",
        VolumeAttaching,
        {"volume": "var", "device": DEVICE},
    ),
    (
        "[  OK  ] Finished systemd-cryptsetup@var.service - Cryptography Setup for var.",
        VolumeUnlocked,
        {"volume": "var"},
    ),
    (
        "[   62.054179] systemd[1]: Found device dev-mapper-key\\x2dfile.device - /dev/mapper/key-file.",
        VolumeUnlocked,
        {"volume": "key-file"},
    ),
    (
        "[   58.258572] systemd-cryptsetup[401]: dm resume key-file  [ opencount flush securedata ]   [16384] (*1)",
        VolumeUnlocked,
        {"volume": "key-file"},
    ),
    ("[  OK  ] Finished Cryptography Setup for luks-a.b.", VolumeUnlocked, {"volume": "luks-a.b"}),
    ("cryptsetup: root_crypt: set up successfully", VolumeUnlocked, {"volume": "root_crypt"}),
    (
        "[FAILED] Failed to start systemd-cryptsetup@var.service - Cryptography Setup for var.",
        VolumeFailed,
        {"volume": "var"},
    ),
    ("cryptsetup: ERROR: var: maximum number of tries exceeded", VolumeFailed, {"volume": "var"}),
    ("cryptsetup: ERROR: var: maximum number of tries exceeded", TooManyAttempts, {"volume": "var"}),
    (STAMP + "systemd-cryptsetup[401]: Too many attempts to activate; giving up.", TooManyAttempts, {"volume": ""}),
    (
        STAMP + "systemd-cryptsetup[401]: Failed to activate with specified passphrase. (Passphrase incorrect?)",
        PassphraseWrong,
        {"volume": ""},
    ),
    ("cryptsetup: ERROR: var: cryptsetup failed, bad password or options?", PassphraseWrong, {"volume": "var"}),
    ("Wrong password", PassphraseWrong, {}),
    (
        STAMP + "systemd-cryptsetup[401]: Password querying disabled via 'headless' option.",
        NoPromptPossible,
        {"reason": "Password querying disabled via 'headless' option."},
    ),
    (
        STAMP + "systemd-cryptsetup[401]: No passphrase or recovery key registered.",
        NoPromptPossible,
        {"reason": "No passphrase or recovery key registered."},
    ),
    ("Key slot 3 unlocked.", KeyslotUsed, {"keyslot": 3}),
    (
        STAMP + "systemd-cryptsetup[401]: Volume var activated with a LUKS token.",
        TokenUsed,
        {"volume": "var", "token": -1},
    ),
    ("Volume var activated with a LUKS token id 2.", TokenUsed, {"volume": "var", "token": 2}),
    (
        STAMP + f"clevis-luks-askpass[312]: Unlocked {DEVICE} (UUID={UUID}) successfully",
        ClevisAnswered,
        {"device": DEVICE, "uuid": UUID},
    ),
    ("Unlocked /dev/vda4 with clevis", ClevisAnswered, {"device": "/dev/vda4", "uuid": ""}),
    ("clevis-luks-askpass[400]: clevis tries /dev/vda4", ClevisTries, {"device": "/dev/vda4"}),
    ("clevis tries tpm2-and-tang", ClevisTries, {"device": "tpm2-and-tang"}),
    ("clevis is done with tpm2-and-tang", ClevisDone, {"volume": "tpm2-and-tang"}),
    (
        f"clevis-luks-askpass[312]: Unable to unlock {DEVICE} (UUID={UUID}) with recovered passphrase",
        ClevisReplyDiscarded,
        {"device": DEVICE, "uuid": UUID},
    ),
    (
        STAMP + "clevis-luks-askpass[312]: Error communicating with server http://10.0.2.2:8080",
        PinFailed,
        {"pin": "tang", "url": "http://10.0.2.2:8080", "final": False},
    ),
    ("Received invalid server reply!", PinFailed, {"pin": "tang", "url": ""}),
    (
        "JWE header validation of 'clevis.tang.adv' failed: key thumbprint does not match",
        PinFailed,
        {"pin": "tang", "final": True},
    ),
    ("JWE missing required 'clevis.tang.url' header parameter!", PinFailed, {"pin": "tang", "final": True}),
    (
        "A TPM2 device with the in-kernel resource manager is needed!",
        PinFailed,
        {"pin": "tpm2", "final": False, "reason": "A TPM2 device with the in-kernel resource manager is needed!"},
    ),
    ("The /dev/tpmrm0 device must be readable and writable!", PinFailed, {"pin": "tpm2"}),
    ("Creating TPM2 primary key failed!", PinFailed, {"pin": "tpm2"}),
    ("Loading jwk to TPM2 failed!", PinFailed, {"pin": "tpm2"}),
    ("Unsealing jwk from TPM failed!", PinFailed, {"pin": "tpm2", "final": False}),
    ("The tpm2 pin requires a tpm2-tools version between 3 and 5", PinFailed, {"pin": "tpm2", "final": True}),
    ("Unable to locate pin 'tang'!", PinFailed, {"pin": "tang", "final": True}),
    (
        "ERROR: Esys_Unseal(0x99D) - tpm:session(1):a policy check failed",
        TpmToolError,
        {"code": "0x99D", "text": "Esys_Unseal(0x99D) - tpm:session(1):a policy check failed"},
    ),
    ("ERROR:esys:Esys_Load.c:113:Esys_Load() Esys Finish ErrorCode (0x000001df)", TpmToolError, {"code": "0x000001df"}),
    ("Failed to unseal secret using TPM2: Operation not permitted", PinFailed, {"pin": "tpm2"}),
    (
        "No TPM2 metadata matching the current system state found in LUKS2 header, falling back to …",
        PinFailed,
        {"pin": "tpm2", "final": True},
    ),
    (
        "No TPM2 hardware discovered and EFI firmware does not see it either, falling back to …",
        PinFailed,
        {"pin": "tpm2", "final": True},
    ),
    ("TPM2 operation failed, falling back to traditional unlocking: x", PinFailed, {"pin": "tpm2", "final": True}),
    ("TPM2 support not available, falling back to traditional unlocking.", PinFailed, {"final": True}),
    ("TPM2 PIN unlock failed, falling back to traditional unlocking.", PinFailed, {"final": True}),
    ("Wrong security token; needed credentials not present on token.", PinFailed, {"pin": "fido2", "final": False}),
    ("PIN of security token incorrect.", PinFailed, {"pin": "fido2", "final": False}),
    ("PIN of security token is blocked, please remove/reinsert token.", PinFailed, {"pin": "fido2", "final": True}),
    ("Token action timeout. (User didn't interact with token quickly enough.)", PinFailed, {"pin": "fido2"}),
    ("PIN for token 'lab' is incorrect, please try again.", PinFailed, {"pin": "pkcs11", "final": False}),
    ("PIN has been locked, please reset PIN of security token 'lab'.", PinFailed, {"pin": "pkcs11", "final": True}),
    ("Failed to decrypt key on security token: x", PinFailed, {"pin": "pkcs11", "final": True}),
    ("Failed to log into security token 'lab': Internal error", PinFailed, {"pin": "pkcs11", "final": True}),
    ("Too many attempts to log into token 'lab'.", PinFailed, {"pin": "pkcs11", "final": True}),
    ("Parsec does not run, so there is no key for var", PinFailed, {"pin": "parsec", "final": True}),
    ("Parsec did not decrypt the key of var", PinFailed, {"pin": "parsec", "final": True}),
    ("Parsec decrypted the key of var", PinAnswered, {"pin": "parsec"}),
    (
        "tpm12: unsealing failed: code 24",
        PinFailed,
        {"pin": "tpm12", "final": True, "reason": "unsealing failed: code 24"},
    ),
    ("tpm12: the TPM unsealed the key of root", PinAnswered, {"pin": "tpm12", "about": "root"}),
    (
        STAMP + "systemd-cryptsetup[401]: Successfully decrypted key with security token.",
        PinAnswered,
        {"pin": "pkcs11"},
    ),
    ("Timed out waiting for security device, aborting security device based …", PinFailed, {"final": True}),
    ("TPM2 device not present for unlocking var, waiting for it to become available.", PinFailed, {"final": False}),
]


@pytest.mark.parametrize(("line", "shows", "fields"), LINES)
def test_lines(line: str, shows: type[Event], fields: dict[str, object]) -> None:
    for end in ("\n", "\r\n"):
        found = [event for event in read(line + end) if type(event) is shows]
        assert len(found) == 1, found
        assert {name: getattr(found[0], name) for name in fields} == fields
        assert found[0].line == line


@pytest.mark.parametrize(("line", "shows", "fields"), [entry for entry in LINES if entry[0].startswith(STAMP)])
def test_lines_of_the_journal(line: str, shows: type[Event], fields: dict[str, object]) -> None:
    found = [event for event in read(line + "\n", Stream.JOURNAL) if type(event) is shows]
    assert {name: getattr(found[0], name) for name in fields} == fields


@pytest.mark.parametrize(
    ("text", "shows"), [("\r\nunlock-lab login: ", LoginReached), ("\r\n(initramfs) ", EmergencyShell)]
)
def test_prompts_of_shells(text: str, shows: type[Event]) -> None:
    assert [type(event) for event in read(text)] == [shows]


@pytest.mark.parametrize(
    "line",
    [
        "Last login: Mon Aug 11 10:00:00 on ttyS0",
        "[  OK  ] Started systemd-ask-password-console.path - Dispatch Password Requests to Console.",
        "         Starting systemd-cryptsetup@var.service - Cryptography Setup for var...",
        "[    3.000000] Kernel command line: ip=dhcp rd.neednet=1 systemd.show_status=yes",
        # Said in emergency mode too.
        STAMP + "systemd[1]: Startup finished in 12.501s (kernel) + 0 (initrd) + 34.143s (userspace) = 46.644s.",
        "",
    ],
)
def test_lines_that_show_nothing(line: str) -> None:
    assert read(line + "\r\n") == []


def test_every_row_is_reached_by_some_line() -> None:
    texts = [line for line, _, _ in LINES]
    unfinished = [text for text, _, _ in PROMPTS] + ["h login: ", "(initramfs) "]
    plain = [text.replace("\x1b[0;1;39m", "").replace("\x1b[0m", "").rstrip("\r\n") for text in unfinished]
    starts = [text[: text.find(": ") + 2] or text for text in plain] + plain
    for row in TABLE:
        assert any(row.pattern.search(text) for text in (starts if row.ends else texts + plain)), row


def test_only_the_first_counts_until_a_reset() -> None:
    start = "BdsDxe: loading Boot0001 x\r\n"
    assert [type(event) for event in read(start * 2)] == [FirmwareStarted]
    reset = "[   70.100000] reboot: Restarting system\r\n"
    assert [type(event) for event in read(start + reset + start)] == [FirmwareStarted, Rebooting, FirmwareStarted]


def test_what_the_tpm_said_goes_with_the_pin_that_failed() -> None:
    events = read(
        "ERROR:esys:Esys_Unseal.c:98:Esys_Unseal() Esys Finish ErrorCode (0x0000099d)\n"
        "ERROR: Esys_Unseal(0x99D) - tpm:session(1):a policy check failed\n"
        "ERROR: Unable to run tpm2_unseal\n"
        "Unsealing jwk from TPM failed!\n"
        "Unsealing jwk from TPM failed!\n",
        Stream.JOURNAL,
    )
    first, second = [event for event in events if isinstance(event, PinFailed)]
    assert first.final
    assert first.reason == (
        "Unsealing jwk from TPM failed! (Esys_Unseal(0x99D) - tpm:session(1):a policy check failed)"
    )
    assert not second.final
    assert second.reason == "Unsealing jwk from TPM failed!"


def test_a_passing_error_of_the_tpm_is_not_final() -> None:
    events = read("ERROR: Esys_Load(0x902) - tpm:warn(2.0): out of memory\nLoading jwk to TPM2 failed!\n")
    assert [event.final for event in events if isinstance(event, PinFailed)] == [False]


def test_a_process_stands_for_the_volume_that_it_works_on() -> None:
    events = read(
        f"{STAMP}systemd-cryptsetup[401]: run var ← {DEVICE} type=LUKS2 cipher=\n"
        f"{STAMP}systemd-cryptsetup[402]: run root ← /dev/vda4 type=LUKS2 cipher=\n"
        f"{STAMP}systemd-cryptsetup[401]: Failed to activate with specified passphrase. (Passphrase incorrect?)\n"
        f"{STAMP}systemd-cryptsetup[402]: Too many attempts to activate; giving up.\n"
        f"{STAMP}systemd-cryptsetup[403]: Password querying disabled via 'headless' option.\n",
        Stream.JOURNAL,
    )
    assert [event.volume for event in events[2:] if isinstance(event, PassphraseWrong | TooManyAttempts)] == [
        "var",
        "root",
    ]
    assert [event.volume for event in events if isinstance(event, NoPromptPossible)] == [""]


def test_libcryptsetup_names_the_keyslot_that_opened() -> None:
    events = read(
        f"{STAMP}systemd-cryptsetup[401]: Verifying key from keyslot 0, digest 0.\n"
        f"{STAMP}systemd-cryptsetup[401]: Digest 0 (pbkdf2) verify failed with -1.\n"
        f"{STAMP}systemd-cryptsetup[401]: dm create temporary-cryptsetup-401 CRYPT-TEMP [ opencount flush ]\n"
        f"{STAMP}systemd-cryptsetup[401]: Verifying key from keyslot 1, digest 0.\n"
        f"{STAMP}systemd-cryptsetup[999]: dm create other CRYPT-LUKS2 [ opencount flush ]\n"
        f"{STAMP}systemd-cryptsetup[401]: dm create var CRYPT-LUKS2-2f5c-var [ opencount flush ]\n"
        f"{STAMP}systemd-cryptsetup[401]: dm reload var [ opencount flush ]\n"
        f"{STAMP}somebody-else[401]: Verifying key from keyslot 7, digest 0.\n",
        Stream.JOURNAL,
    )
    assert [(event.keyslot, event.volume) for event in events if isinstance(event, KeyslotUsed)] == [(1, "var")]


PROMPT = "\x1b[0;1;39mPlease enter passphrase for disk var: (press TAB for no echo) \x1b[0m"
KERNEL = "[   32.235143] SCSI subsystem initialized: yes\r\n"


@pytest.mark.parametrize("position", range(len(PROMPT) + 1))
@pytest.mark.parametrize("lines", [1, 3])
def test_a_kernel_line_may_cut_into_a_prompt_anywhere(position: int, lines: int) -> None:
    text = PROMPT[:position] + KERNEL * lines + PROMPT[position:]
    events = [event for event in read("before\r\n" + text + "\r\n") if isinstance(event, PromptShown)]
    assert [event.volume for event in events] == ["var"]


def test_a_kernel_line_that_cuts_in_is_read_too() -> None:
    events = read("Please enter pas[    2.948528] tpm tpm0: Operation Timed out\r\nsphrase for disk var: ")
    assert [type(event) for event in events] == [TpmTimeout, PromptShown]


def test_a_kernel_line_with_a_caller() -> None:
    events = read("Please enter pas[    2.948528][    T1] scsi: x\r\nsphrase for disk var: ")
    assert [type(event) for event in events] == [PromptShown]


def test_a_message_of_the_journal_may_hold_a_kernel_stamp() -> None:
    line = f"{STAMP}clevis-luks-askpass[312]: [    2.948528] Error communicating with server http://a\n"
    assert [type(event) for event in read(line, Stream.JOURNAL)] == [PinFailed]


def test_a_status_line_drawn_over_is_a_line_of_its_own() -> None:
    events = read("[*** ] Job running\r[  OK  ] Finished Cryptography Setup for var.\r\nreboot: Power down\r\n")
    assert [type(event) for event in events] == [VolumeUnlocked, PoweredOff]


def test_the_cursor_put_elsewhere_starts_a_line() -> None:
    events = read("junk\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: loading Boot0001 x\r\n")
    assert [(type(event), event.line) for event in events] == [(FirmwareStarted, "BdsDxe: loading Boot0001 x")]


WHOLE = (
    "\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: loading Boot0001 x\r\nBdsDxe: starting Boot0001 x\r\n"
    "\x1b]0;title\x07\x1bP+q\x1b\\\x1b(B[    0.000000] Linux version 6.12\r\n"
    "Welcome to \x1b[1mDebian GNU/Linux 13 (trixie) dracut-106-6 (Initramfs)\x1b[0m!\r\n"
    "🔐 Please ent[   32.2351[43] not a stamp\r\nPlease enter pas[   32.235143] SCSI\r\nsphrase for disk var: ••\r\n"
    "\x1b]unterminated\r\n[  OK  ] Finished Cryptography Setup for var.\r\r\n\n\xe9unlock-lab login: "
)


@given(st.lists(st.integers(0, len(WHOLE.encode())), max_size=30))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    data = WHOLE.encode()
    places = [0, *sorted(cuts), len(data)]
    reader = BootReader()
    events = [
        event
        for start, end in itertools.pairwise(places)
        for event in reader.feed(Stream.CONSOLE, data[start:end], 1.0)
    ]
    assert events == read(WHOLE)
    assert [type(event) for event in events] == [
        FirmwareStarted,
        BootEntryStarted,
        KernelStarted,
        InitrdStarted,
        PromptShown,
        VolumeUnlocked,
        LoginReached,
    ]


@given(st.binary(max_size=300), st.sampled_from(Stream))
def test_garbage_is_taken_in_any_chunking(data: bytes, stream: Stream) -> None:
    whole, single = BootReader(), BootReader()
    expected = whole.feed(stream, data, 0.0)
    assert [event for byte in data for event in single.feed(stream, bytes([byte]), 0.0)] == expected


def test_a_line_without_end_is_cut_somewhere() -> None:
    events = read("x" * 20000 + "\r\nreboot: Power down\r\n")
    assert [type(event) for event in events] == [PoweredOff]
