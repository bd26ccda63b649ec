"""What is typed, when, and what counts as the end or as a broken rig."""

from dataclasses import replace

import pytest

from harness.guest.events import (
    BootEntryFailed,
    BootEntryStarted,
    BootRefused,
    ClevisAnswered,
    DeviceTimedOut,
    EmergencyShell,
    Event,
    FirmwareStarted,
    IgnitionFailed,
    InitFailed,
    InitrdStarted,
    KernelBug,
    KernelStarted,
    LoginReached,
    NetworkUp,
    NoBootOption,
    NoPromptPossible,
    Panic,
    PassphraseWrong,
    PinFailed,
    PoweredOff,
    PromptKind,
    PromptShown,
    Rebooting,
    Stream,
    SystemStarted,
    SystemUp,
    TooManyAttempts,
    TpmTimeout,
    VolumeAttaching,
    VolumeFailed,
    VolumeUnlocked,
)
from harness.guest.failures import failed_for_good, failures, leaf_of
from harness.guest.plan import BootPlan, StageTimeouts, decide
from harness.guest.steps import Broken, Finish, Type, Wait
from harness.guest.volumes import VolumePlan
from harness.guest.witness import End, TypedPassphrase
from harness.policy.pins import CryptenrollPin, Pkcs11Pin, Sss, TangPin, Tpm2Pin
from harness.policy.policy import Volume

TPM, TANG, TWO = Tpm2Pin(), TangPin("tang", "@TANG_URL@"), TangPin("two", "@TANG_URL:two@")
BOTH, EITHER = Sss(2, (TPM, TANG)), Sss(1, (TPM, TANG))
URLS = {"tang": "http://10.0.2.2:8080", "two": "http://10.0.2.2:9090/"}
PLAN = BootPlan((VolumePlan("var", "/dev/vda5", BOTH, ("secret",)),), URLS)


def made(kind: type[Event], at: float, stream: Stream = Stream.CONSOLE, **fields: object) -> Event:
    return kind(at, stream, f"{kind.__name__} said", **fields)


def prompt(at: float, volume: str = "var") -> Event:
    return made(PromptShown, at, volume=volume, asks=PromptKind.PASSPHRASE)


def tang_failed(
    at: float, url: str = "http://10.0.2.2:8080", stream: Stream = Stream.JOURNAL, *, final: bool = False
) -> Event:
    return made(PinFailed, at, stream, pin="tang", reason="Error communicating", url=url, final=final)


def tpm_failed(at: float, *, final: bool = False) -> Event:
    return made(PinFailed, at, Stream.JOURNAL, pin="tpm2", reason="needed!", final=final)


STARTED = (made(FirmwareStarted, 2.0), made(BootEntryStarted, 3.0, entry="Boot0001"), made(KernelStarted, 8.0))
ONLINE = made(NetworkUp, 20.0, Stream.JOURNAL)
AT_PROMPT = (*STARTED, ONLINE, prompt(30.0))


def test_nothing_seen_waits_for_the_firmware() -> None:
    assert decide(PLAN, (), (), 1.0) == Wait(120.0, "the firmware to start", 0.0, fatal=True)


def test_the_firmware_then_the_kernel() -> None:
    assert decide(PLAN, STARTED[:2], (), 3.0) == Wait(183.0, "the kernel to start", 3.0, fatal=True)


def test_the_kernel_then_a_prompt() -> None:
    assert decide(PLAN, STARTED, (), 9.0) == Wait(308.0, "var to be asked for or to open", 8.0, fatal=True)


def test_a_prompt_is_no_reason_to_type() -> None:
    assert decide(PLAN, AT_PROMPT, (), 30.0) == Wait(60.0, "the pins of var to answer or to fail", 30.0, fatal=False)


def test_after_the_hold_time_it_types() -> None:
    assert isinstance(decide(PLAN, AT_PROMPT, (), 59.0), Wait)
    assert decide(PLAN, AT_PROMPT, (), 60.0) == Type("var", "secret")


def test_a_fast_guest_is_given_the_least_hold_time() -> None:
    assert decide(PLAN, (*STARTED, prompt(9.0)), (), 33.0) == Wait(
        34.0, "the pins of var to answer or to fail", 9.0, fatal=False
    )


