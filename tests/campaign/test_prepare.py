"""Work side by side: what it took, and what becomes of an error."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness import housekeeping
from harness.campaign import prepare
from harness.campaign.prepare import require, side_by_side
from harness.errors import HarnessError, HostError
from harness.host.accel import Accel


def test_what_needs_nothing_of_each_other_is_on_at_once() -> None:
    together = threading.Barrier(3, timeout=10)
    took = side_by_side(dict.fromkeys("abc", together.wait))
    assert set(took) == set("abc")
    assert all(0 <= seconds < 10 for seconds in took.values())


@pytest.mark.parametrize("command", [prepare.main, housekeeping.images])
@pytest.mark.parametrize("name", ["DOCKER_HOST", "UNLOCK_LAB_MACHINES"])
def test_what_is_wrong_is_told_before_anything_is_made(
    name: str, command: Callable[[Sequence[str]], int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An image takes minutes, and longer where slots are taken."""
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(name, "unix:///none" if name == "DOCKER_HOST" else "many")
    with pytest.raises(HarnessError, match=r"no Docker daemon answers at unix:///none|'many'"):
        command(["build", "debian-13"] if command is housekeeping.images else ["debian-13"])
    assert not (tmp_path / "cache").exists()


def test_a_folder_of_machines_that_cannot_be_written_to_is_told_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNLOCK_LAB_RUN", "/proc/nowhere")
    with pytest.raises(HostError, match="/proc/nowhere cannot be made or written to"):
        prepare.main(["debian-13"])
    assert not (tmp_path / "cache").exists()


def test_an_error_is_raised_when_the_others_have_ended() -> None:
    ended = threading.Event()

    def fails() -> None:
        raise HostError("no mirror")

    with pytest.raises(HostError, match="no mirror"):
        side_by_side({"first": fails, "second": ended.set})
    assert ended.is_set()


def test_a_host_that_was_to_have_kvm_and_has_not_is_told() -> None:
    emulation = Accel("tcg", "this host has no /dev/kvm")
    require("auto", emulation)
    require("tcg", emulation)
    with pytest.raises(HostError, match="under kvm, and here they run under tcg") as caught:
        require("kvm", emulation)
    assert "/dev/kvm" in caught.value.detail
