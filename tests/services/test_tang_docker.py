"""The Docker daemon: found, missing, silent, started. The daemons here are the test's own."""

import io
import os
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from docker.errors import APIError, DockerException

from harness.errors import HostError, RigError
from harness.host import docker as host_docker
from harness.host import docker_address
from harness.host.docker import docker_call, docker_client, start_daemon
from harness.progress import Progress

ANSWERING = f"""#!{sys.executable}
import http.server, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{{"ApiVersion": "1.41", "Version": "0"}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
    def address_string(self): return "?"
with open(os.environ["FAKE_PID"], "w") as file: file.write(str(os.getpid()))
class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
Server(os.environ["DOCKER_HOST"].removeprefix("unix://"), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNLOCK_LAB_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setattr(host_docker, "SYSTEM_SOCKET", tmp_path / "docker.sock")  # else nobody but the user may start it
    monkeypatch.setenv("FAKE_PID", str(tmp_path / "pid"))
    return tmp_path


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host_docker, "_under_systemd", lambda: False)


def install(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a dockerd of the test's own first on the path."""
    program = folder / "bin" / "dockerd"
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.fixture
def ends(folder: Path) -> Iterator[None]:
    """Ends the daemon that a test had started."""
    yield
    pid = int((folder / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_no_daemon_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/usr/sbin/dockerd")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for systemd, remedy in ((True, "sudo systemctl start docker"), (False, "sudo sh -c 'dockerd")):
        monkeypatch.setattr(host_docker, "_under_systemd", lambda answer=systemd: answer)
        with pytest.raises(HostError, match=f"no Docker daemon answers at unix://{folder}") as caught, docker_client():
            pass
        assert remedy in caught.value.hint


def test_no_docker_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(HostError) as caught, docker_client():
        pass
    assert "apt-get install docker.io" in caught.value.hint
    assert "dnf install moby-engine" in caught.value.hint


def test_a_socket_that_is_not_ours_says_how_to_get_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(folder / "docker.sock"))
        assert stat.S_ISSOCK((folder / "docker.sock").stat().st_mode)
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(HostError) as caught, docker_client():
            pass
    assert "usermod -aG docker" in caught.value.hint


def test_a_silent_daemon_is_an_error_in_time(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "docker.sock"))
        silent.listen()
        start = time.monotonic()
        with pytest.raises(HostError, match="no Docker daemon answers"), docker_client(timeout=1):
            pass
        assert time.monotonic() - start < 3


@pytest.mark.parametrize("elsewhere", ["tcp://192.0.2.1:2375", "ssh://someone@docker.example"])
def test_a_daemon_of_another_host_is_refused(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", elsewhere)
    with pytest.raises(HostError, match="another host") as caught, docker_client():
        pass
    assert "unset DOCKER_HOST" in caught.value.hint


def test_the_daemon_of_a_user_is_found_when_the_system_has_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr(docker_address, "SYSTEM_SOCKET", folder / "none")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    (folder / "docker.sock").touch()
    with pytest.raises(HostError, match=f"unix://{folder}/docker.sock"), docker_client():
        pass


@pytest.mark.parametrize("error", [DockerException("no"), requests.ConnectionError("no"), APIError("no")])
def test_what_the_sdk_raises_says_what_was_being_done(error: Exception) -> None:
    with pytest.raises(RigError, match="start the container") as caught, docker_call("start the container"):
        raise error
    assert "no" in caught.value.detail


@pytest.mark.usefixtures("as_root", "ends")
def test_a_daemon_is_started_and_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(folder, ANSWERING, monkeypatch)
    said = io.StringIO()
    start_daemon(Progress(said))
    assert "starting the Docker daemon" in said.getvalue()
    with docker_client() as client:
        assert client.version()["Version"] == "0"
    pid = int((folder / "pid").read_text())
    assert os.getsid(pid) == pid, "it must not get our Ctrl-C"
    start_daemon(Progress(said))
    assert int((folder / "pid").read_text()) == pid, "the second time there is one"


@pytest.mark.usefixtures("as_root")
def test_a_daemon_that_ends_is_quoted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(folder, "#!/bin/sh\necho failed to mount overlay: no\nexit 7\n", monkeypatch)
    with pytest.raises(HostError, match="ended with status 7") as caught:
        start_daemon(Progress(io.StringIO()))
    assert "failed to mount overlay" in caught.value.detail
    assert str(folder / "run" / "dockerd.log") in caught.value.hint


@pytest.mark.usefixtures("as_root", "ends")
def test_a_daemon_that_does_not_answer_has_a_deadline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(folder, '#!/bin/sh\necho $$ >"$FAKE_PID"\necho thinking\nexec sleep 60\n', monkeypatch)
    with pytest.raises(HostError, match="did not answer within 1 s") as caught:
        start_daemon(Progress(io.StringIO()), timeout=1.0)
    assert "thinking" in caught.value.detail


def test_without_root_nothing_is_started(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    install(folder, '#!/bin/sh\ntouch "$FAKE_PID"\n', monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="no Docker daemon answers") as caught:
        start_daemon(Progress(io.StringIO()))
    assert "sudo" in caught.value.hint
    assert not (folder / "pid").exists()


@pytest.mark.usefixtures("as_root")
def test_systemd_is_asked_where_it_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_docker, "_under_systemd", lambda: True)
    asked: list[object] = []
    monkeypatch.setattr(host_docker, "run", lambda argv, timeout: asked.append(argv))
    start_daemon(Progress(io.StringIO()))
    assert asked == [["systemctl", "start", "docker"]]