def test_one_failure_is_no_reason_to_type() -> None:
    assert isinstance(decide(PLAN, (*AT_PROMPT, tang_failed(31.0)), (), 31.0), Wait)


def test_failures_decide_nothing_however_many() -> None:
    """A server that starts late, a PCR that changed during a policy session: the next try may open it."""
    many = (*AT_PROMPT, *(tang_failed(30.0 + number / 2) for number in range(40)), tpm_failed(51.0), tpm_failed(52.0))
    assert isinstance(decide(PLAN, many, (), 59.0), Wait)
    assert decide(PLAN, many, (), 60.0) == Type("var", "secret"), "the hold time is over"


def test_a_pin_that_failed_for_good_and_is_not_needed_is_waited_past() -> None:
    plan = replace(PLAN, volumes=(VolumePlan("var", "/dev/vda5", EITHER, ("secret",)),))
    events = (*AT_PROMPT, tang_failed(31.0, final=True))
    assert isinstance(decide(plan, events, (), 32.0), Wait)
    assert decide(plan, (*events, tpm_failed(33.0, final=True)), (), 34.0) == Type("var", "secret")


def test_one_failure_that_says_it_is_final_is() -> None:
    assert decide(PLAN, (*AT_PROMPT, tpm_failed(31.0, final=True)), (), 31.0) == Type("var", "secret")


def test_failures_are_never_typed_at_before_there_is_a_prompt() -> None:
    events = (*STARTED, ONLINE, tang_failed(21.0, final=True))
    assert isinstance(decide(PLAN, events, (), 200.0), Wait)


def test_holding_out_waits_although_the_pins_failed() -> None:
    events = (*AT_PROMPT, tang_failed(31.0, final=True))
    assert decide(PLAN, events, (), 32.0) == Type("var", "secret")
    assert isinstance(decide(replace(PLAN, hold_out=True), events, (), 32.0), Wait)
    assert decide(replace(PLAN, hold_out=True), events, (), 60.0) == Type("var", "secret")


def test_clevis_s_answer_is_given_the_time_to_open() -> None:
    answered = (*AT_PROMPT, made(ClevisAnswered, 50.0, device="/dev/disk/by-uuid/x", uuid="x"))
    assert decide(PLAN, answered, (), 100.0) == Wait(350.0, "var to open", 50.0, fatal=True)


def test_clevis_s_answer_that_was_wrong_is_none() -> None:
    events = (
        *AT_PROMPT,
        made(ClevisAnswered, 40.0, device="/dev/disk/by-uuid/x"),
        made(PassphraseWrong, 41.0, volume="var"),
        prompt(42.0),
    )
    assert decide(PLAN, events, (), 60.0) == Type("var", "secret")


def test_what_was_typed_is_given_the_time_to_open() -> None:
    typed = (TypedPassphrase(55.0, "var", 7),)
    assert decide(PLAN, AT_PROMPT, typed, 56.0) == Wait(355.0, "var to open", 55.0, fatal=True)


def test_wrong_passphrases_go_one_to_a_prompt() -> None:
    plan = replace(PLAN, volumes=(VolumePlan("var", "", None, ("wrong", "right")),))
    assert decide(plan, AT_PROMPT, (), 30.0) == Type("var", "wrong")
    typed = (TypedPassphrase(30.0, "var", 6),)
    wrong = (*AT_PROMPT, made(PassphraseWrong, 31.0, volume="var"))
    assert isinstance(decide(plan, wrong, typed, 31.0), Wait)  # systemd tries the cached one again before it asks
    assert decide(plan, (*wrong, prompt(35.0)), typed, 35.0) == Type("var", "right")


def test_all_was_typed_and_it_still_asks() -> None:
    typed = (TypedPassphrase(56.0, "var", 7),)
    wrong = made(PassphraseWrong, 58.0, volume="var")
    step = decide(PLAN, (*AT_PROMPT, wrong, prompt(60.0)), typed, 60.0)
    assert step == Finish(End.WAITING, "it asks for the passphrase of var, and 1 typed did not open it")


