"""The set-up: what it would run on which host, and that what it pins is what is installed."""

import importlib.metadata
import os
import pwd
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from packaging.requirements import Requirement as PackageRequirement
from packaging.utils import canonicalize_name

from harness.errors import HostError
from harness.host import commands, docker_address, packages, requirement, setup
from harness.host.requirement import Requirement
from harness.paths import PACKAGE

CLONE = PACKAGE.parent

QEMU = Requirement(
    "QEMU", "machines", ("command:no-qemu",), ("qemu-system-x86", "qemu-utils"), ("qemu-kvm",), ("qemu-system-x86",)
)
SWTPM = Requirement("swtpm", "TPMs", ("command:no-swtpm",), ("swtpm",), ("swtpm-tools",))
SHELL = Requirement("shell", "all", ("command:sh",), ("dash",), ("dash",))


class Host:
    """A host that obeys every command; what it installs is there from then on."""

    def __init__(
        self, codename: str, *, sources: str = "", madison: str = "", qemu: str = "", identity: str = "debian"
    ):
        self.ran: list[str] = []
        self.answers = {"apt-get": sources, "apt-cache": madison, "dpkg-query": qemu}
        self.release = f"ID={identity}\nVERSION_CODENAME={codename}\n"
        self.refuses: Callable[[str], bool] = lambda _line: False
        self.there: set[str] = {"sh"}

    def run(self, *argv: str, root: bool = False, stdin: str = "") -> None:
        line = " ".join(argv).removeprefix("env DEBIAN_FRONTEND=noninteractive apt-get --quiet ")
        self.ran.append(line)
        assert root, f"{line} needs root"
        if self.refuses(line):
            raise HostError("refused", line)
        self.there |= {f"no-{word.split('/')[0].split('-')[0]}" for word in argv} if "install" in argv else set()

    def output(self, *argv: str) -> str:
        return self.answers[argv[0]]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Host], Host]:
    def install(host: Host) -> Host:
        monkeypatch.setattr(packages, "run", host.run)
        monkeypatch.setattr(packages, "output", host.output)
        monkeypatch.setattr(packages, "read_os_release", lambda: packages.os_release(host.release))
        monkeypatch.setattr(requirement, "command", lambda name: name if name in host.there else None)
        return host

    return install


def install(needs: list[Requirement], *, first_time: bool) -> None:
    packages.install_packages(needs, first_time=first_time, beside=lambda: None)


BACKPORTED = "qemu-system-x86 | 1:10.0.2 | http://deb.debian.org/debian bookworm-backports/main amd64 Packages"


def test_nothing_is_run_when_nothing_is_missing(on: Callable[[Host], Host]) -> None:
    host = on(Host("trixie"))
    install([SHELL], first_time=True)
    assert host.ran == []


def test_debian_13_takes_all_from_itself(on: Callable[[Host], Host]) -> None:
    host = on(Host("trixie"))
    install([QEMU, SHELL, SWTPM], first_time=True)
    assert host.ran == [
        "update",
        "install --yes --no-install-recommends --no-upgrade qemu-system-x86 qemu-utils swtpm",
    ]


def test_the_venv_is_made_when_its_needs_are_there_beside_the_rest(on: Callable[[Host], Host]) -> None:
    host = on(Host("trixie"))
    compiler = Requirement("compiler", "bindings", ("command:no-gcc",), ("gcc",), ("gcc",), venv=True)
    begun, seen = threading.Event(), list[str]()
    host.refuses = lambda line: "swtpm" in line and not begun.wait(20)

    def beside() -> None:
        seen.extend(host.there)
        begun.set()

    packages.install_packages([SWTPM, compiler], first_time=True, beside=beside)
    assert "no-gcc" in seen
    assert [line.split()[-1] for line in host.ran] == ["update", "gcc", "swtpm"]


