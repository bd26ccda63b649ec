"""`clean` removes what is the laboratory's own, and nothing that a run or anyone else needs."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from docker.errors import APIError, NotFound

from harness import cache, housekeeping
from harness.errors import HarnessError, UsageError
from harness.host import hostwide, scratch
from harness.paths import cache_dir, run_dir
from harness.services.container import OWNER_LABEL
from harness.services.hsm_server import REPOSITORY as HSM
from harness.services.keylime_server import REPOSITORY as KEYLIME
from harness.services.service_image import IMAGE_USE
from harness.services.tang_image import REPOSITORY as TANG
from harness.temporary import KEEP


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder, a cache, a folder for images under way and host-wide names of this test's own, and no Docker."""
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNLOCK_LAB_RUN", str(tmp_path / "run"))
    monkeypatch.setattr(scratch, "_LONGEST_RUN_DIR", 500)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home, which must stay."""
    home = tmp_path / "home"
    for name in (".ssh", "m/letters", "images/holidays"):
        (home / name).mkdir(parents=True)
        (home / name / "file").write_text("dear to its owner")
    home.chmod(0o710)
    return home


def looks(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mode) for path in [folder, *folder.rglob("*")])


def entry() -> Path:
    def build(folder: Path) -> None:
        (folder / "content").write_text("made")

    return cache.build_once("thing", "key", build)


COMMANDS: list[Callable[[], object]] = [
    lambda: housekeeping.clean([]),
    lambda: housekeeping.clean(["--cache"]),
    scratch.remove_orphaned,
    entry,
]


@pytest.mark.parametrize("variable", ["UNLOCK_LAB_RUN", "UNLOCK_LAB_CACHE"])
@pytest.mark.parametrize("command", COMMANDS, ids=["clean", "clean --cache", "start", "build"])
def test_a_folder_of_another_purpose_is_refused_by_name_and_left_as_it_is(
    variable: str, command: Callable[[], object], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(home))
    before = looks(home)
    try:
        command()
    except HarnessError as refused:
        assert str(home) in str(refused)
        assert variable in refused.hint
    assert looks(home) == before


def test_a_link_where_the_run_folder_is_to_be_leads_nowhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user can put it at /tmp/unlock-lab-1000."""
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("UNLOCK_LAB_RUN", str(tmp_path / "link"))
    before = looks(home)
    with pytest.raises(HarnessError, match="link"):
        housekeeping.clean([])
    assert looks(home) == before


def test_clean_removes_the_cache_and_leaves_what_is_not_ours_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    entry()
    (cache_dir() / "photos").mkdir()
    (cache_dir() / "photos" / "one").touch()
    assert housekeeping.clean(["--cache"]) == 0
    assert not (cache_dir() / "thing").exists()
    assert (cache_dir() / "photos" / "one").exists()
    assert f"{cache_dir() / 'photos'} stays" in capsys.readouterr().err
    entry()


USER = """
import sys
from harness import cache
with cache.in_use():
    print("using", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_run(run: Path) -> Iterator[None]:
    """Another process that uses the same cache, with another run folder."""
    environment = {**os.environ, "UNLOCK_LAB_RUN": str(run)}
    with subprocess.Popen(
        [sys.executable, "-c", USER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "using\n"
        try:
            yield
        finally:
            other.kill()


def test_a_cache_that_a_run_with_another_run_folder_uses_stays(tmp_path: Path) -> None:
    place = entry()
    with another_run(tmp_path / "other"), pytest.raises(HarnessError, match="was not removed"):
        housekeeping.clean(["--cache"])
    assert (place / "content").exists()
    housekeeping.clean(["--cache"])
    assert not place.exists()


LOCK = """
import fcntl, os, struct, sys
file = open(sys.argv[1])
fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_cache_with_a_disk_that_a_kept_machine_has_open_stays() -> None:
    place = cache.build_once("sealed", "key", lambda folder: (folder / "disk.qcow2").touch())
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, place / "disk.qcow2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as qemu:
        assert qemu.stdout
        qemu.stdout.readline()
        with pytest.raises(HarnessError) as refused:
            housekeeping.clean(["--cache"])
        assert str(place / "disk.qcow2") in str(refused.value)
        qemu.kill()
    assert place.is_dir()


