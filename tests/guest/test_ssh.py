"""The shell and what is asked through it, against a real SSH server in this process over a socket pair."""

import logging
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
import pytest

from harness.deadline import Deadline
from harness.errors import HostError, RigError
from harness.guest import facts, ssh
from harness.guest.ssh import Shell, connect
from harness.images.keys import key_pair
from harness.luks2.metadata import Token

HOST_KEY = paramiko.ECDSAKey.generate()
PATIENCE = 60.0


@dataclass
class Server(paramiko.ServerInterface):
    """Runs commands on this host, with a PATH of doubles before it."""

    key: paramiko.PKey
    path: Path
    slow: float = 0.0
    threads: list[threading.Thread] = field(default_factory=list)
    woken: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def check_global_request(self, kind: str, msg: paramiko.Message) -> bool:
        self.woken.set()
        return False

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        time.sleep(self.slow)
        good = username == "root" and key == self.key
        return paramiko.common.AUTH_SUCCESSFUL if good else paramiko.common.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if command == b"deaf":
            self.over.wait(10)
        time.sleep(self.slow)
        thread = threading.Thread(target=self._run, args=(channel, command.decode()))
        self.threads.append(thread)
        thread.start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        if command == "hang":
            channel.sendall(b"still here\n")
            return
        if command == "mute":
            channel.shutdown_write()
            return
        if command == "sleepy" and self.woken.wait(10):
            command = "echo awake"
        if command == "break":
            channel.get_transport().close()
            return
        with channel.makefile("rb") as file:
            stdin = file.read()
        done = subprocess.run(
            ["sh", "-c", command],
            input=stdin,
            capture_output=True,
            check=False,
            env={"PATH": f"{self.path}:/usr/bin:/bin:/usr/sbin:/sbin"},
        )
        with suppress(EOFError, OSError, paramiko.SSHException):  # the client may have heard enough and hung up
            channel.sendall(done.stdout)
            channel.sendall_stderr(done.stderr)
            channel.send_exit_status(done.returncode)
            channel.close()


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    path.write_text(key_pair("test")[0])
    path.chmod(0o600)
    return path


@contextmanager
def served(key: paramiko.PKey, path: Path, slow: float = 0.0, late: float = 0.0) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    transport = paramiko.Transport(theirs)
    transport.add_server_key(HOST_KEY)
    server = Server(key, path, slow)
    started = threading.Timer(late, lambda: transport.start_server(event=threading.Event(), server=server))
    started.start()
    with ours, theirs:
        yield ours
        started.join(5)
        server.over.set()
        transport.close()
        for thread in (transport, *server.threads):
            thread.join(5)


@pytest.fixture
def shell(key_file: Path, tmp_path: Path) -> Iterator[Shell]:
    key = paramiko.Ed25519Key.from_private_key_file(str(key_file))
    with served(key, tmp_path) as channel, connect(channel, key_file, Deadline.after(PATIENCE)) as opened:
        yield opened


def program(folder: Path, name: str, script: str) -> None:
    """A command of the guest."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_guest_that_does_not_take_a_command_is_given_up(shell: Shell) -> None:
    started = time.monotonic()
    with pytest.raises(RigError, match="did not take a command within 0 s: deaf"):
        shell.run("deaf", 0.3)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("ending", [paramiko.SSHException, EOFError, OSError])
def test_it_is_said_however_the_connection_then_ends(
    key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: type[Exception]
) -> None:
    """The guest's time stands still until it has the command, and then is over."""
    now = [0.0]

    def hung_up(channel: paramiko.Channel, command: str) -> None:
        now[0] = 100.0
        channel.get_transport().join(10)
        raise ending(command)

    monkeypatch.setattr(paramiko.Channel, "exec_command", hung_up)
    key = paramiko.Ed25519Key.from_private_key_file(str(key_file))
    deadline = Deadline.after(PATIENCE, lambda: now[0])
    with served(key, tmp_path) as channel, connect(channel, key_file, deadline) as shell:
        with pytest.raises(RigError, match="did not take a command within 1 s: deaf") as caught:
            shell.run("deaf", 1.0)
        assert caught.value.detail == repr(ending("deaf"))