def test_what_fails_beside_the_packages_is_said(on: Callable[[Host], Host]) -> None:
    def beside() -> None:
        raise HostError("pip failed")

    host = on(Host("trixie"))
    with pytest.raises(HostError, match="pip failed"):
        packages.install_packages([SWTPM], first_time=True, beside=beside)
    assert host.ran[-1].endswith(" swtpm"), "so that the next set-up has less to do"


def test_debian_12_takes_qemu_and_nothing_else_from_backports(on: Callable[[Host], Host]) -> None:
    host = on(Host("bookworm", sources="bookworm\nbookworm-security\n", madison=BACKPORTED))
    install([QEMU, SWTPM], first_time=True)
    assert host.ran == [
        f"tee {packages.BACKPORTS_FILE}",
        "update",
        "install --yes --no-install-recommends qemu-system-x86/bookworm-backports",
        "install --yes --no-install-recommends --no-upgrade swtpm",
    ]


def test_debian_12_that_knows_backports_keeps_its_sources(on: Callable[[Host], Host]) -> None:
    host = on(Host("bookworm", sources="bookworm\nbookworm-backports\n", madison=BACKPORTED))
    install([QEMU], first_time=True)
    assert not any(line.startswith(("tee", "rm")) for line in host.ran)


def test_without_backports_the_stable_qemu_will_do(
    on: Callable[[Host], Host], capsys: pytest.CaptureFixture[str]
) -> None:
    host = on(Host("bookworm", sources="bookworm\n"))
    updates = iter([True, False])
    host.refuses = lambda line: line == "update" and next(updates)
    install([QEMU], first_time=True)
    assert host.ran == [
        f"tee {packages.BACKPORTS_FILE}",
        "update",
        f"rm {packages.BACKPORTS_FILE}",
        "update",
        "install --yes --no-install-recommends --no-upgrade qemu-system-x86 qemu-utils",
    ]
    assert "slower" in capsys.readouterr().out


@pytest.mark.parametrize(("version", "replaced"), [("1:7.2+dfsg-7+deb12u18", True), ("1:10.0.2+ds-2~bpo12+1", False)])
def test_debian_12_replaces_an_old_qemu_once(version: str, *, replaced: bool, on: Callable[[Host], Host]) -> None:
    host = on(Host("bookworm", sources="bookworm-backports\n", madison=BACKPORTED, qemu=version))
    host.there.add("no-qemu")
    install([QEMU], first_time=False)
    assert host.ran == []
    install([QEMU], first_time=True)
    assert ("install --yes --no-install-recommends qemu-system-x86/bookworm-backports" in host.ran) is replaced


@pytest.mark.parametrize("identity", ["fedora", "ubuntu", "arch"])
def test_another_distribution_gets_the_list_and_no_command(identity: str, on: Callable[[Host], Host]) -> None:
    host = on(Host("forty-two", identity=identity))
    with pytest.raises(HostError) as caught:
        install([QEMU, SHELL, SWTPM], first_time=True)
    assert "Fedora  qemu-kvm" in caught.value.detail
    assert "Debian  qemu-system-x86 qemu-utils" in caught.value.detail
    assert "shell" not in caught.value.detail, "it lists what is there"
    assert host.ran == []


def test_a_package_that_does_not_bring_what_it_should_is_said(on: Callable[[Host], Host]) -> None:
    host = on(Host("trixie"))
    odd = Requirement("odd", "nothing", ("command:never-comes",), ("odd",), ("odd",))
    with pytest.raises(HostError) as caught:
        install([odd], first_time=True)
    assert caught.value.detail == "odd: never-comes"
    assert host.ran[-1].endswith(" odd")


def test_probes_find_what_is_there_and_name_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "libx.so").touch()
    there = Requirement("x", "y", ("command:sh", f"file:/nowhere/* or {tmp_path}/lib*.so"), (), ())
    assert there.missing == ()
    gone = Requirement("x", "y", ("command:no-such-program", f"file:{tmp_path}/*.pc"), (), ())
    assert gone.missing == ("no-such-program", "*.pc")
    with pytest.raises(ValueError, match="a probe must start with"):
        _ = Requirement("x", "y", ("library:z",), (), ()).missing