@contextmanager
def standing_for_qemu(name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with what every hypervisor gives QEMU on its command line."""
    command = [sys.executable, "-c", "import sys; print('on', flush=True); sys.stdin.read()", f"guest={name},debug"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        assert qemu.stdout
        qemu.stdout.readline()
        try:
            yield qemu
        finally:
            qemu.kill()


def test_a_machine_that_was_kept_is_turned_off_whatever_ran_it_and_no_other() -> None:
    scratch.remove_orphaned()
    kept, disks = (run_dir() / "m" / name for name in ("kept", "disks"))
    for folder, text in ((kept, "lab-kept"), (disks, "")):
        folder.mkdir()
        (folder / KEEP).write_text(text)
    with standing_for_qemu("lab-kept") as qemu, standing_for_qemu("lab-other") as other:
        housekeeping.clean([])
        assert qemu.poll() == -signal.SIGTERM
        assert other.poll() is None
    assert not kept.exists()
    assert not disks.exists()


class Containers:
    """Docker with one container of a dead run, which another process removes first."""

    def __init__(self) -> None:
        self.labels = {OWNER_LABEL: "4194305"}  # more than there can be, proc(5) on pid_max
        self.name = "left"

    def list(self, **_how: object) -> "list[Containers]":
        return [self]

    def remove(self, **_how: object) -> None:
        raise NotFound("No such container")


def docker_with(monkeypatch: pytest.MonkeyPatch, **parts: object) -> None:
    monkeypatch.setattr(housekeeping, "docker_client", lambda: nullcontext(SimpleNamespace(**parts)))


def test_a_container_that_another_process_removes_first_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    docker_with(monkeypatch, containers=Containers())
    housekeeping.clean([])


def test_an_image_that_a_container_uses_stays_and_the_others_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    removed: list[str] = []

    def image(repository: str) -> SimpleNamespace:
        def remove() -> None:
            if repository == TANG:
                raise APIError("conflict", explanation="a container uses it")
            removed.append(repository)

        return SimpleNamespace(short_id=repository, remove=remove)

    monkeypatch.setattr(hostwide, "PREFIX", f"unlock-lab-test-{os.getpid()}")
    images = SimpleNamespace(list=lambda repository: [image(repository)])
    docker_with(monkeypatch, images=images, containers=SimpleNamespace(list=lambda **_how: []))
    housekeeping.clean(["--cache"])
    assert removed == [HSM, KEYLIME]
    assert f"{TANG} stays: a container uses it" in capsys.readouterr().err


def test_a_wrong_name_of_an_image_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    docker_with(monkeypatch)
    monkeypatch.setattr(housekeeping, "firmware", lambda *_: pytest.fail("it made something"))
    with pytest.raises(UsageError, match="no guest image 'debain-13'"):
        housekeeping.images(["build", "debain-13"])


def test_the_images_of_services_stay_while_any_run_of_the_host_may_need_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hostwide, "PREFIX", f"unlock-lab-test-{os.getpid()}")
    asked: list[str] = []
    with hostwide.announced(IMAGE_USE):
        monkeypatch.setattr(housekeeping, "docker_client", lambda: asked.append("for images"))
        monkeypatch.setattr(housekeeping, "remove_containers", lambda _progress: None)
        housekeeping.clean(["--cache"])
    assert asked == []
    assert f"process {os.getpid()}" in capsys.readouterr().err


NOTES = """
import sys
from harness.host import scratch
scratch._LONGEST_RUN_DIR = 500
with scratch.run_notes("run-1") as notes:
    (notes / "failure.json").write_text("{}")
    print("noted", flush=True)
    sys.stdin.read()
"""


def test_the_notes_of_a_run_go_at_the_next_start_after_its_end() -> None:
    with subprocess.Popen([sys.executable, "-c", NOTES], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        scratch.remove_orphaned()
        note = run_dir() / "runs" / "run-1" / "failure.json"
        assert note.exists()
        other.kill()
    scratch.remove_orphaned()
    assert not note.parent.exists()