def test_a_guest_that_missed_an_interrupt_is_woken(shell: Shell) -> None:
    assert shell.run("sleepy", 20) == "awake\n"


def test_run(shell: Shell) -> None:
    assert shell.run("echo hello; echo world >&2") == "hello\n"
    assert shell.run("cat", stdin=b"input") == "input"
    assert shell.run("cat") == "", "it reads nothing"
    assert shell.run(r"printf 'a\377'") == "a\N{REPLACEMENT CHARACTER}"
    assert len(shell.run("head -c 3000000 /dev/zero | tr '\\0' x")) == 3000000


def test_run_that_fails(shell: Shell) -> None:
    with pytest.raises(RigError, match="ended with status 3: echo because >&2; exit 3") as caught:
        shell.run("echo because >&2; exit 3")
    assert caught.value.detail == "because\n"
    with pytest.raises(RigError) as caught:
        shell.run("echo because; exit 3")
    assert caught.value.detail == "because\n"
    assert shell.run("echo x; exit 3", check=False) == "x\n"


def test_of_much_that_a_command_said_the_end_is_told(shell: Shell) -> None:
    with pytest.raises(RigError) as caught:
        shell.run("head -c 9000 /dev/zero | tr '\\0' x; echo because; exit 3")
    assert caught.value.detail == "x" * 1992 + "because\n"


def test_of_a_long_script_that_fails_the_end_is_told(shell: Shell) -> None:
    with pytest.raises(RigError) as caught:
        shell.run("# a function\n" * 1000 + "false")
    assert caught.value.what.startswith("a command in the guest ended with status 1: …")
    assert caught.value.what.endswith("# a function\nfalse")
    assert len(caught.value.what) < 1000


def test_a_script_that_is_not_long_is_told_whole(shell: Shell) -> None:
    for command in ("exit 1".rjust(size) for size in (599, 600)):
        with pytest.raises(RigError) as caught:
            shell.run(command)
        assert caught.value.what == f"a command in the guest ended with status 1: {command}"


def test_run_that_does_not_end(shell: Shell) -> None:
    start = time.monotonic()
    with pytest.raises(RigError, match="did not end within 3 s: hang") as caught:
        shell.run("hang", timeout=3)
    assert caught.value.detail == "still here\n"
    assert time.monotonic() - start < 8


def test_a_command_whose_status_never_comes_is_given_up(shell: Shell) -> None:
    with pytest.raises(RigError, match="within 3 s: mute"):
        shell.run("mute", timeout=3)


def test_a_connection_that_breaks(shell: Shell) -> None:
    with pytest.raises(RigError, match="broke off during: break") as caught:
        shell.run("break", timeout=5)
    assert re.match("EOFError|SSHException|OSError", caught.value.detail)
    with pytest.raises(RigError, match="broke off during: true"):
        shell.run("true", timeout=5)


def test_files(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "it's a file"
    shell.write_file(str(path), b"\0\xff" * 100000)
    assert path.read_bytes() == b"\0\xff" * 100000
    assert shell.read_file(str(path)) == b"\0\xff" * 100000
    assert shell.read_file("-") == b"", "what cat takes for its input, which is empty"
    with pytest.raises(RigError, match="cannot be read") as caught:
        shell.read_file(str(tmp_path / "none"))
    assert "No such file" in caught.value.detail
    with pytest.raises(RigError, match="cannot be written") as caught:
        shell.write_file(str(tmp_path / "none" / "x"), b"")
    assert "none/x" in caught.value.detail


def test_all_that_was_said_about_a_file_is_told(shell: Shell, tmp_path: Path) -> None:
    program(tmp_path, "cat", r"head -c 200000 /dev/zero | tr '\0' x >&2; printf '\377' >&2; exit 1")
    with pytest.raises(RigError) as caught:
        shell.read_file("file")
    assert caught.value.detail == "x" * 200_000 + "\N{REPLACEMENT CHARACTER}"


def test_nobody_answers(key_file: Path) -> None:
    ours, theirs = socket.socketpair()
    with (
        theirs,
        pytest.raises(RigError, match="waited 1 s for a shell in the guest") as caught,
        connect(ours, key_file, Deadline.after(1)),
    ):
        pass
    assert ours.fileno() == -1
    assert caught.value.detail == "SSHException('no answer')"
    assert caught.value.hint == "is the guest's unlock-lab-shell.service up? Its journal is in the evidence"


def test_a_guest_that_ends_the_conversation_while_we_log_in(key_file: Path) -> None:
    reason = struct.pack(">BII3sI", 1, 2, 3, b"bye", 0)  # SSH_MSG_DISCONNECT, RFC 4253, 11.1
    packet = struct.pack(">IB16s11x", 28, 11, reason)
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"SSH-2.0-guest\r\n" + packet)
        with (
            pytest.raises(RigError, match="a shell in the guest") as caught,
            connect(ours, key_file, Deadline.after(PATIENCE)),
        ):
            pass
    assert caught.value.detail == "SSHException('the connection broke')"


