"""The driver against a guest that is a script over socket pairs, and that says one byte at a time."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from harness.deadline import Clock
from harness.errors import GuestError, RigError, StallError
from harness.guest import driver
from harness.guest.driver import drained, watch
from harness.guest.events import Event, IgnitionFailed, LoginReached, PinFailed, PromptShown, Stream
from harness.guest.plan import BootPlan, StageTimeouts
from harness.guest.volumes import VolumePlan
from harness.guest.witness import End, Observation
from harness.policy.pins import Sss, TangPin, Tpm2Pin

PINS = Sss(2, (Tpm2Pin(), TangPin("tang", "@TANG_URL@")))
PLAN = BootPlan(
    (VolumePlan("var", "/dev/vda5", PINS, ("secret",)),),
    {"tang": "http://10.0.2.2:8080"},
    hold=1.0,
    settle=0.05,
    timeouts=StageTimeouts(20.0, 20.0, 20.0, 20.0, 20.0),
)
START = "BdsDxe: loading Boot0001 x\r\nBdsDxe: starting Boot0001 x\r\n[    0.000000] Linux version 6.12\r\n"
PROMPT = "Please enter passphrase for disk var: (press TAB for no echo) "
OPEN = "\r\n[  OK  ] Finished systemd-cryptsetup@var.service - Cryptography Setup for var.\r\n"
LOGIN = "\r\nunlock-lab login: "
ONLINE = "[    9.000000] systemd-networkd[2]: e: DHCPv4 address 10.0.2.15/24 acquired\n"
KEY_GONE = "[   10.000000] clevis-luks-askpass[3]: JWE missing required 'clevis.tang.url' header parameter!\n"
TANG_FAILED = "[   10.000000] clevis-luks-askpass[3]: Error communicating with server http://10.0.2.2:8080\n"
ANSWERED = "[   10.000000] clevis-luks-askpass[3]: Unlocked /dev/vda5 (UUID=1-2) successfully\n"


def running(pace: float) -> Clock:
    """A machine's own time, which passes at this pace of the wall's."""
    started = time.monotonic()
    return lambda: (time.monotonic() - started) * pace


@dataclass
class FakeRig:
    """Sockets where a rig would be."""

    console: socket.socket
    journal: socket.socket
    wake_fds: tuple[int, ...] = ()
    clock: Clock = field(default_factory=lambda: running(1.0))
    what: str | None = None
    asked: int = 0

    def failure(self) -> str | None:
        self.asked += 1
        return self.what


@dataclass
class Guest:
    """The other ends."""

    console: socket.socket
    journal: socket.socket
    wake_fd: int
    rig: FakeRig
    heard: bytearray = field(default_factory=bytearray)

    def say(self, text: str) -> None:
        for byte in text.encode():
            self.console.send(bytes([byte]))

    def log(self, text: str) -> None:
        for byte in text.encode():
            self.journal.send(bytes([byte]))

    def hear_line(self) -> str:
        self.console.settimeout(5)
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self.console.recv(1)
        self.heard += line
        return line.decode()


@pytest.fixture
def guest() -> Iterator[Guest]:
    ours, theirs = socket.socketpair()
    journal, their_journal = socket.socketpair()
    wake_fd, their_alarm = os.pipe()
    rig = FakeRig(ours, journal, (wake_fd,))
    with ours, theirs, journal, their_journal:
        yield Guest(theirs, their_journal, their_alarm, rig)
    for descriptor in (wake_fd, their_alarm):
        os.close(descriptor)


def boot(guest: Guest, script: Callable[[Guest], None], plan: BootPlan = PLAN, **options: object) -> Observation:
    """Watch while the script runs. What the script raises is raised here."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            script(guest)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        return watch(guest.rig, plan, **options)  # type: ignore[arg-type]
    finally:
        thread.join(10)
        if raised:
            raise raised[0]


def nothing_more(guest: Guest) -> None:
    guest.console.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        guest.heard += guest.console.recv(100)