def test_a_prompt_that_comes_again_refuses_nothing() -> None:
    """Seen on a busy host: the agent showed a question anew before systemd-cryptsetup had taken its answer."""
    typed = (TypedPassphrase(56.0, "var", 7),)
    again = (*AT_PROMPT, prompt(56.1))
    step = decide(PLAN, again, typed, 57.0)
    assert isinstance(step, Wait)
    assert step.awaited == "var to open"
    twice = (*again, made(PassphraseWrong, 57.0, volume="var"))
    assert isinstance(decide(PLAN, twice, typed, 57.0), Finish)


TWO_VOLUMES = replace(
    PLAN, volumes=(VolumePlan("var", "/dev/a", None, ("v",)), VolumePlan("srv", "/dev/b", None, ("s",)))
)
TYPED_AT_56 = (TypedPassphrase(56.0, "var", 2),)
OPENING = Wait(356.0, "var to open", 56.0, fatal=True)


@pytest.mark.parametrize(
    ("plan", "wrong", "refused"),
    [
        (TWO_VOLUMES, made(PassphraseWrong, 57.0, volume="var"), True),
        (TWO_VOLUMES, made(PassphraseWrong, 57.0, volume="srv"), False),
        (TWO_VOLUMES, made(PassphraseWrong, 57.0, volume=""), False),
        (replace(PLAN, volumes=TWO_VOLUMES.volumes[:1]), made(PassphraseWrong, 57.0, volume=""), True),
        (TWO_VOLUMES, made(PassphraseWrong, 56.0, volume="var"), True),
        (TWO_VOLUMES, made(PassphraseWrong, 55.0, volume="var"), False),
    ],
    ids=["it", "another one", "nobody says which of two", "the only one", "in that moment", "an earlier answer"],
)
def test_whose_answer_was_refused(plan: BootPlan, wrong: Event, refused: bool) -> None:
    step = decide(plan, (*AT_PROMPT, wrong, prompt(60.0)), TYPED_AT_56, 61.0)
    asks = Finish(End.WAITING, "it asks for the passphrase of var, and 1 typed did not open it")
    assert step == (asks if refused else OPENING)


def test_an_answer_counts_from_the_moment_of_the_prompt_on() -> None:
    for at in (30.0, 31.0):
        answered = made(ClevisAnswered, at, device="/dev/disk/by-uuid/x", uuid="x")
        assert decide(PLAN, (*AT_PROMPT, answered), (), 40.0) == Wait(at + 300.0, "var to open", at, fatal=True)


def test_nothing_to_type_ends_when_the_pins_cannot_open_it() -> None:
    plan = replace(PLAN, volumes=(VolumePlan("var", "", BOTH),))
    assert isinstance(decide(plan, AT_PROMPT, (), 40.0), Wait)
    events = (*AT_PROMPT, tpm_failed(31.0, final=True))
    assert decide(plan, events, (), 32.0) == Finish(
        End.WAITING, "it asks for the passphrase of var, and its pins cannot open it"
    )
    assert decide(plan, AT_PROMPT, (), 60.0) == Finish(
        End.WAITING, "it asks for the passphrase of var, and no pin opened it within 30 s of the prompt"
    )


def test_an_open_volume_then_the_end() -> None:
    events = (*AT_PROMPT, made(VolumeUnlocked, 40.0, volume="var"))
    assert decide(PLAN, events, (), 41.0) == Wait(340.0, "the boot to finish", 40.0, fatal=True)
    for end in (SystemUp, LoginReached):
        assert decide(PLAN, (*events, made(end, 50.0)), (), 50.0) == Finish(
            End.UP, f"the boot went through: {end.__name__} said"
        )


def test_a_plan_without_volumes_waits_for_the_end() -> None:
    installing = Wait(920.0, "Ignition to finish, and the system to start", 20.0, fatal=True)
    assert decide(BootPlan(()), AT_PROMPT, (), 41.0) == installing
    events = (*AT_PROMPT, made(SystemStarted, 40.0))
    assert decide(BootPlan(()), events, (), 41.0) == Wait(340.0, "the boot to finish", 40.0, fatal=True)


def test_failures_that_repeat_are_no_milestone() -> None:
    step = decide(PLAN, (*STARTED, tang_failed(100.0)), (), 100.0)
    assert step == Wait(308.0, "var to be asked for or to open", 8.0, fatal=True)
    assert decide(PLAN, (tang_failed(100.0),), (), 100.0) == replace(step, until=300.0, since=0.0)