def test_programs_of_the_system_are_found_without_its_folders_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian gives users no /usr/sbin, where dockerd and libvirtd are."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert requirement.command("useradd") == "/usr/sbin/useradd"


def test_every_need_is_complete() -> None:
    for need in requirement.requirements():
        assert need.probe, need.name
        assert need.debian, need.name
        assert need.fedora, need.name
        assert set(need.backports) <= set(need.debian), need.name


def test_only_qemu_comes_from_backports() -> None:
    """libvirt of backports replaces udev and systemd."""
    assert {need.name for need in requirement.requirements() if need.backports} == {"QEMU"}


@pytest.mark.parametrize("text", ["", "ID=debian", 'ID="debian"\nVERSION_CODENAME="trixie"\n# a comment\n\n'])
def test_os_release_takes_quotes_and_gaps(text: str) -> None:
    identity, codename = packages.os_release(text)
    assert identity in ("", "debian")
    assert codename in ("", "trixie")


def test_it_runs_without_any_package_of_python() -> None:
    """-I -S: neither the venv nor what a user has installed can be imported."""
    code = f"import sys; sys.path.insert(0, {str(CLONE)!r}); from harness.host.setup import main; main(['--list'])"
    listed = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert "Fedora" in listed.stdout
    assert "qemu-system-x86" in listed.stdout


