"""The cache: whole or not at all, once, and never stale."""

import errno
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import cache, doctor
from harness.contents import CONTENTS, SMALL_BYTES, damage
from harness.errors import HostError
from harness.ownership import MARK
from harness.progress import Progress


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(text: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "content").write_text(text)

    return build


def test_builds_once() -> None:
    built: list[Path] = []
    for _ in range(2):
        place = cache.build_once("thing", "key", built.append)
    assert len(built) == 1
    assert place == cache.entry("thing", "key")
    assert place.is_dir()


def test_an_entry_comes_into_its_place_whole() -> None:
    """By one rename(2): a copy could be seen, and left, half done."""
    made: list[int] = []

    def build(folder: Path) -> None:
        assert not cache.entry("thing", "key").exists()
        (folder / "content").touch()
        made.append((folder / "content").stat().st_ino)

    assert (cache.build_once("thing", "key", build) / "content").stat().st_ino == made[0]


def test_what_build_raises_comes_through_and_nothing_is_kept(shelf: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        cache.build_once("thing", "key", fail)
    assert [path.name for path in (shelf / "thing").iterdir() if path.name not in (".key.lock", MARK)] == []
    assert (cache.build_once("thing", "key", write("whole")) / "content").read_text() == "whole"


BUILDER = """
import sys
from pathlib import Path
from harness import cache
from harness.contents import CONTENTS, SMALL_BYTES, damage

def build(folder):
    (folder / "content").write_text("from the child")
    print("building", flush=True)
    sys.stdin.readline()

print(cache.build_once("thing", "key", build), flush=True)
"""


def child() -> subprocess.Popen[str]:
    """A process that is in the middle of a build, until it reads a line or is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "building\n"
    return process


def test_a_build_that_was_killed_is_not_served(shelf: Path) -> None:
    with child() as process:
        process.send_signal(signal.SIGKILL)
    assert not cache.entry("thing", "key").exists()
    assert len(list((shelf / "thing").glob(".key.part-*"))) == 1
    place = cache.build_once("thing", "key", write("mine"))
    assert (place / "content").read_text() == "mine"
    assert list((shelf / "thing").glob(".key.part-*")) == [], "the leftover stayed"


def test_who_comes_second_waits_for_the_build_under_way() -> None:
    served = []

    def second() -> None:
        served.append(cache.build_once("thing", "key", write("a second build")))

    with child() as process:
        waiter = threading.Thread(target=second)
        waiter.start()
        waiter.join(0.3)
        assert waiter.is_alive(), "it did not wait"
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.close()
        waiter.join(10)
    assert (served[0] / "content").read_text() == "from the child"


def test_sweep_removes_leftovers_but_no_build_under_way(shelf: Path) -> None:
    with child() as process:
        assert list(cache.remove_abandoned()) == []
        process.send_signal(signal.SIGKILL)
    swept = list(cache.remove_abandoned())
    assert len(swept) == 1
    assert not swept[0].exists()
    assert swept[0].parent == shelf / "thing"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        shutil.Error([("state", "copy", str(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state")))]),
    ],
    ids=["disk", "quota", "copy"],
)
def test_a_full_disk_is_the_hosts_error(error: OSError, shelf: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "half").touch()
        raise error

    with pytest.raises(HostError) as caught:
        cache.build_once("thing", "key", fill)
    assert "no room left" in caught.value.what
    for variable in ("UNLOCK_LAB_CACHE", "TMPDIR"):
        assert re.search(rf"^{variable}: \d+ MB are free", caught.value.detail, re.MULTILINE), "which disk it was"
    assert list((shelf / "thing").glob(".key.part-*")) == []


def test_a_disk_that_is_full_only_when_flushed_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError):
        cache.build_once("thing", "key", write("large"))
    assert not cache.entry("thing", "key").exists()


def test_another_error_of_the_system_stays_itself() -> None:
    def refuse(_folder: Path) -> None:
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        cache.build_once("thing", "key", refuse)


def test_a_cache_that_cannot_be_made_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", "/proc/nowhere")
    with pytest.raises(HostError, match="/proc/nowhere"):
        cache.build_once("thing", "key", write("x"))


def modes(place: Path) -> set[str]:
    return {f"{path.lstat().st_mode & 0o777:o}" for path in [place, *place.rglob("*")]}


def mixed(folder: Path) -> None:
    (folder / "tpm").mkdir(mode=0o755)
    (folder / "tpm" / "state").write_text("x")
    (folder / "disk").write_text("x")
    (folder / "disk").chmod(0o666)


def test_an_entry_is_private_unless_it_holds_nothing_secret() -> None:
    assert modes(cache.build_once("thing", "private", mixed)) == {"700", "600"}
    assert modes(cache.build_once("thing", "public", mixed, readers=cache.EVERYBODY)) == {"755", "644"}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_the_user_of_machines_may_read_an_entry_and_not_change_it() -> None:
    """What a machine wrote to while it was installed was that user's."""
    user = pwd.getpwnam("nobody")

    def build(folder: Path) -> None:
        mixed(folder)
        for path in folder.rglob("*"):
            os.chown(path, user.pw_uid, user.pw_gid)

    place = cache.build_once("thing", "key", build, readers="nobody")
    assert modes(place) == {"750", "640"}
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in [place, *place.rglob("*")]}
    assert owners == {(0, user.pw_gid)}
    (place / "disk").chmod(0o660)
    assert damage(place) == "disk can be changed by another user"