def test_auto_unlock_types_nothing(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say(START + PROMPT)
        guest.log(ONLINE + ANSWERED)
        guest.say(OPEN + LOGIN)

    seen = boot(guest, script)
    nothing_more(guest)
    assert seen.end is End.UP
    assert seen.typed == ()
    assert guest.heard == b""
    assert 0 < seen.at < 5


def test_the_evidence_that_trails_is_read(guest: Guest) -> None:
    def trail(event: Event) -> None:
        if isinstance(event, LoginReached):
            guest.log(TANG_FAILED)
        elif isinstance(event, PinFailed):
            guest.log(ANSWERED)

    seen = boot(guest, lambda guest: guest.say(START + PROMPT + OPEN + LOGIN), on_event=trail)
    assert any("successfully" in event.line for event in seen.events)


def test_a_guest_that_is_quiet_is_not_listened_to_for_long(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_DRAIN_SECONDS", 90.0)
    started = time.monotonic()
    boot(guest, lambda guest: guest.say(START + OPEN + LOGIN))
    assert time.monotonic() - started < 30


def test_fallback_types_the_passphrase_once_the_pin_failed_for_good(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say(START)
        guest.log(ONLINE + KEY_GONE)
        time.sleep(0.1)
        nothing_more(guest)
        assert guest.heard == b"", "typed before the prompt"
        guest.say(PROMPT)
        assert guest.hear_line() == "secret\n"
        guest.say("******" + OPEN + LOGIN)

    seen = boot(guest, script)
    assert seen.end is End.UP
    assert [(entry.volume, entry.size, entry.pin) for entry in seen.typed] == [("var", 7, False)]
    (asked,) = (event.at for event in seen.events if isinstance(event, PromptShown))
    assert asked <= seen.typed[0].at <= seen.at


def test_fallback_types_when_the_hold_time_is_over(guest: Guest) -> None:
    times: list[float] = []

    def script(guest: Guest) -> None:
        guest.say(START + PROMPT)
        times.append(time.monotonic())
        guest.hear_line()
        times.append(time.monotonic())
        guest.say(OPEN + LOGIN)

    seen = boot(guest, script)
    assert seen.hold == PLAN.hold
    assert times[1] - times[0] >= PLAN.hold * 0.9


def test_wrong_passphrases_first(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say(START + PROMPT)
        assert guest.hear_line() == "wrong\n"
        guest.log(
            "[   10.0] systemd-cryptsetup[4]: Failed to activate with specified passphrase. (Passphrase incorrect?)\n"
        )
        guest.say("\r\n" + PROMPT)
        assert guest.hear_line() == "secret\n"
        guest.say(OPEN + LOGIN)

    plan = replace(PLAN, volumes=(VolumePlan("var", "", None, ("wrong", "secret")),))
    seen = boot(guest, script, plan)
    assert [entry.size for entry in seen.typed] == [6, 7]
    assert sum(isinstance(event, PromptShown) for event in seen.events) == 2


def test_a_pin_that_is_typed_is_told_from_a_passphrase(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say(START + "Please enter TPM2 PIN: ")
        assert guest.hear_line() == "1234\n"
        guest.say(OPEN + LOGIN)

    volume = VolumePlan("var", "", Tpm2Pin(), ("secret",), tpm_pins=("1234",))
    seen = boot(guest, script, replace(PLAN, volumes=(volume,)))
    assert [(entry.volume, entry.size, entry.pin) for entry in seen.typed] == [("var", 5, True)]


def test_nothing_to_type_ends_at_the_prompt(guest: Guest) -> None:
    plan = replace(PLAN, hold=0.1, volumes=(VolumePlan("var", "", PINS),))
    seen = boot(guest, lambda guest: guest.say(START + PROMPT), plan)
    assert seen.end is End.WAITING
    assert seen.typed == ()


def test_the_guest_gives_up(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say(START)
        guest.log("[   10.0] systemd-cryptsetup[4]: Password querying disabled via 'headless' option.\n")

    seen = boot(guest, script)
    assert seen.end is End.SHUT
    assert "headless" in seen.why


def test_the_firmware_refuses(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say("BdsDxe: loading Boot0001 x\r\nBdsDxe: failed to load Boot0001 x: Access Denied\r\n")

    assert boot(guest, script).end is End.REFUSED


def test_the_world_may_be_changed_in_mid_boot(guest: Guest) -> None:
    def back(event: Event) -> None:
        if isinstance(event, PinFailed):
            guest.log(ANSWERED)
            guest.say(OPEN + LOGIN)

    def script(guest: Guest) -> None:
        guest.say(START + PROMPT)
        guest.log(ONLINE + TANG_FAILED)

    seen = boot(guest, script, on_event=back)
    assert seen.typed == ()


def test_the_console_is_shown_live(guest: Guest) -> None:
    shown = bytearray()
    boot(guest, lambda guest: guest.say(START + OPEN + LOGIN), live=shown.extend)
    assert shown.decode() == START + OPEN + LOGIN


def test_the_last_words_of_a_guest_that_never_falls_quiet_are_not_awaited_for_ever(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_DRAIN_SECONDS", 0.3)
    judged = threading.Event()

    def chatter() -> None:
        while not judged.wait(0.02):
            guest.say(".")

    talking = threading.Thread(target=chatter)

    def script(guest: Guest) -> None:
        guest.say(START + OPEN + LOGIN)
        talking.start()

    try:
        assert boot(guest, script).end is End.UP
    finally:
        judged.set()
        talking.join(10)


@pytest.mark.parametrize(
    ("stage", "said", "awaited"),
    [
        ("firmware", "", "the firmware to start"),
        ("kernel", "BdsDxe: loading Boot0001 x\r\n", "the kernel to start"),
        ("prompt", START, "var to be asked for or to open"),
        ("finish", START + OPEN, "the boot to finish"),
    ],
)
def test_each_stage_has_a_deadline(guest: Guest, stage: str, said: str, awaited: str) -> None:
    hasty = replace(PLAN, timeouts=replace(PLAN.timeouts, **{stage: 0.5}))
    with pytest.raises(RigError, match=rf"waited \d s for {awaited}") as caught:
        boot(guest, lambda guest: guest.say(said), hasty)
    assert caught.value.detail.splitlines() == (
        [line for line in said.splitlines() if line] or ["(the console said nothing)"]
    )
    assert "no verdict about the guest" in caught.value.hint


def test_a_deadline_counts_from_what_was_seen_last(guest: Guest) -> None:
    """The firmware took its time; the kernel has no more than its own."""
    clock = guest.rig.clock
    guest.rig.clock = lambda: 1000 + clock()
    plan = replace(PLAN, timeouts=replace(PLAN.timeouts, firmware=2000.0, kernel=0.5))
    with pytest.raises(RigError, match=r"waited \d s for the kernel to start"):
        boot(guest, lambda guest: guest.say("BdsDxe: loading Boot0001 x\r\n"), plan)


def test_a_deadline_is_over_at_its_very_second(guest: Guest) -> None:
    guest.rig.clock = lambda: 20.0
    with pytest.raises(RigError, match="waited 20 s for the firmware to start"):
        watch(guest.rig, PLAN)


def test_a_passphrase_that_nobody_takes_has_a_deadline(guest: Guest) -> None:
    with pytest.raises(RigError, match="for var to open"):
        boot(
            guest,
            lambda guest: guest.say(START + PROMPT),
            replace(PLAN, hold=0.1, timeouts=replace(PLAN.timeouts, opening=0.5)),
        )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("[    9.000000] Kernel panic - not syncing: x\r\n", "kernel panicked"),
        ("[    9.000000] tpm tpm0: Operation Timed out\r\n", "TPM driver timed out"),
    ],
)
def test_a_broken_guest(guest: Guest, said: str, words: str) -> None:
    with pytest.raises(RigError, match=words) as caught:
        boot(guest, lambda guest: guest.say(START + said + "trailing words\r\n"))
    assert "trailing words" in caught.value.detail


def test_the_last_lines_are_whole_where_the_kernel_cut_into_them(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say("BdsDxe: loa[    1.000000] kernel\r\nding Boot0001 x\r\n")

    with pytest.raises(RigError) as caught:
        boot(guest, script, replace(PLAN, timeouts=replace(PLAN.timeouts, kernel=0.5)))
    assert caught.value.detail.splitlines() == ["[    1.000000] kernel", "BdsDxe: loading Boot0001 x"]


def test_the_firmware_that_finds_nothing_is_no_stall_and_no_fault_of_the_guest(guest: Guest) -> None:
    said = "BdsDxe: loading Boot0001 x\r\nBdsDxe: No bootable option or device was found.\r\n"
    with pytest.raises(RigError, match="found nothing to boot") as caught:
        boot(guest, lambda guest: guest.say(said))
    assert type(caught.value) is RigError


def test_a_guest_that_went_wrong_by_itself_is_no_fault_of_the_rig(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.log("[    9.310000] ignition[123]: CRITICAL : Ignition failed: sgdisk said no\n")
        guest.say(START + "trailing words\r\n")

    with pytest.raises(GuestError, match="sgdisk said no") as caught:
        boot(guest, script)
    assert "trailing words" in caught.value.detail
    assert "the rig worked" in caught.value.hint


def test_a_kernel_with_nothing_to_run_is_not_tried_again(guest: Guest) -> None:
    """It would panic at each boot."""
    panic = "[    9.000000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"
    with pytest.raises(GuestError, match=r"nothing to run: .*Unable to mount root fs"):
        boot(guest, lambda guest: guest.say(START + panic))


def test_a_kernel_that_stalled_before_it_had_nothing_to_run_is_tried_again(guest: Guest) -> None:
    """A starved init may have given up."""
    stall = "[    8.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!\r\n"
    panic = "[    9.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n"
    with pytest.raises(StallError, match=r"nothing to run: .*Attempted to kill init"):
        boot(guest, lambda guest: guest.say(START + stall + panic))


def test_why_the_guest_went_wrong_may_come_last(guest: Guest) -> None:
    def explain(event: Event) -> None:
        if isinstance(event, IgnitionFailed) and event.stream is Stream.CONSOLE:
            guest.log("[    9.310000] ignition[123]: CRITICAL : Ignition failed: sgdisk said no\n")

    said = "[FAILED] Failed to start ignition-disks.service - Ignition (disks).\r\n"
    with pytest.raises(GuestError, match="sgdisk said no"):
        boot(guest, lambda guest: guest.say(START + said), on_event=explain)


def test_a_disk_given_up_too_early_is_a_stall_and_so_tried_again(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say(START)
        guest.log("[ 1080.310000] systemd[1]: Timed out waiting for device dev-vdb.device.\n")
        guest.say("You are in emergency mode.\r\n")

    with pytest.raises(StallError, match="the guest's clock counted 1080 s"):
        boot(guest, script)


def test_a_stall_is_one_even_if_the_disk_opens_at_last(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.log("[ 1080.310000] systemd[1]: Timed out waiting for device dev-vdb.device.\n")
        guest.say(START + LOGIN)

    def open_it(event: Event) -> None:
        if isinstance(event, LoginReached):
            guest.say(OPEN)

    with pytest.raises(StallError, match="the guest's clock counted 1080 s"):
        boot(guest, script, on_event=open_it)


def test_a_machine_that_is_starved_is_given_the_time_that_it_lost(guest: Guest) -> None:
    """Its stage may take 0.5 s of its own time, and it gets a fifth of a processor."""
    guest.rig.clock = running(0.2)

    def script(guest: Guest) -> None:
        guest.say(START)
        time.sleep(1.2)
        guest.say(PROMPT)
        guest.hear_line()
        guest.say(OPEN + LOGIN)

    plan = replace(PLAN, hold=0.1, timeouts=replace(PLAN.timeouts, prompt=0.5))
    assert boot(guest, script, plan).end is End.UP


def test_a_hold_time_is_the_machine_s(guest: Guest) -> None:
    guest.rig.clock = running(0.1)
    asked: list[float] = []

    def script(guest: Guest) -> None:
        guest.say(START + PROMPT)
        asked.append(time.monotonic())
        guest.hear_line()
        asked.append(time.monotonic())
        guest.say(OPEN + LOGIN)

    boot(guest, script, replace(PLAN, hold=0.1))
    assert asked[1] - asked[0] >= 0.8


def test_an_emergency_shell_is_a_verdict_when_a_volume_is_shut(guest: Guest) -> None:
    said = "Entering emergency mode. Exit the shell to continue.\r\n"
    assert boot(guest, lambda guest: guest.say(START + said)).end is End.SHUT


def test_a_console_that_closes(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say(START)
        guest.console.shutdown(socket.SHUT_RDWR)

    with pytest.raises(RigError) as caught:
        boot(guest, script)
    assert caught.value.what == "the machine went off in mid-boot: its console closed"


def test_a_machine_that_dies_with_what_was_typed_went_off_too(guest: Guest) -> None:
    """The kernel says so by ECONNRESET, and not by an end of the stream."""

    def script(guest: Guest) -> None:
        guest.say(START + PROMPT)
        assert guest.console.recv(7, socket.MSG_PEEK) == b"secret\n"
        guest.console.close()

    with pytest.raises(RigError, match="its console closed") as caught:
        boot(guest, script)
    assert caught.value.detail.splitlines()[-1] == PROMPT


def test_a_console_that_closes_with_a_cause(guest: Guest) -> None:
    guest.rig.what = "QEMU: crashed"
    guest.console.close()
    with pytest.raises(RigError, match="QEMU: crashed"):
        watch(guest.rig, PLAN)


def test_a_journal_that_closes_is_no_matter(guest: Guest) -> None:
    guest.journal.shutdown(socket.SHUT_RDWR)
    assert boot(guest, lambda guest: guest.say(START + OPEN + LOGIN)).end is End.UP
    assert guest.rig.asked == 1  # at the end: nothing rang


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(START + OPEN + LOGIN, id="it came up"),
        pytest.param(START + "[    2.000000] ignition[9]: CRITICAL : Ignition failed: no\r\n", id="it went wrong"),
        pytest.param(START, id="nothing more came"),
    ],
)
def test_what_a_guest_came_to_on_a_rig_that_failed_is_the_rigs(guest: Guest, said: str) -> None:
    """A disk of the host that is full makes a guest come up without what it opened, or stop."""
    guest.rig.what = "the host has no room left"
    plan = replace(PLAN, timeouts=StageTimeouts(0.3, 0.3, 0.3, 0.3, 0.3))
    with pytest.raises(RigError, match="the host has no room left"):
        boot(guest, lambda guest: guest.say(said), plan)


def test_a_console_that_takes_nothing(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.console.shutdown(socket.SHUT_RD)
        guest.say(START + PROMPT)

    with pytest.raises(RigError, match=r"does not take what is typed: .*Broken pipe"):
        boot(guest, script)


def test_a_console_that_takes_nothing_with_a_cause(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.rig.what = "QEMU: crashed"
        guest.console.shutdown(socket.SHUT_RD)
        guest.say(START + PROMPT)

    with pytest.raises(RigError) as caught:
        boot(guest, script)
    assert caught.value.what == "QEMU: crashed"


def test_trouble_is_told_as_soon_as_the_alarm_rings(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        guest.say(START)
        guest.rig.what = "swtpm ended with status 1 while the machine was on"
        os.write(guest.wake_fd, b"!")

    start = time.monotonic()
    with pytest.raises(RigError, match="swtpm ended") as caught:
        boot(guest, script, replace(PLAN, timeouts=StageTimeouts()))
    assert time.monotonic() - start < 5
    assert "Linux version" in caught.value.detail


def test_trouble_at_the_very_end_is_no_matter(guest: Guest) -> None:
    """The boot has been judged by then."""

    def script(guest: Guest) -> None:
        guest.say(START + OPEN + LOGIN)
        guest.console.shutdown(socket.SHUT_RDWR)

    assert boot(guest, script).end is End.UP


def test_an_alarm_without_trouble_is_no_matter(guest: Guest) -> None:
    def script(guest: Guest) -> None:
        os.write(guest.wake_fd, b"!")
        guest.say(START + OPEN)
        time.sleep(0.1)
        guest.say(LOGIN)

    assert boot(guest, script).end is End.UP


def test_streams_are_drained_while_something_else_is_done(guest: Guest) -> None:
    shown, before = bytearray(), threading.active_count()
    megabyte = b"x" * (1 << 20)
    with drained(guest.rig, shown.extend):
        guest.journal.sendall(megabyte)
        guest.console.sendall(b"console")
        guest.journal.shutdown(socket.SHUT_RDWR)
        guest.console.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 5
        while bytes(shown) != b"console" and time.monotonic() < deadline:
            time.sleep(0.01)
    assert shown == b"console"
    assert threading.active_count() == before


def test_a_console_may_be_left_to_a_shell_while_the_journal_is_drained(guest: Guest) -> None:
    with drained(guest.rig, console=False):
        guest.console.sendall(b"prompt")
        guest.journal.sendall(b"x" * (1 << 20))
        assert guest.rig.console.recv(100) == b"prompt"


def test_streams_are_drained_with_nobody_to_show_them_to(guest: Guest) -> None:
    with drained(guest.rig):
        guest.console.sendall(b"x" * (1 << 20))