def test_a_prompt_for_a_volume_that_the_policy_has_not_is_never_answered() -> None:
    events = (*STARTED, prompt(30.0, "swap"))
    assert decide(PLAN, events, (), 100.0) == Wait(
        308.0, "var to be asked for or to open (it asks for swap)", 8.0, fatal=True
    )


def pin_prompt(at: float, number: int = 1) -> Event:
    return made(PromptShown, at, volume="", asks=PromptKind.PIN, number=number)


def test_a_pin_prompt_is_answered_with_pins_alone() -> None:
    step = decide(PLAN, (*STARTED, pin_prompt(30.0)), (), 100.0)
    assert isinstance(step, Finish)
    assert step.end is End.WAITING
    assert "the PIN" in step.why


def test_pins_are_typed_in_order_and_never_twice_at_one_prompt() -> None:
    plan = replace(PLAN, volumes=(VolumePlan("var", "", TPM, ("secret",), ("0000", "2580")),))
    asked = (*STARTED, pin_prompt(30.0))
    assert decide(plan, asked, (), 31.0) == Type("var", "0000", pin=True)
    first = (TypedPassphrase(31.0, "var", 5, pin=True),)
    assert isinstance(decide(plan, asked, first, 32.0), Wait)
    again = (*asked, pin_prompt(33.0, 2))
    assert decide(plan, again, first, 34.0) == Type("var", "2580", pin=True)
    both = (*first, TypedPassphrase(34.0, "var", 5, pin=True))
    late = decide(plan, again, both, 34.0 + plan.timeouts.opening)
    assert late == Wait(334.0, "var to open by the PIN", 34.0, fatal=True)
    assert decide(plan, (*again, pin_prompt(35.0, 3)), both, 36.0) == Finish(
        End.WAITING, "it asks for the PIN, and 2 typed did not open it"
    )


def test_a_passphrase_may_follow_a_pin() -> None:
    plan = replace(PLAN, volumes=(VolumePlan("var", "", None, ("secret",), ("0000",)),))
    typed = (TypedPassphrase(31.0, "var", 5, pin=True),)
    assert decide(plan, (*STARTED, pin_prompt(30.0), prompt(40.0)), typed, 41.0) == Type("var", "secret")


def test_a_prompt_may_name_the_device() -> None:
    plan = replace(PLAN, volumes=(VolumePlan("var", "/dev/disk/by-partlabel/var", None, ("secret",)),))
    assert decide(plan, (*STARTED, prompt(30.0, "/dev/vda5")), (), 30.0) == Type("var", "secret")


def test_several_volumes_each_get_their_own() -> None:
    volumes = (VolumePlan("root", "/dev/a", TANG, ("r",)), VolumePlan("var", "/dev/b", TWO, ("v",)))
    plan = BootPlan(volumes, URLS)
    attaching = made(VolumeAttaching, 29.0, Stream.JOURNAL, volume="var", device="/dev/disk/by-uuid/v")
    events: tuple[Event, ...] = (*STARTED, ONLINE, attaching, prompt(30.0, "root"))
    assert isinstance(decide(plan, (*events, tang_failed(31.0, URLS["two"], final=True)), (), 33), Wait)
    events = (*events, tang_failed(31.0, final=True))
    assert decide(plan, events, (), 33.0) == Type("root", "r")
    typed = (TypedPassphrase(33.0, "root", 2),)
    events = (*events, made(VolumeUnlocked, 35.0, volume="root"))
    assert isinstance(decide(plan, events, typed, 35.0), Wait)
    events = (*events, prompt(36.0, "var"))
    assert isinstance(decide(plan, events, typed, 37.0), Wait)
    other = made(ClevisAnswered, 38.0, device="/dev/disk/by-uuid/other")
    assert decide(plan, (*events, other), typed, 88.0) == Type("var", "v")
    own = made(ClevisAnswered, 38.0, device="/dev/disk/by-uuid/v")
    assert isinstance(decide(plan, (*events, own), typed, 61.0), Wait)


