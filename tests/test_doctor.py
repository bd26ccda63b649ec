"""The doctor and the command line: they work where half of what they look for is missing."""

import builtins
import errno
import importlib
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import harness.commands as command_line
from harness import doctor
from harness.doctor import CheckRow, State
from harness.errors import HarnessError, HostError, UsageError
from harness.host.requirement import Requirement
from harness.paths import CHECKOUT, PACKAGE, cache_dir
from harness.progress import Progress

GOOD = CheckRow(State.GOOD, "one", "is there")
WARNING = CheckRow(State.WARNING, "two", "is slow", "make fast")
BAD = CheckRow(State.BAD, "three", "is missing", "make three")


def lacking(error: Exception) -> Callable[[], CheckRow]:
    def check() -> CheckRow:
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "found", "fix"),
    [
        (HostError("no daemon", "at /x", "start it"), "no daemon\nat /x", "start it"),
        (HostError("no daemon"), "no daemon", "see the other rows"),
        (ModuleNotFoundError("No module named 'libvirt'"), "No module named 'libvirt'", "make setup"),
        (PermissionError(13, "Permission denied", "/x"), "Permission denied: '/x'", "see the other rows"),
    ],
)
def test_what_a_check_raises_is_a_row(error: Exception, found: str, fix: str) -> None:
    row = doctor.examine("thing", lacking(error))
    assert (row.state, row.name, row.fix) == (State.BAD, "thing", fix)
    assert found in row.found