def test_nothing_to_do_is_over_in_an_instant() -> None:
    """Only where it was set up: after a change of constraints.txt it would install, which is not tested here."""
    state = f"{CLONE}\n{setup.stamp(CLONE)}\n"
    if not setup.STAMP.exists() or setup.STAMP.read_text() != state:
        pytest.skip("this clone is not set up")
    missing = [need.name for need in requirement.requirements() if need.missing]
    if missing:
        pytest.skip(f"missing: {missing}")
    done = subprocess.run(
        [sys.executable, "-m", "harness.host.setup"],
        cwd=CLONE,
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# The pins


def pinned() -> dict[str, str]:
    lines = (CLONE / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def project() -> list[PackageRequirement]:
    table = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]
    lines = [*table["dependencies"], *chain.from_iterable(table["optional-dependencies"].values())]
    found = [PackageRequirement(line) for line in lines]
    return [wanted for wanted in found if wanted.name != table["name"]]  # an extra that takes another one in


def test_constraints_pin_versions_and_say_nothing_of_where_they_come_from() -> None:
    lines = [line for line in (CLONE / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    odd = [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.+]+", line)]
    assert odd == []


def test_what_the_project_names_is_a_range_and_its_pin_is_in_it() -> None:
    for wanted in project():
        assert not any(part.operator in ("==", "===") for part in wanted.specifier), (
            f"{wanted}: pins are in constraints"
        )
        assert wanted.specifier.contains(pinned()[canonicalize_name(wanted.name)]), wanted


def test_what_it_needs_in_turn_is_pinned_too() -> None:
    """Whatever is installed here because the project, or what it needs, asks for it."""
    todo = [canonicalize_name(wanted.name) for wanted in project()]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        assert importlib.metadata.version(name) == pinned().get(name), f"{name}: make constraints"
        for line in importlib.metadata.requires(name) or []:
            requirement = PackageRequirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(requirement.name))


def test_a_clone_whose_path_has_blanks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip divides PIP_CONSTRAINT at blanks; without the file named there it fails."""
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (clone / name).write_text("")
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(setup, "VENV", clone / ".venv")
    monkeypatch.setattr(setup, "STAMP", clone / "stamp")
    monkeypatch.setattr(setup, "run", lambda *words: ran.append(words))
    setup.make_venv(clone)
    _, install = ran
    pins = [word.partition("=")[2] for word in install if word.startswith("PIP_")]
    assert len(pins) == 2
    for pin in pins:
        assert url2pathname(urlsplit(pin).path) == str(clone / "constraints.txt")
        assert " " not in pin


def test_a_changed_pin_is_another_stamp(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("one")
    before = setup.stamp(tmp_path)
    (tmp_path / "constraints.txt").write_text("two")
    assert setup.stamp(tmp_path) != before


# Commands and sockets


def test_commands_are_shown_before_they_run(capfd: pytest.CaptureFixture[str]) -> None:
    commands.run("echo", "two words")
    assert capfd.readouterr().out == "$ echo 'two words'\ntwo words\n"


def test_a_command_that_fails_is_named() -> None:
    with pytest.raises(HostError, match="status 1 from: false"):
        commands.run("false")


def test_a_user_runs_roots_commands_by_sudo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "sudo").write_text('#!/bin/sh\necho "as root: $*"\n')
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    commands.run("useradd", "x", root=True)
    assert capfd.readouterr().out == "$ sudo useradd x\nas root: useradd x\n"


def test_a_user_without_sudo_is_told_what_root_must_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError) as caught:
        commands.run("useradd", "x", root=True)
    assert caught.value.hint == "as root: useradd x"


def test_a_daemon_is_looked_for_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    assert setup.docker_socket() == tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    assert setup.docker_socket() is None
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr(docker_address, "SYSTEM_SOCKET", tmp_path / "system.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert setup.docker_socket() == tmp_path / "system.sock"
    (tmp_path / "docker.sock").touch()
    assert setup.docker_socket() is None, "the user's own daemon is not ours to start"
    (tmp_path / "system.sock").touch()
    assert setup.docker_socket() == tmp_path / "system.sock"


def test_a_socket_nobody_listens_on_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert not setup.answers(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert not setup.answers(path)
        server.listen()
        assert setup.answers(path)


def test_an_error_is_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise HostError("no room", "detail", "hint")

    monkeypatch.setattr(setup, "install_packages", fail)
    assert setup.main([]) == 1
    assert capsys.readouterr().err == "set-up: no room\ndetail\nhint: hint\n"


def test_ctrl_c_ends_it_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "install_packages", interrupt)
    assert setup.main([]) == 130


class Obeyed:
    """What the set-up ran to start things; a daemon that is started listens from then on."""

    def __init__(self, daemon: socket.socket, path: Path) -> None:
        self.ran: list[str] = []
        self._daemon = daemon
        self._path = path

    def run(self, *argv: str, root: bool = False) -> None:
        assert root
        self.ran.append(" ".join(argv[-3:]))
        if argv[-1] == "start":
            self._daemon.bind(str(self._path))
            self._daemon.listen()


@pytest.fixture
def obeyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Obeyed]:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    monkeypatch.setattr(setup, "LAB_USER", pwd.getpwuid(os.geteuid()).pw_name)
    with socket.socket(socket.AF_UNIX) as daemon:
        host = Obeyed(daemon, path)
        monkeypatch.setattr(setup, "run", host.run)
        monkeypatch.setattr(setup, "_may_write", lambda _user, _path: True)
        yield host


def test_a_daemon_is_started_where_none_runs_and_only_then(obeyed: Obeyed) -> None:
    setup.start()
    assert obeyed.ran == ["-m harness start"]
    setup.start()
    assert obeyed.ran == ["-m harness start"]


def test_who_may_not_use_the_daemon_is_let_in(obeyed: Obeyed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(setup, "_may_write", lambda _user, path: path == Path("/dev/kvm"))
    setup.start()
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert obeyed.ran == ["-m harness start", f"--modify user:{me}:rw {tmp_path}/docker.sock"]


def test_a_daemon_that_does_not_start_is_said_and_is_no_reason_to_stop(
    obeyed: Obeyed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_argv: str, root: bool = False) -> None:
        raise HostError("no kernel for that", hint="another kernel")

    monkeypatch.setattr(setup, "run", refuse)
    setup.start()
    said = capsys.readouterr().out
    assert "no Docker daemon: no service can be started" in said
    assert "hint: another kernel" in said
    assert obeyed.ran == []