def tree(at: Path, content: bytes = b"one") -> Path:
    (at / "folder").mkdir(parents=True)
    (at / "folder" / "file").write_bytes(content)
    (at / "link").symlink_to("folder/file")
    return at


def test_a_digest_does_not_depend_on_place_or_dates(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    os.utime(second / "folder" / "file", (0, 0))
    assert cache.digest(first) == cache.digest(second)


def grow(folder: Path) -> None:
    (folder / "folder" / "new").touch()


def grow_empty(folder: Path) -> None:
    (folder / "empty").mkdir()


def rename(folder: Path) -> None:
    (folder / "folder" / "file").rename(folder / "folder" / "other")


def move_up(folder: Path) -> None:
    (folder / "folder" / "file").rename(folder / "file")


def rewrite(folder: Path) -> None:
    (folder / "folder" / "file").write_bytes(b"two")


def make_executable(folder: Path) -> None:
    (folder / "folder" / "file").chmod(0o755)


def relink(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("folder")


def unlink(folder: Path) -> None:
    (folder / "link").unlink()


def harden(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").write_bytes(b"one")


@pytest.mark.parametrize(
    "change", [grow, grow_empty, rename, move_up, rewrite, make_executable, relink, unlink, harden]
)
def test_a_digest_sees_every_change(change: Callable[[Path], None], tmp_path: Path) -> None:
    folder = tree(tmp_path / "tree")
    before = cache.digest(folder)
    change(folder)
    assert cache.digest(folder) != before


def test_a_digest_leaves_bytecode_out(tmp_path: Path) -> None:
    folder = tree(tmp_path / "tree")
    before = cache.digest(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").touch()
    assert cache.digest(folder) == before


def test_a_digest_follows_the_path_that_it_is_given(tmp_path: Path) -> None:
    """A firmware image is often a symbolic link: what counts is the firmware."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("one")
    link.symlink_to(target)
    before = cache.digest(link)
    assert before == cache.digest(target)
    target.write_text("two")
    assert cache.digest(link) != before


def test_a_digest_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        cache.digest(tmp_path / "missing")


def test_file_content_cannot_pass_for_a_name(tmp_path: Path) -> None:
    """Two trees whose names and contents, strung together, are the same bytes."""
    for name, files in {"a": {"x": b"", "xy": b""}, "b": {"x": b"xy"}}.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
    assert cache.digest(tmp_path / "a") != cache.digest(tmp_path / "b")


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.lists(JSON), st.lists(JSON))
def test_other_values_have_another_digest(first: list[object], second: list[object]) -> None:
    assert (cache.digest(*first) == cache.digest(*second)) == (first == second)


def test_the_order_of_keys_does_not_count() -> None:
    assert cache.digest({"a": 1, "b": 2}) == cache.digest({"b": 2, "a": 1})


def test_disk_use_counts_blocks(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10_000_000)
    assert cache.disk_use(tmp_path) < 100_000


def test_disk_use_takes_no_harm_from_what_goes_meanwhile(tmp_path: Path) -> None:
    """As the doctor looks while another process builds."""
    over = threading.Event()

    def build() -> None:
        while not over.is_set():
            for number in range(20):
                (tmp_path / str(number) / "inner").mkdir(parents=True)
            for folder in tmp_path.iterdir():
                shutil.rmtree(folder)

    builder = threading.Thread(target=build)
    builder.start()
    try:
        for _ in range(200):
            cache.disk_use(tmp_path)
    finally:
        over.set()
        builder.join()


def truncated(place: Path) -> None:
    os.truncate(place / "disk", 0)


def removed(place: Path) -> None:
    (place / "tpm" / "state").unlink()


def broken(place: Path) -> None:
    (place / "disk").write_text("y")


def linked(place: Path) -> None:
    (place / "disk").unlink()
    (place / "disk").symlink_to("/etc/passwd")


def grown(place: Path) -> None:
    (place / "more").touch()


def forgotten(place: Path) -> None:
    (place / CONTENTS).unlink()


def muddled(place: Path) -> None:
    (place / CONTENTS).write_text('{"disk": 1')


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (truncated, "disk has 0 bytes instead of 1"),
        (removed, "tpm/state is missing"),
        (broken, "disk has other content"),
        (linked, "disk has 11 bytes instead of 1"),
        (grown, "more was added"),
        (forgotten, f"it has no {CONTENTS}"),
        (muddled, f"its {CONTENTS} cannot be read"),
    ],
)
def test_a_damaged_entry_is_set_aside_named_and_made_anew(
    harm: Callable[[Path], None], said: str, shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = cache.build_once("thing", "key", mixed)
    harm(place)
    assert cache.build_once("thing", "key", mixed) == place
    assert damage(place) == ""
    assert (place / "disk").read_text() == "x"
    (aside,) = shelf.glob("thing/.key.damaged-*")
    assert (aside / CONTENTS).exists() is (harm is not forgotten)
    told = capsys.readouterr().err
    assert said in told
    assert str(place) in told
    assert aside.name in told
    assert list(cache.remove_abandoned()) == [aside]


def test_a_large_file_is_hashed_only_when_asked_to_be_thorough() -> None:
    def build(folder: Path) -> None:
        (folder / "disk").write_bytes(bytes(SMALL_BYTES + 1))

    place = cache.build_once("thing", "key", build)
    with (place / "disk").open("r+b") as disk:
        disk.seek(1000)
        disk.write(b"x")
    assert damage(place) == ""
    assert damage(place, thorough=True) == "disk has other content than when it was made"


def test_the_doctor_looks_deeper_sets_a_bad_entry_aside_and_leaves_a_good_one(shelf: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "disk").write_bytes(bytes(SMALL_BYTES + 1))

    good, bad = cache.build_once("thing", "good", build), cache.build_once("thing", "bad", build)
    assert doctor.whole_cache(Progress()).state is doctor.State.GOOD
    with (bad / "disk").open("r+b") as disk:
        disk.seek(1000)
        disk.write(b"x")
    row = doctor.whole_cache(Progress())
    assert (row.state, str(bad) in row.found, str(good) in row.found) == (doctor.State.WARNING, True, False)
    assert good.is_dir() and not bad.exists()
    assert len(list(shelf.glob("thing/.bad.damaged-*"))) == 1
    assert cache.build_once("thing", "bad", build) == bad


def test_a_link_is_recorded_by_where_it_leads() -> None:
    def build(folder: Path) -> None:
        (folder / "program").symlink_to("/bin/true")

    place = cache.build_once("thing", "key", build)
    assert damage(place, thorough=True) == ""
    (place / "program").unlink()
    (place / "program").symlink_to("/bin/evil")
    assert damage(place) == "program has other content than when it was made"
