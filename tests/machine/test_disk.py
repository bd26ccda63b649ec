"""Disk images, with the real qemu-img: it needs no machine, no root, and milliseconds."""

import json
import resource
import shutil
from pathlib import Path
from typing import Any

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


def info(of: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(process.run(["qemu-img", "info", "--output=json", of], timeout=30))
    return said


def processor_seconds() -> float:
    """What ended children took: the wall's clock would count what a busy host does besides."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def imported(raw: Path) -> Path:
    out = raw.with_suffix(".qcow2")
    process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, out], timeout=30)
    return out


def test_an_overlay_is_a_copy_in_no_time_that_leaves_its_base_alone(base: Path, tmp_path: Path) -> None:
    before = base.read_bytes()
    start = processor_seconds()
    copy = disk.overlay(base, tmp_path / "copy.qcow2")
    assert processor_seconds() - start < 1.0
    said = info(copy)
    assert said["full-backing-filename"] == str(base)
    assert said["virtual-size"] == 64 * MIB
    assert said["actual-size"] < MIB
    assert base.read_bytes() == before


def test_a_relative_base_is_found_from_elsewhere(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    copy = disk.overlay(Path("base.qcow2"), Path("elsewhere/copy.qcow2"))
    assert info(copy)["full-backing-filename"] == str(base)


def test_an_overlay_can_be_larger_than_its_base(base: Path, tmp_path: Path) -> None:
    assert info(disk.overlay(base, tmp_path / "c", size=256 * MIB))["virtual-size"] == 256 * MIB


def test_blank_disks(tmp_path: Path) -> None:
    assert info(disk.blank(tmp_path / "blank.qcow2", 10 * MIB))["virtual-size"] == 10 * MIB


def test_a_missing_base_is_said(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="qemu-img failed") as caught:
        disk.overlay(tmp_path / "absent.qcow2", tmp_path / "copy.qcow2")
    assert "absent.qcow2" in str(caught.value)
