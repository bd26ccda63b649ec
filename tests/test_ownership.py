"""What is ours to change, and what is refused with nothing changed."""

import os
import stat
from pathlib import Path

import pytest

from harness.errors import HostError, UsageError
from harness.ownership import MARK, claim, emptied, is_ours, require

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A home with what its owner would miss."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_text("secret")
    (home / "m").mkdir()
    (home / "m" / "letter").write_text("dear")
    home.chmod(0o711)
    return home


def looks(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_mode, path.lstat().st_mtime_ns) for path in [folder, *folder.rglob("*")])


def test_a_new_folder_is_made_and_marked(tmp_path: Path) -> None:
    made = claim(tmp_path / "a" / "b", "X", 0o700)
    assert is_ours(made)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert claim(made, "X", 0o755) == made, "what is marked is taken again"
    assert stat.S_IMODE(made.stat().st_mode) == 0o755


def test_folders_on_the_way_are_nobody_elses_to_change_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        claim(tmp_path / "a" / "b" / "c", "THIS")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o022 for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c")] == [0, 0, 0]
    claim(tmp_path / "a" / "b" / "c", "THIS")


def test_an_empty_folder_of_ours_is_adopted(tmp_path: Path) -> None:
    assert not is_ours(tmp_path)
    assert is_ours(claim(tmp_path, "X"))


def test_a_strangers_folder_is_refused_by_name_and_unchanged(stranger: Path) -> None:
    before = looks(stranger)
    for act in (claim, require):
        with pytest.raises(UsageError) as refused:
            act(stranger, "UNLOCK_LAB_CACHE")
        assert str(stranger) in refused.value.what
        assert "UNLOCK_LAB_CACHE" in refused.value.hint
    with pytest.raises(UsageError):
        emptied(stranger)
    assert looks(stranger) == before


def test_a_link_is_refused(stranger: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    for target in (stranger, claim(tmp_path / "marked", "X")):
        link.symlink_to(target)
        with pytest.raises(UsageError, match="a link to"):
            claim(link, "X")
        assert not is_ours(link)
        link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises((UsageError, HostError)):
        claim(link, "X")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((UsageError, HostError)):
        claim(tmp_path / "file", "X")


@ROOT_ONLY
def test_a_folder_of_another_user_is_refused_though_it_is_empty_or_marked(tmp_path: Path) -> None:
    for name, mark in (("empty", False), ("marked", True)):
        other = tmp_path / name
        other.mkdir()
        if mark:
            (other / MARK).touch()
        os.chown(other, 12345, 12345)
        with pytest.raises(UsageError, match="user 12345"):
            claim(other, "X")
        assert not is_ours(other)


@ROOT_ONLY
def test_the_mark_of_another_user_is_none(tmp_path: Path) -> None:
    (tmp_path / MARK).touch()
    os.chown(tmp_path / MARK, 12345, 12345)
    with pytest.raises(UsageError):
        claim(tmp_path, "X")


def test_a_mark_that_is_a_link_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / MARK).symlink_to("file")
    with pytest.raises(UsageError):
        claim(tmp_path, "X")


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_can_move_away_is_refused(mode: int, tmp_path: Path) -> None:
    way = tmp_path / "way"
    way.mkdir()
    os.chown(way, -1, 12345) if os.geteuid() == 0 else None
    way.chmod(mode)
    if os.geteuid() != 0 and mode == 0o775:
        pytest.skip("the group of one user alone may write")
    with pytest.raises(UsageError, match="in the hands of others"):
        claim(way / "lab", "X")
    assert not (way / "lab").exists()
    way.chmod(mode | 0o1000)
    assert is_ours(claim(way / "lab", "X")), "what is sticky, as /tmp is, is safe"


@ROOT_ONLY
def test_a_folder_below_another_users_is_refused(tmp_path: Path) -> None:
    """As in /tmp/unlock-lab-1000 that another user made first."""
    way = tmp_path / "way"
    (way / "lab").mkdir(parents=True)
    os.chown(way, 12345, 12345)
    with pytest.raises(UsageError, match="user 12345"):
        claim(way / "lab", "X")
    assert not is_ours(way / "lab") or not (way / "lab" / MARK).exists()


def test_only_marked_folders_are_emptied(tmp_path: Path) -> None:
    home = claim(tmp_path / "home", "X")
    mine = claim(home / "mine", "X")
    (mine / "file").touch()
    (home / "photos").mkdir()
    (home / "photos" / "one").touch()
    (home / "link").symlink_to(claim(tmp_path / "elsewhere", "X"))
    assert emptied(home) == [home / "link", home / "photos"]
    assert not mine.exists()
    assert (home / "photos" / "one").exists()
    assert is_ours(tmp_path / "elsewhere")


def test_who_comes_between_the_two_looks_is_one_of_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process marks the folder, and fills it, while this one looks."""
    listdir = os.listdir

    def late(handle: int) -> list[str]:
        (tmp_path / MARK).touch()
        (tmp_path / "m").mkdir(exist_ok=True)
        return [name for name in listdir(handle) if name != MARK]

    monkeypatch.setattr(os, "listdir", late)
    assert claim(tmp_path, "X") == tmp_path


def test_a_place_that_cannot_be_written_to_is_the_hosts_error() -> None:
    with pytest.raises(HostError, match="/proc/nowhere"):
        claim(Path("/proc/nowhere"), "UNLOCK_LAB_CACHE")


def test_a_folder_of_ours_on_a_disk_that_takes_nothing_more_is_the_hosts_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(tmp_path / "cache", "UNLOCK_LAB_CACHE")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # as access(2) of a disk that is mounted read-only
    with pytest.raises(HostError, match="Read-only file system"):
        claim(tmp_path / "cache", "UNLOCK_LAB_CACHE")
