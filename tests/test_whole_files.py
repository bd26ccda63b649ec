"""Files and folders that are written whole, numbered, or read whole or from their end."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.files import MOST_BYTES, end_of, numbered_folder, read_whole, tail, whole_file, whole_folder, write_whole


def test_a_file_is_replaced_at_the_end_and_left_alone_when_it_fails(tmp_path: Path) -> None:
    place = tmp_path / "it"
    write_whole(place, "old", 0o644)
    assert place.stat().st_mode & 0o777 == 0o644
    with whole_file(place) as file:
        file.write(b"new")
        assert place.read_text() == "old"
    assert place.read_text() == "new"
    assert place.stat().st_mode & 0o777 == 0o600, "private unless another mode is named"
    with pytest.raises(ZeroDivisionError), whole_file(place) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert place.read_text() == "new"
    assert list(tmp_path.iterdir()) == [place]


def test_text_that_utf8_cannot_say_is_written_all_the_same(tmp_path: Path) -> None:
    write_whole(tmp_path / "it", "a\ud800b")
    assert (tmp_path / "it").read_bytes() == b"a?b"


def test_a_folder_takes_its_place_at_the_end_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "it"
    with pytest.raises(ZeroDivisionError), whole_folder(place) as part:
        (part / "half").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(place) as part:
        (part / "content").touch()
        (part / "link").symlink_to("nowhere")
        assert not place.exists()
        assert part.name.startswith(".")
    assert sorted(path.name for path in place.iterdir()) == ["content", "link"]
    assert place.stat().st_mode & 0o777 == 0o700, "private unless another mode is named"
    assert list(tmp_path.iterdir()) == [place]


def test_a_killed_writer_leaves_the_old_content(tmp_path: Path) -> None:
    place = tmp_path / "it"
    place.write_text("old")
    program = (
        "import os, signal, sys; from pathlib import Path; from harness.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(place)], check=False).returncode == -9
    assert place.read_text() == "old"


def test_folders_are_numbered_in_order_whatever_is_there(tmp_path: Path) -> None:
    (tmp_path / "boot-1").touch()
    (tmp_path / "boot-old").touch()
    assert [numbered_folder(tmp_path, "boot").name for _ in range(3)] == ["boot-0", "boot-2", "boot-3"]


@given(st.lists(st.text(st.characters(categories=("L", "N")), max_size=5), max_size=40), st.integers(1, 20))
def test_the_tail_of_a_text_is_its_last_lines(lines: list[str], count: int) -> None:
    text = "".join(f"{line}\n" for line in lines)
    assert tail(text, count) == tail(text.encode(), count) == "\n".join(lines[-count:])


def test_the_tail_of_a_file_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 100_000 + b"\nlast \xff\n")
    assert tail(log, 1) == "last \ufffd"
    assert end_of(log, 8) == b"\nlast \xff\n"
    assert end_of(log, 10**6) == log.read_bytes()


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "no end", "too much", "loop", "nothing"])
def test_what_is_no_file_or_too_much_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path("it")
    match kind:
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(place))
        case "no end":
            place.symlink_to("/dev/zero")
        case "loop":
            place.symlink_to(place)
        case "too much":
            place.touch()
            os.truncate(place, MOST_BYTES + 1)
    with pytest.raises(OSError):
        read_whole(place)
    if kind != "too much":
        with pytest.raises(OSError):
            end_of(place)


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b"0123")
    assert read_whole(tmp_path / "it", 4) == b"0123"
    with pytest.raises(OSError, match="more than"):
        read_whole(tmp_path / "it", 3)


def test_a_log_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    assert "absent" in tail(tmp_path / "absent")
    assert os.strerror(2) in tail(tmp_path / "absent")
