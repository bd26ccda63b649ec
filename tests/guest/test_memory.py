"""What needs memory while a boot is read: which process works on what, and what was said before."""

from harness.guest.boot import BootReader
from harness.guest.events import (
    ClevisTries,
    Event,
    KeyslotUsed,
    NoPromptPossible,
    PassphraseWrong,
    PinAnswered,
    PinFailed,
    PromptKind,
    PromptShown,
    Stream,
    TooManyAttempts,
    VolumeAttaching,
)

STAMP = "[   57.690022] "
TPM_SAID = "ERROR: Esys_Unseal(0x99D) - tpm:session(1):a policy check failed"


def read(*lines: str, stream: Stream = Stream.JOURNAL) -> list[Event]:
    return BootReader().feed(stream, "".join(f"{line}\n" for line in lines).encode(), 57.0)


def cryptsetup(pid: int, said: str) -> str:
    return f"{STAMP}systemd-cryptsetup[{pid}]: {said}"


def attaching(pid: int, volume: str) -> str:
    return cryptsetup(pid, f"run {volume} ← /dev/{volume} type=LUKS2 cipher=")


def test_an_event_is_what_was_said_and_where_and_when() -> None:
    [event] = read(f"  {attaching(7, 'var')}  ")
    assert event == VolumeAttaching(57.0, Stream.JOURNAL, attaching(7, "var"), "var", "/dev/var")


def test_the_words_of_a_process_are_about_the_volume_that_it_works_on() -> None:
    events = read(
        attaching(7, "var"),
        attaching(8, "srv"),
        cryptsetup(7, "Failed to activate with specified passphrase. (Passphrase incorrect?)"),
        cryptsetup(8, "Too many attempts to activate; giving up."),
        cryptsetup(7, "Password querying disabled via 'headless' option."),
        cryptsetup(8, "Successfully decrypted key with security token."),
        cryptsetup(9, "Successfully decrypted key with security token."),
        cryptsetup(7, "Failed to unseal secret using TPM2: Operation not permitted"),
    )
    said = [event for event in events if not isinstance(event, VolumeAttaching)]
    assert [getattr(event, "about", getattr(event, "volume", None)) for event in said] == [
        "var",
        "srv",
        "var",
        "srv",
        "",
        "var",
    ]
    assert [type(event) for event in said] == [
        *(PassphraseWrong, TooManyAttempts, NoPromptPossible, PinAnswered, PinAnswered, PinFailed)
    ]


def test_words_without_a_process_are_about_nothing_known() -> None:
    said = "Failed to activate with specified passphrase. (Passphrase incorrect?)"
    wrong, refused, answered = read(
        said, "Unsealing jwk from TPM failed!", "Successfully decrypted key with security token."
    )
    assert isinstance(wrong, PassphraseWrong)
    assert isinstance(refused, PinFailed)
    assert isinstance(answered, PinAnswered)
    assert (wrong.volume, refused.about, answered.about) == ("", "", "")


def test_a_volume_that_is_named_is_not_looked_for() -> None:
    [_, wrong] = read(attaching(7, "srv"), "cryptsetup: ERROR: var: cryptsetup failed, bad password or options?")
    assert isinstance(wrong, PassphraseWrong)
    assert wrong.volume == "var"


def test_prompts_are_counted_by_volume() -> None:
    asks = "Please enter passphrase for disk {}: "
    said = "\n".join(asks.format(name) for name in ("var", "srv", "var", "var")).encode()
    prompts = BootReader().feed(Stream.CONSOLE, said, 1.0)
    assert [(event.volume, event.number) for event in prompts if isinstance(event, PromptShown)] == [
        *(("var", 1), ("srv", 1), ("var", 2), ("var", 3))
    ]
    assert all(isinstance(event, PromptShown) and event.asks is PromptKind.PASSPHRASE for event in prompts)


def failures(*lines: str) -> list[tuple[str, bool]]:
    return [(event.reason, event.final) for event in read(*lines) if isinstance(event, PinFailed)]


def test_what_the_tpm_s_tools_said_explains_the_next_failure_of_a_tpm_s_pin_alone() -> None:
    refused = "Unsealing jwk from TPM failed!"
    assert failures(TPM_SAID, "Received invalid server reply!", refused, refused) == [
        ("Received invalid server reply!", False),
        (f"{refused} (Esys_Unseal(0x99D) - tpm:session(1):a policy check failed)", True),
        (refused, False),
    ]


def test_a_failure_that_is_final_stays_so_whatever_the_tpm_said() -> None:
    later = "ERROR: Esys_Load(0x902) - tpm:warn(2.0): out of memory"
    version = "The tpm2 pin requires a tpm2-tools version between 3 and 5"
    assert failures(later, version) == [(f"{version} (Esys_Load(0x902) - tpm:warn(2.0): out of memory)", True)]
    assert failures(later, "Loading jwk to TPM2 failed!")[0][1] is False


def test_clevis_works_on_the_device_that_it_named_last() -> None:
    tries = [f"{STAMP}clevis-luks-askpass[4]: clevis tries /dev/{name}" for name in "ab"]
    events = read(*tries, f"{STAMP}clevis-luks-askpass[4]: Unsealing jwk from TPM failed!")
    assert [event.device for event in events if isinstance(event, ClevisTries)] == ["/dev/a", "/dev/b"]
    assert [event.about for event in events if isinstance(event, PinFailed)] == ["/dev/b"]


TRIED, DENIED = "Verifying key from keyslot 1, digest 0.", "Digest 0 (pbkdf2) verify failed with -1."
MADE = "dm create var CRYPT-LUKS2-2f5c-var [ opencount flush ]"


def keyslots(*lines: str) -> list[KeyslotUsed]:
    return [event for event in read(*lines) if isinstance(event, KeyslotUsed)]


def test_the_keyslot_that_was_verified_and_not_denied_opened_the_volume() -> None:
    made = cryptsetup(7, MADE)
    assert keyslots(cryptsetup(7, TRIED), f" {made} ") == [KeyslotUsed(57.0, Stream.JOURNAL, made, 1, "var")]
    assert keyslots(cryptsetup(7, TRIED), cryptsetup(7, DENIED), made) == []
    assert keyslots(cryptsetup(7, DENIED), cryptsetup(7, TRIED), made, made) == [
        KeyslotUsed(57.0, Stream.JOURNAL, made, 1, "var")
    ]
    assert keyslots(cryptsetup(8, TRIED), made) == [], "another process"
    assert keyslots(cryptsetup(7, TRIED), cryptsetup(8, DENIED), made) != [], "another process"
