"""What once ended in a traceback, or too late, and now says clearly what is wrong."""

import errno
import io
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from harness import bench, commands
from harness.errors import HostError
from harness.host.docker import docker_client, start_daemon
from harness.images import archive, build, guest_key
from harness.images.recipe import guest_recipe
from harness.paths import POLICIES
from harness.progress import Progress


@pytest.mark.parametrize("runs", ["0", "-1", "x", "10000", "9" * 5000])
def test_a_bench_of_no_boots_is_refused(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["--runs", runs])
    assert ended.value.code == 2
    assert "is no number from 1 to 9999" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("term", "escapes"), [("dumb", False), ("", False), ("xterm", True)])
def test_a_dumb_terminal_gets_no_escapes(term: str, escapes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    terminal = Terminal()
    with Progress(terminal).step("work"):
        pass
    assert ("\033" in terminal.getvalue()) is escapes


def test_a_stream_that_is_not_utf_8_gets_question_marks() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Progress(stream).say("· ✓ é")
    assert raw.getvalue() == b"? ? ?\n"


COMPLAIN = r"""
import harness.commands as commands
from harness.errors import UsageError
commands._imported = lambda *_: lambda _argv: commands.complain(UsageError("\u00e9 \u2717")) or 0
commands.main(["doctor"])
"""


def test_a_command_where_nothing_is_utf_8_ends_without_a_traceback() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", "import sys\nfrom harness.commands import main\nprint(end='')\nmain(['no-such'])"],
        capture_output=True,
        env=environment,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    done = subprocess.run([sys.executable, "-c", COMPLAIN], capture_output=True, env=environment, check=False)
    assert done.stderr == b"? ?\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("command", "status"), [("collect", 0), ("report no-such-folder", 2)])
def test_a_command_whose_streams_are_closed_ends_as_it_would(command: str, status: int, closed: str) -> None:
    line = f"exec '{sys.executable}' -m harness {command} {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr


CLOSED = """
import os, sys
import harness.commands as commands
def write(_argv):
    with open("precious", "x"):
        print("out"), print("err", file=sys.stderr), sys.stdin.read()
        os.write(1, b"what a child process says"), os.write(2, b"and its error")
    return 7
commands._imported = lambda *_: write
sys.exit(commands.main(["doctor"]))
"""


def test_what_is_written_to_a_closed_stream_lands_in_no_file(tmp_path: Path) -> None:
    line = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, CLOSED]
    assert subprocess.run(line, cwd=tmp_path, check=False).returncode == 7
    assert (tmp_path / "precious").read_bytes() == b""


@pytest.mark.parametrize("stream", [">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full"])
def test_a_message_that_cannot_be_written_leaves_the_status(stream: str) -> None:
    line = f"exec '{sys.executable}' -m harness report no-such-folder {stream}"
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=False).returncode == 2


INTERRUPTED = """
import os, signal, sys
class AtThisImport:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, AtThisImport())
from harness.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("moment", ["harness.commands", "harness.progress", "harness.matrix.command", "rich.console"])
def test_ctrl_c_at_any_moment_is_130_and_one_word(moment: str) -> None:
    line = [sys.executable, "-c", INTERRUPTED.replace("sys.argv[1]", repr(moment)), "matrix", "--list"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/cache"), "a file or a folder cannot be used"),
        (OSError(errno.EROFS, "Read-only file system", "/cache"), "a file or a folder cannot be used"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 5000), "a file or a folder cannot be used"),
        (OSError(errno.EDQUOT, "Quota exceeded", "/cache"), "no room left on a disk"),
    ],
)
def test_what_the_system_refuses_is_told(
    error: OSError, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_argv: object) -> int:
        raise error

    monkeypatch.setattr(commands, "_imported", lambda *_: refused)
    assert commands.main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith(f"{said}\n{error}\nhint: ")


def test_an_error_of_our_own_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_argv: object) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere")

    monkeypatch.setattr(commands, "_imported", lambda *_: wrong)
    with pytest.raises(FileNotFoundError):
        commands.main(["doctor"])


def test_a_command_in_a_folder_that_is_gone_says_so(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    line = f"cd gone && rmdir ../gone && exec '{sys.executable}' -m harness list"
    environment = {**os.environ, "PYTHONPATH": str(Path(commands.__file__).parents[1])}
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "the folder in which this was called is gone" in done.stderr


def test_a_terminal_of_unknown_width_has_a_usual_one() -> None:
    line = [sys.executable, "-m", "harness", "explain", str(POLICIES / "tang.bu")]
    done = subprocess.run(line, env={**os.environ, "COLUMNS": "0"}, capture_output=True, text=True, check=True)
    assert "volume" in done.stdout


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1", "tcp://[bad", "nonsense"])
def test_a_dead_docker_host_is_named_and_nothing_is_started(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(HostError) as refused, docker_client(timeout=5):
        pytest.fail("it answered")
    assert "DOCKER_HOST" in refused.value.hint
    monkeypatch.setattr("harness.host.docker._start_detached", lambda _: pytest.fail("a daemon was started"))
    with pytest.raises(HostError, match=r"DOCKER_HOST|answers"):
        start_daemon(Progress(io.StringIO()))


@pytest.mark.parametrize(("image", "free"), [("debian-13", 2.9), ("debian-13-ignition", 3.9)])
def test_a_full_disk_is_told_before_an_image_is_built(
    image: str, free: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is needed is the recipe's: Go and its modules are more than a plain guest."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**11, 1, int(free * 1e9)))
    monkeypatch.setattr("harness.process.run", lambda *_, **__: pytest.fail("the build was begun"))
    with pytest.raises(HostError, match=rf"no room to build an image: {free} GB are free"):
        build.build(guest_recipe(image), tmp_path)


def test_how_much_room_a_build_needs_makes_no_other_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "archive_state", lambda suite: suite)
    recipe = guest_recipe("debian-13-ignition")
    assert guest_key(recipe) == guest_key(replace(recipe, build_gb=recipe.build_gb + 1))