def test_a_user_who_is_a_number_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is started with a number that is no user of it."""
    for name in ("HOME", "XDG_CACHE_HOME", "UNLOCK_LAB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("getuid", "geteuid"):
        monkeypatch.setattr(os, name, lambda: 2**31)
    assert doctor.who_runs_machines().state is State.BAD
    with pytest.raises(HostError, match="no home folder"):
        cache_dir()


def test_a_mistake_in_a_check_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        doctor.examine("thing", lacking(TypeError("a mistake")))


@pytest.mark.parametrize(("rows", "status"), [([GOOD, WARNING], 0), ([GOOD, BAD], 1), ([BAD, BAD], 1)])
def test_the_status_says_whether_scenarios_can_run(
    rows: list[CheckRow], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "checks", lambda _progress: [(row.name, lambda row=row: row) for row in rows])
    assert doctor.main([]) == status
    shown = capsys.readouterr().out
    assert all(row.found in shown and row.fix in shown for row in rows)
    assert ("scenarios can run" in shown) is (status == 0)


def test_the_table_does_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = builtins.__import__

    def no_rich(name: str, *arguments: object, **options: object) -> object:
        if name.startswith("rich"):
            raise ModuleNotFoundError("No module named 'rich'")
        return real(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", no_rich)
    doctor.show([GOOD, BAD])
    assert capsys.readouterr().out == (
        "✓ one: is there\n✗ three: is missing\n    fix: make three\nscenarios cannot run: 1 to put right\n"
    )


def test_it_runs_without_any_package_of_python() -> None:
    """Every check that needs one is a row that says so."""
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r});"
        "from harness.commands import main; sys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "the .venv lacks a package: No module named 'docker'" in done.stdout
    assert "fix: make setup" in done.stdout
    assert "scenarios cannot run" in done.stdout


def test_a_command_without_its_packages_says_what_to_do() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r});"
        "from harness.commands import main; sys.exit(main(['matrix', '--list']))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{sys.executable} has no package ")
    assert "hint: run `make setup`, and then " in done.stderr
    assert "Traceback" not in done.stderr


def test_every_row_that_stands_in_the_way_has_a_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a host with an empty PATH and an empty disk."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "command", lambda _name: None)
    monkeypatch.setattr("harness.host.requirement.command", lambda _name: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 10, 0))
    rows = [doctor.examine(name, check) for name, check in local_checks()]
    bad = [row for row in rows if row.state is State.BAD]
    assert {"QEMU", "swtpm", "libvirt", "Docker", "mmdebstrap", "disk", "scratch"} <= {row.name for row in bad}
    assert all(row.fix for row in bad)


def local_checks() -> list[tuple[str, Callable[[], CheckRow]]]:
    """Those that neither ask a daemon nor the network."""
    remote = {"libvirt answers", "Docker answers", "firmware", "guest image"}
    return [(name, check) for name, check in doctor.checks(Progress()) if name not in remote]


@pytest.mark.parametrize(
    ("identity", "fix"), [("debian", "make setup"), ("fedora", "install swtpm-tools"), ("", "install swtpm-tools")]
)
def test_a_missing_package_comes_with_this_hosts_command(
    identity: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "read_os_release", lambda: (identity, ""))
    need = Requirement("swtpm", "TPMs", ("command:no-such-program",), ("swtpm",), ("swtpm-tools",))
    row = doctor.installed(need)
    assert row.state is State.BAD
    assert row.fix.endswith(fix)
    assert "no-such-program" in row.found


def test_the_old_qemu_of_debian_12_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "read_os_release", lambda: ("debian", "bookworm"))
    monkeypatch.setattr(doctor, "old_qemu", lambda: True)
    row = doctor.installed(Requirement("QEMU", "machines", ("command:bash",), ("qemu",), ("qemu",)))
    assert row.state is State.WARNING
    assert "make setup" in row.fix


def test_a_package_that_the_project_names_and_the_venv_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.python_packages().state is State.GOOD
    said = ["pytest>=8.4", "no-such.package>=2,<3", 'of-a-developer>=1; extra == "dev"']
    monkeypatch.setattr(doctor, "requires", lambda _name: said)
    row = doctor.python_packages()
    assert (row.state, row.found) == (State.BAD, "missing: no-such.package")


def test_room_counts_what_the_cache_already_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(0, 0, 5_000_000_000))
    (tmp_path / "image").write_bytes(b"x" * 2_000_000)
    assert doctor.room(tmp_path, 5.001, "X", "cache").state is State.GOOD
    assert doctor.room(tmp_path, 5.003, "X", "cache").state is State.BAD
    assert doctor.room(tmp_path / "not" / "yet", 5.001, "X", "cache").state is State.BAD


def test_little_memory_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _path: "MemTotal: 4000000 kB\nMemAvailable: 1000000 kB\n")
    row = doctor.memory()
    assert (row.state, row.name) == (State.BAD, "memory")
    assert "1.0 GB" in row.found


# The command line


def command(monkeypatch: pytest.MonkeyPatch, outcome: int | BaseException) -> None:
    def run(_words: Sequence[str]) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(doctor, "main", run)


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_decides_the_status(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, status)
    assert command_line.main(["doctor"]) == status


def test_an_error_is_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, UsageError("the policy is wrong", "line 3: pin", "write tang"))
    assert command_line.main(["doctor"]) == 2
    said = capsys.readouterr()
    assert said.err == "the policy is wrong\nline 3: pin\nhint: write tang\n"
    assert said.out == ""


def test_a_full_disk_is_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/header"))
    assert command_line.main(["doctor"]) == 2
    assert "no room left on a disk\n[Errno 28] No space left on device: '/tmp/header'" in capsys.readouterr().err
    copying = shutil.Error([("state", "copy", f"[Errno 28] {os.strerror(errno.ENOSPC)}: 'state' -> 'copy'")])
    command(monkeypatch, copying)
    assert command_line.main(["doctor"]) == 2
    assert "no room left on a disk" in capsys.readouterr().err
    command(monkeypatch, OSError(errno.EIO, os.strerror(errno.EIO)))
    with pytest.raises(OSError, match="Input/output error"):
        command_line.main(["doctor"])


def test_an_error_on_a_terminal_is_red(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    command_line.complain(HarnessError("no"))
    assert capsys.readouterr().err == "\033[1;31mno\033[0m\n"


def test_what_an_error_quotes_does_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    command_line.complain(HarnessError("no\033[2J.bu", "\033]0;title\007 said", "try\033[31m that"))
    assert capsys.readouterr().err == "no.bu\n said\nhint: try that\n"


@pytest.mark.parametrize("words", [[], ["nonsense"]])
def test_a_command_that_is_not_there_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command_line.main(words)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(command_line.COMMANDS))
def test_every_command_is_there(name: str) -> None:
    module, _, function = command_line.COMMANDS[name][0].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_a_reader_that_has_seen_enough_ends_it_without_a_word() -> None:
    words = [sys.executable, "-m", "harness", "matrix", "--list"]
    with subprocess.Popen(words, cwd=PACKAGE.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout and command.stderr
        command.stdout.close()
        assert (command.wait(timeout=60), command.stderr.read()) == (141, b"")
