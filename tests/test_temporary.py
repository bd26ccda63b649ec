"""Folders that a killed process does not leave behind."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from harness import temporary
from harness.deadline import Deadline
from harness.errors import HostError
from harness.temporary import remove_orphaned_in, temporary_folder, temporary_root

SCRIPT = """
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from harness.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "disk").write_bytes(b"219 MB")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_a_killed_process_leaves_no_folder(signal: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        folder = Path(child.stdout.readline().strip())
        assert (folder / "disk").exists()
        assert folder.stat().st_mode & 0o777 == 0o700
        child.send_signal(getattr(__import__("signal"), signal))
    deadline = Deadline.after(10)
    while folder.exists():
        assert not deadline.over


def test_what_a_power_cut_left_is_removed_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder() as used:
        (temporary_root() / "left").mkdir()
        remove_orphaned_in(temporary_root())
        assert used.exists()
        assert not (temporary_root() / "left").exists()
    assert not used.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_folder_whose_reaper_was_killed_is_removed_by_its_owner(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        started.append(popen(*arguments, **options))
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    with temporary_folder() as folder:
        (folder / "disk").write_text("a copy of a disk")
        (reaper,) = started
        reaper.send_signal(number)
        reaper.wait(20)
    assert not folder.exists()


def test_a_removal_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does while a tool that outlives the owner writes into the folder: debugfs, into the tree of a guest."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tries = tmp_path / "tries"
    (tmp_path / "rm").write_text(
        f'#!/bin/sh\necho >> {tries}\ntest $(wc -l < {tries}) -gt 3 && PATH={os.defpath} rm "$@"\n'
    )
    (tmp_path / "rm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with temporary_folder() as folder:
        (folder / "root").mkdir()
    assert not folder.exists()


def test_a_folder_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(temporary, "_REAPER", temporary._REAPER.replace("tries=100", "tries=1"))
    (tmp_path / "rm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "rm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(HostError, match="cannot be removed"), temporary_folder() as folder:
        pass
    assert folder.exists()


def test_a_removal_that_takes_too_long_does_not_hide_what_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    removed = temporary._dismiss

    def too_slow(reaper: "subprocess.Popen[bytes]", folder: Path) -> None:
        removed(reaper, folder)
        raise HostError("too slow")

    monkeypatch.setattr(temporary, "_dismiss", too_slow)
    with pytest.raises(RuntimeError, match="the cause"), temporary_folder():
        raise RuntimeError("the cause")
    with pytest.raises(HostError, match="too slow"), temporary_folder():
        pass