@pytest.mark.parametrize("kind", [Panic, KernelBug, TpmTimeout, IgnitionFailed, InitFailed])
def test_the_guest_is_broken(kind: type[Event]) -> None:
    step = decide(PLAN, (*AT_PROMPT, made(kind, 31.0), made(SystemUp, 32.0)), (), 33.0)
    assert isinstance(step, Broken)
    assert f"{kind.__name__} said" in step.what
    assert step.by_itself is (kind in (IgnitionFailed, InitFailed))


def test_the_journal_says_best_what_broke() -> None:
    console, journal = made(IgnitionFailed, 31.0), IgnitionFailed(31.5, Stream.JOURNAL, "sgdisk said no")
    assert decide(PLAN, (*AT_PROMPT, console, journal), (), 33.0) == Broken(
        "Ignition failed: sgdisk said no", by_itself=True
    )


@pytest.mark.parametrize("kind", [EmergencyShell, PoweredOff, Rebooting])
def test_an_end_with_a_volume_shut_is_a_verdict(kind: type[Event]) -> None:
    """An emergency shell, or a guest that turns itself off, is no sign of a rig that failed."""
    step = decide(PLAN, (*AT_PROMPT, made(kind, 31.0)), (), 33.0)
    assert isinstance(step, Finish)
    assert step.end is End.SHUT
    assert step.why.endswith(f"var stayed shut: {kind.__name__} said")


ENDS = [
    made(EmergencyShell, 41.0),
    made(PoweredOff, 41.0),
    made(Rebooting, 41.0),
    made(SystemUp, 41.0),
    made(VolumeFailed, 31.0, volume="var"),
]


@pytest.mark.parametrize("end", ENDS)
def test_a_disk_given_up_by_a_clock_that_runs_ahead_is_no_verdict(end: Event) -> None:
    """Seen on a host under load: 1,080 s on the guest's clock after 40 s of its machine, then an emergency shell."""
    early = made(DeviceTimedOut, 40.0, guest_seconds=1080.0)
    step = decide(PLAN, (*STARTED, early, end), (), 45.0)
    assert isinstance(step, Broken)
    assert "counted 1080 s where its machine had 40 s" in step.what
    assert step.starved
    in_time = made(DeviceTimedOut, 100.0, guest_seconds=98.0)
    assert not isinstance(decide(PLAN, (*STARTED, in_time, end), (), 45.0), Broken), "the disk is really gone"
    bound = made(DeviceTimedOut, 40.0, guest_seconds=60.0)
    assert not isinstance(decide(PLAN, (*STARTED, bound, end), (), 45.0), Broken), "so far ahead a clock may be"
    opened = made(VolumeUnlocked, 30.0, volume="var")
    if isinstance(end, SystemUp):
        assert decide(PLAN, (*STARTED, opened, early, end), (), 45.0) == Finish(
            End.UP, f"the boot went through: {end.line}"
        )


@pytest.mark.parametrize(
    "said", [made(TooManyAttempts, 31.0, volume="var"), made(NoPromptPossible, 31.0, reason="headless")]
)
def test_what_needs_no_clock_is_a_verdict_whatever_the_clock_says(said: Event) -> None:
    early = made(DeviceTimedOut, 30.0, guest_seconds=1080.0)
    assert decide(PLAN, (*STARTED, early, said), (), 45.0) == Finish(End.SHUT, f"the guest gave up: {said.line}")


@pytest.mark.parametrize("kind", [EmergencyShell, PoweredOff, Rebooting])
def test_an_end_with_every_volume_open_is_none(kind: type[Event]) -> None:
    events = (*AT_PROMPT, made(VolumeUnlocked, 31.0, volume="var"), made(kind, 32.0))
    step = decide(PLAN, events, (), 33.0)
    assert isinstance(step, Broken)
    assert "no volume stayed shut" in step.what
    assert step.by_itself
    installation = decide(BootPlan(()), (*STARTED, made(kind, 9.0)), (), 10.0)
    assert isinstance(installation, Broken)
    assert installation.by_itself