def test_a_guest_that_opens_its_port_late_is_waited_for(key_file: Path, tmp_path: Path) -> None:
    key = paramiko.Ed25519Key.from_private_key_file(str(key_file))
    with served(key, tmp_path, late=0.5) as channel, connect(channel, key_file, Deadline.after(PATIENCE)) as shell:
        assert shell.run("echo here") == "here\n"


def test_a_guest_that_is_starved_is_given_the_time_that_it_lost(
    key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Login and each command may take 0.4 s of its own time, and take 1 s of the wall's, in which it gets 0.02 s."""
    monkeypatch.setattr(ssh, "_FILE_SECONDS", 0.4)
    key = paramiko.Ed25519Key.from_private_key_file(str(key_file))
    deadline = Deadline.after(0.4, lambda: time.monotonic() / 50)
    with served(key, tmp_path, slow=1.0) as channel, connect(channel, key_file, deadline) as shell:
        assert shell.run("echo here", timeout=0.4) == "here\n"
        shell.write_file(str(tmp_path / "file"), b"there")
        assert shell.read_file(str(tmp_path / "file")) == b"there"


def test_a_closed_channel(key_file: Path) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(RigError, match="a shell in the guest") as caught, connect(ours, key_file, Deadline.after(5)):
        pass
    assert re.match("EOFError|BrokenPipeError", caught.value.detail)


def test_a_key_that_is_refused(key_file: Path, tmp_path: Path) -> None:
    other = paramiko.ECDSAKey.generate()
    with (
        served(other, tmp_path) as channel,
        pytest.raises(RigError, match="a shell in the guest") as caught,
        connect(channel, key_file, Deadline.after(PATIENCE)),
    ):
        pass
    assert caught.value.detail == "AuthenticationException('the guest refused our key')"


@pytest.mark.parametrize("content", [None, "no key"])
def test_a_key_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key"
    if content:
        path.write_text(content)
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(HostError, match="cannot be used") as caught, connect(ours, path, Deadline.after(1)):
        pass
    assert ours.fileno() == -1
    assert ("not a valid" if content else "No such file") in caught.value.detail


def test_no_threads_are_left_and_nothing_is_logged(key_file: Path, tmp_path: Path) -> None:
    key = paramiko.Ed25519Key.from_private_key_file(str(key_file))
    with served(key, tmp_path) as channel, connect(channel, key_file, Deadline.after(PATIENCE)) as opened:
        opened.run("true")
    assert not [thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)]
    assert not logging.getLogger("paramiko").propagate


def test_pcrs() -> None:
    assert facts.parse_pcrs("10:AB\n7:00ff\nnoise\nx:y\n8:\n9:00:ff\n") == {7: "00ff", 10: "ab"}
    assert facts.parse_pcrs("") == {}
    assert list(facts.parse_pcrs("10:ab\n7:00ff\n")) == [7, 10], "in order"
    assert facts.parse_pcrs(f"{'9' * 5000}:ab\n²:cd\n23:ef\n") == {23: "ef"}


