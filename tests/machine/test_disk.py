"""Disk images, with the real qemu-img: it needs no machine, no root, and milliseconds."""

import shutil
import time
from pathlib import Path

import pytest

from harness import process
from harness.errors import HostError
from harness.machine import disk

MIB = 1 << 20

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A disk that holds 4 MiB, with a hole in the middle."""
    raw = tmp_path / "base"
    with raw.open("wb") as file:
        file.write(b"a" * 2 * MIB)
        file.seek(62 * MIB)
        file.write(b"z" * 2 * MIB)
    return imported(raw)


def imported(raw: Path) -> Path:
    out = raw.with_suffix(".qcow2")
    process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, out], timeout=30)
    return out


def test_an_overlay_is_a_copy_in_no_time_that_leaves_its_base_alone(base: Path, tmp_path: Path) -> None:
    before = base.read_bytes()
    start = time.monotonic()
    copy = disk.overlay(base, tmp_path / "copy.qcow2")
    assert time.monotonic() - start < 1.0
    assert disk.info(copy).base == base
    assert disk.info(copy).virtual_size == 64 * MIB
    assert disk.info(copy).actual_size < MIB
    disk.grow(copy, 128 * MIB)
    assert base.read_bytes() == before


def test_a_relative_base_is_found_from_elsewhere(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    copy = disk.overlay(Path("base.qcow2"), Path("elsewhere/copy.qcow2"))
    assert disk.info(copy).base == base


def test_an_overlay_can_be_larger_than_its_base(base: Path, tmp_path: Path) -> None:
    assert disk.info(disk.overlay(base, tmp_path / "c", size=256 * MIB)).virtual_size == 256 * MIB


def test_a_copy_is_the_same_file_again(base: Path, tmp_path: Path) -> None:
    assert disk.copy(base, tmp_path / "copy.qcow2").read_bytes() == base.read_bytes()


def test_growing_and_blank_disks(tmp_path: Path) -> None:
    empty = disk.blank(tmp_path / "blank.qcow2", 10 * MIB)
    assert disk.info(empty) == disk.DiskInfo(10 * MIB, disk.info(empty).actual_size, None)
    disk.grow(empty, 20 * MIB)
    assert disk.info(empty).virtual_size == 20 * MIB


def test_a_missing_base_is_said(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="qemu-img failed") as caught:
        disk.overlay(tmp_path / "absent.qcow2", tmp_path / "copy.qcow2")
    assert "absent.qcow2" in str(caught.value)
