"""What root reads and writes where another user can put links: by descriptor, or not at all."""

import os
from pathlib import Path

import pytest

from harness import untrusted
from harness.errors import RigError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone has something to lose to another user")

USER = 65534


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "log").write_text("words")
    os.chown(folder, USER, USER)
    return folder


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "shadow").write_text("root's secret")
    return tmp_path / "etc" / "shadow"


def test_a_file_is_read(theirs: Path) -> None:
    assert untrusted.read(theirs / "log") == b"words"
    with pytest.raises(FileNotFoundError):
        untrusted.read(theirs / "nothing")


def test_roots_own_links_on_the_way_are_followed(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(theirs)
    assert untrusted.read(tmp_path / "way" / "log") == b"words"


def test_a_link_is_not_read_through(theirs: Path, shadow: Path) -> None:
    (theirs / "link").symlink_to(shadow)
    with pytest.raises(RigError, match="link"):
        untrusted.read(theirs / "link")


def test_a_folder_that_is_a_link_is_not_gone_through(theirs: Path, shadow: Path) -> None:
    (theirs / "way").symlink_to(shadow.parent)
    for act in (untrusted.read, untrusted.remove, lambda path: untrusted.give(path, USER, USER)):
        with pytest.raises(RigError, match="no folder"):
            act(theirs / "way" / "shadow")
    assert shadow.read_text() == "root's secret"
    assert shadow.stat().st_uid == 0


def test_a_pipe_is_not_waited_for(theirs: Path) -> None:
    os.mkfifo(theirs / "pipe")
    with pytest.raises(RigError, match="no regular file"):
        untrusted.read(theirs / "pipe")


def test_a_folder_is_copied_but_for_its_links(theirs: Path, shadow: Path, tmp_path: Path) -> None:
    (theirs / "tpm").mkdir()
    (theirs / "tpm" / "state").write_text("state")
    untrusted.copy(theirs / "tpm", tmp_path / "one")
    assert (tmp_path / "one" / "state").read_text() == "state"
    (theirs / "tpm" / "link").symlink_to(shadow)
    with pytest.raises(RigError, match="link"):
        untrusted.copy(theirs / "tpm", tmp_path / "two")


def test_what_is_given_away_is_the_link_and_not_what_it_names(theirs: Path, shadow: Path) -> None:
    (theirs / "link").symlink_to(shadow)
    untrusted.give(theirs, USER, USER)
    assert shadow.stat().st_uid == 0
    assert (theirs / "link").lstat().st_uid == USER
    assert (theirs / "log").stat().st_uid == USER


def test_a_second_name_of_roots_file_is_not_given_away(theirs: Path, shadow: Path) -> None:
    (theirs / "name").hardlink_to(shadow)
    with pytest.raises(RigError, match="another name"):
        untrusted.give(theirs, USER, USER)
    assert shadow.stat().st_uid == 0


def test_a_link_itself_is_removed(theirs: Path, shadow: Path) -> None:
    (theirs / "link").symlink_to(shadow)
    untrusted.remove(theirs / "link")
    untrusted.remove(theirs / "link")
    assert not (theirs / "link").is_symlink()
    assert shadow.exists()