def test_the_canary(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "canary"
    assert facts.read_canary(shell, str(path)) is None
    path.write_text("tweet\n")
    assert facts.read_canary(shell, str(path)) == "tweet"


@pytest.mark.parametrize(("mount_point", "where"), [("/", ""), ("/srv", "/srv"), ("/srv/a/", "/srv/a")])
def test_the_canary_lies_at_the_top_of_its_file_system(mount_point: str, where: str) -> None:
    assert facts.canary_path(mount_point) == f"{where}/unlock-lab-canary"


METADATA = (
    '{"keyslots": {"1": {"kdf": {"type": "pbkdf2"}}}, "tokens": {"0": {"type": "clevis", "keyslots": ["1"]}},'
    ' "digests": {}}'
)
SLAVES = 'case "$*" in */block/dm-0/slaves) echo vda5 ;; */block/dm-1/slaves) echo vda6 ;; *) exit 2 ;; esac'
MAPPING = 'case "$2" in */var) echo /dev/dm-0 ;; */data) echo /dev/dm-1 ;; *) echo "$2" ;; esac'


@pytest.fixture
def guest(shell: Shell, tmp_path: Path) -> Shell:
    """A guest with two open volumes and no TPM that this host's /sys would know."""
    for name, script in (
        ("ls", SLAVES),
        ("readlink", MAPPING),
        ("grep", "printf '7:AB\n10:00\n'"),
        ("base64", "echo aGVsbG8="),
    ):
        program(tmp_path, name, script)
    asked = f'test "$*" = "luksDump --dump-json-metadata -- $4" && echo $4 >> {tmp_path}/asked'
    program(tmp_path, "cryptsetup", f"{asked} && echo '{METADATA}'")
    return shell


def test_what_lies_under_an_open_volume(guest: Shell) -> None:
    assert facts.backing_device(guest, "var") == "/dev/vda5"
    with pytest.raises(RigError, match="other is not an open volume"):
        facts.backing_device(guest, "other")


def test_all_facts_come_in_one_command(guest: Shell, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("tweet\n")
    said = facts.read_facts(guest, {"var": str(tmp_path / "canary"), "data": None})
    assert (tmp_path / "asked").read_text().split() == ["/dev/vda5", "/dev/vda6"]
    assert said.canaries == {"var": "tweet"}
    assert {name: header.token_of(1) for name, header in said.headers.items()} == dict.fromkeys(
        ("var", "data"), Token(0, "clevis", (1,))
    )
    assert set(said.pcrs) <= {7, 10}
    assert said.event_log == b"hello"


def test_an_event_log_that_came_in_part_is_an_error_of_the_rig(guest: Shell, tmp_path: Path) -> None:
    program(tmp_path, "base64", "echo 'aGVs!G8='")
    with pytest.raises(RigError, match="event log") as caught:
        facts.read_facts(guest, {})
    assert caught.value.what == "the guest did not give its event log whole"
    assert "Only base64 data is allowed" in caught.value.detail


def test_a_guest_that_does_not_answer_each_question_is_an_error_of_the_rig(guest: Shell, tmp_path: Path) -> None:
    program(tmp_path, "sh", "echo welcome")
    with pytest.raises(RigError, match="did not answer") as caught:
        facts.read_facts(guest, {})
    assert caught.value.what == "the guest did not answer all that it was asked about itself"
    assert caught.value.detail == "0 of 2 answers"


def test_nothing_that_a_volume_says_is_taken_for_the_end_of_an_answer(guest: Shell, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("None\ntweet\n")
    assert facts.read_facts(guest, {"var": str(tmp_path / "canary")}).canaries == {"var": "None\ntweet"}


def test_a_canary_that_cannot_be_read_is_none(guest: Shell, tmp_path: Path) -> None:
    assert facts.read_facts(guest, {"var": str(tmp_path / "absent")}).canaries == {}


def test_a_volume_that_is_shut_has_no_header_to_show(guest: Shell) -> None:
    said = facts.read_facts(guest, {"var": None, "other": None})
    assert said.open == {"var"}
    assert set(said.headers) == {"var"}


def test_a_volume_that_is_not_luks_is_an_error_of_the_rig(guest: Shell, tmp_path: Path) -> None:
    program(tmp_path, "cryptsetup", "echo 'Device is not a valid LUKS device.'; exit 1")
    with pytest.raises(RigError, match="no LUKS2 metadata"):
        facts.read_facts(guest, {"var": None})