def test_a_guest_that_lives_and_asks_nothing_keeps_its_volume_shut() -> None:
    lives = (*STARTED, made(InitrdStarted, 10.0))
    assert decide(PLAN, lives, (), 309.0) == Wait(310.0, "var to be asked for or to open", 10.0, fatal=False)
    assert decide(PLAN, lives, (), 310.0) == Finish(End.SHUT, "var stayed shut, and nothing was asked within 300 s")
    asks = (*lives, prompt(12.0, "swap"))
    assert isinstance(decide(PLAN, asks, (), 400.0), Wait)


def test_all_volumes_that_are_shut_are_named() -> None:
    plan = replace(PLAN, volumes=(*PLAN.volumes, VolumePlan("srv")))
    lives = (*STARTED, made(InitrdStarted, 10.0))
    awaited = "var and srv to be asked for or to open"
    assert decide(plan, lives, (), 309.0) == Wait(310.0, awaited, 10.0, fatal=False)
    assert decide(plan, (*lives, prompt(12.0, "swap")), (), 13.0) == Wait(
        310.0, f"{awaited} (it asks for swap)", 10.0, fatal=True
    )
    assert decide(plan, lives, (), 310.0) == Finish(
        End.SHUT, "var and srv stayed shut, and nothing was asked within 300 s"
    )
    assert decide(plan, (*lives, made(EmergencyShell, 31.0)), (), 32.0) == Finish(
        End.SHUT, "the boot ended in an emergency shell, and var and srv stayed shut: EmergencyShell said"
    )
    assert decide(plan, (*lives, made(PoweredOff, 31.0)), (), 32.0) == Finish(
        End.SHUT, "the guest stopped in mid-boot, and var and srv stayed shut: PoweredOff said"
    )


@pytest.mark.parametrize("kind", [EmergencyShell, PoweredOff, Rebooting])
@pytest.mark.parametrize(
    "gave_up",
    [
        made(TooManyAttempts, 31.0, volume="var"),
        made(NoPromptPossible, 31.0, reason="headless"),
        made(VolumeFailed, 31.0, volume="var"),
    ],
)
def test_an_end_after_a_locked_volume_is_a_verdict(kind: type[Event], gave_up: Event) -> None:
    step = decide(PLAN, (*STARTED, gave_up, made(kind, 32.0)), (), 32.0)
    assert step == Finish(End.SHUT, f"the guest gave up: {gave_up.line}")


def test_the_guest_s_last_words_are_waited_for() -> None:
    gave_up = made(VolumeFailed, 31.0, volume="var")
    assert decide(PLAN, (*AT_PROMPT, gave_up), (), 32.0) == Wait(34.0, "the guest's last words", 31.0, fatal=False)
    assert isinstance(decide(PLAN, (*AT_PROMPT, gave_up), (), 34.0), Finish)


REFUSED = made(BootRefused, 3.0, reason="Access Denied")


def test_a_refused_image_settles() -> None:
    assert decide(PLAN, (STARTED[0], REFUSED), (), 4.0) == Wait(6.0, "the guest's last words", 3.0, fatal=False)
    assert decide(PLAN, (STARTED[0], REFUSED), (), 6.0) == Finish(
        End.REFUSED, "the boot image was refused: BootRefused said"
    )


def test_a_refused_image_with_nothing_else_to_boot() -> None:
    assert isinstance(decide(PLAN, (STARTED[0], REFUSED, made(NoBootOption, 3.5)), (), 3.5), Finish)


def test_a_refused_image_and_then_another_one() -> None:
    events = (STARTED[0], REFUSED, made(BootEntryStarted, 4.0, entry="Boot0002"))
    assert decide(PLAN, events, (), 50.0) == Wait(184.0, "the kernel to start", 4.0, fatal=True)
    assert isinstance(decide(PLAN, (*events, made(KernelStarted, 60.0)), (), 60.0), Wait)


def test_nothing_to_boot_is_the_rig_s_fault() -> None:
    missing = made(BootEntryFailed, 3.0, entry="Boot0001", reason="Not Found")
    step = decide(PLAN, (STARTED[0], missing, made(NoBootOption, 4.0)), (), 4.0)
    assert step == Broken("the firmware found nothing to boot: BootEntryFailed said; NoBootOption said")


def test_the_usual_plan_of_a_policy() -> None:
    volumes = [
        Volume("root", "/dev/a", BOTH, "secret", "/"),
        Volume("var", "/dev/b", None, None, "/var"),
    ]
    usual = BootPlan.for_volumes(volumes, URLS)
    planned = (VolumePlan("root", "/dev/a", BOTH, ("secret",)), VolumePlan("var", "/dev/b", None))
    assert usual == BootPlan(planned, URLS, hold=25.0, hold_out=False)
    assert BootPlan.for_volumes(volumes, URLS, hold_out=True) == replace(usual, hold_out=True)
    assert [volume.typing for volume in BootPlan.for_volumes(volumes, URLS, typing=()).volumes] == [(), ()]
    assert BootPlan.for_volumes(volumes, URLS, typing=("x", "y")).volumes[0].typing == ("x", "y")
    assert (usual.hold, BootPlan.for_volumes(volumes, URLS, hold=330.0).hold) == (25.0, 330.0)
    later = BootPlan.for_volumes(volumes, URLS, ask_within=900.0)
    assert later == replace(usual, timeouts=StageTimeouts(prompt=900.0))
    assert usual.urls == URLS


def test_the_pin_is_given_as_often_as_systemd_asks_for_it() -> None:
    volume = Volume("var", "/dev/b", CryptenrollPin((7,), asks_pin=True), "secret", "/var", tpm_pin="2580")
    assert BootPlan.for_volumes([volume], URLS).volumes[0].tpm_pins == ("2580", "2580")
    assert BootPlan.for_volumes([volume], URLS, tpm_pins=("1",)).volumes[0].tpm_pins == ("1",)
    assert BootPlan.for_volumes([volume], URLS, typing=("x",)).volumes[0].tpm_pins == ()


@pytest.mark.parametrize(
    ("event", "pins", "leaf"),
    [
        (tpm_failed(1.0), BOTH, "tpm2"),
        (tpm_failed(1.0), TANG, None),
        (tang_failed(1.0), BOTH, "tang"),
        (tang_failed(1.0, "http://10.0.2.2:8080/"), Sss(1, (TANG, TWO)), "tang"),
        (tang_failed(1.0, "http://10.0.2.2:9090"), Sss(1, (TANG, TWO)), "two"),
        (tang_failed(1.0, "http://elsewhere"), Sss(1, (TANG, TWO)), None),
        (tang_failed(1.0, "http://elsewhere"), BOTH, None),
        (tang_failed(1.0, ""), BOTH, "tang"),
        (tang_failed(1.0, ""), Sss(1, (TANG, TWO)), None),
        (tang_failed(1.0), TPM, None),
        (made(PinFailed, 1.0, pin="pkcs11", reason="x", url="http://elsewhere"), Pkcs11Pin(), "pkcs11"),
        (made(PinFailed, 1.0, pin="yubikey", reason="x"), BOTH, None),
    ],
)
def test_which_leaf_a_failure_is_about(event: PinFailed, pins: Sss, leaf: str | None) -> None:
    assert leaf_of(event, pins, URLS) == leaf


def test_a_server_whose_address_we_were_not_told_is_meant_if_it_is_the_only_one() -> None:
    failure = tang_failed(1.0, "http://elsewhere")
    assert isinstance(failure, PinFailed)
    assert leaf_of(failure, BOTH, {}) == "tang"
    assert leaf_of(failure, Sss(1, (TANG, TWO)), {}) is None


def test_a_server_is_known_by_all_of_its_address_but_a_slash() -> None:
    urls = {"tang": "http://h/X/", "two": "http://h"}
    for url in ("http://h/X", "http://h/X/"):
        failure = tang_failed(1.0, url)
        assert isinstance(failure, PinFailed)
        assert leaf_of(failure, Sss(1, (TANG, TWO)), urls) == "tang"


def test_an_echo_on_the_other_stream_is_no_second_attempt() -> None:
    echo = replace(tang_failed(21.1, stream=Stream.CONSOLE), line="the same with another stamp")
    events = (ONLINE, tang_failed(21.0), echo)
    assert len(failures(BOTH, events, URLS)["tang"]) == 1
    assert failed_for_good(BOTH, events, URLS) == frozenset()
    alone = (ONLINE, tang_failed(21.0, stream=Stream.CONSOLE, final=True))
    assert failed_for_good(BOTH, alone, URLS) == {"tang"}
