"""One more try after a stall, from the same state, and said aloud."""

import io
from pathlib import Path

import pytest

from harness.errors import RigError, StallError
from harness.lab.retry import retry_on_stall, saved
from harness.machine.spec import Disk, Firmware, Machine, Tpm
from harness.progress import Progress


class Attempts:
    """Fails with each error in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "verdict"


def tried(attempts: Attempts) -> tuple[str, str]:
    said = io.StringIO()
    return retry_on_stall(attempts, lambda: said.write("restored\n"), "lab, boot", Progress(said)), said.getvalue()


def test_what_goes_well_is_done_once() -> None:
    attempts = Attempts()
    assert tried(attempts) == ("verdict", "")
    assert attempts.made == 1


def test_a_stall_is_tried_once_more_and_said() -> None:
    verdict, said = tried(Attempts(StallError("the TPM timed out", "a tail")))
    assert verdict == "verdict"
    assert said == "! lab, boot: trying once more, since the TPM timed out\nrestored\n"


def test_a_second_stall_is_the_end() -> None:
    attempts = Attempts(StallError("first"), StallError("second"))
    with pytest.raises(StallError, match="second"):
        tried(attempts)
    assert attempts.made == 2


def test_what_ends_alike_in_both_tries_is_told_as_hardly_chance() -> None:
    panic = "the guest's kernel panicked: [ {} ] Kernel panic - not syncing: integrity_inode_get"
    panics = [panic.replace(" {} ", time) for time in ("    8.657462", "   10.100000")]
    with pytest.raises(StallError, match=r"^both tries ended alike: .*10\.1.* integrity_inode_get") as caught:
        tried(Attempts(StallError(panics[0], hint="no verdict"), StallError(panics[1], hint="no verdict")))
    assert "its command line" in caught.value.hint


def test_two_stalls_that_are_not_alike_are_told_apart() -> None:
    with pytest.raises(StallError, match=r"^the TPM timed out") as caught:
        tried(Attempts(StallError("the kernel panicked", hint="a"), StallError("the TPM timed out", hint="b")))
    assert caught.value.hint == "b"


def test_what_another_try_would_not_mend_is_not_tried() -> None:
    attempts = Attempts(RigError("the evidence does not agree"))
    with pytest.raises(RigError, match="does not agree"):
        tried(attempts)
    assert attempts.made == 1


def test_the_state_is_what_it_was(tmp_path: Path) -> None:
    folder, copies = tmp_path / "machine", tmp_path / "copies"
    folder.mkdir()
    copies.mkdir()
    disk, tpm = folder / "disk.qcow2", folder / "tpm"
    disk.write_text("before")
    tpm.mkdir()
    (tpm / "state").write_text("before")
    (tpm / ".lock").touch()
    nvram = folder / "nvram.fd"  # made at power-on
    machine = Machine("lab", Firmware("f", folder, folder, True), nvram, (Disk(disk),), Tpm(tpm))
    restore = saved(machine, copies)
    disk.write_text("after")
    nvram.write_text("after")
    (tpm / "state").write_text("after")
    (tpm / "more").touch()
    restore()
    assert disk.read_text() == "before"
    assert not nvram.exists()
    assert sorted(path.name for path in tpm.iterdir()) == ["state"]
    assert (tpm / "state").read_text() == "before"


def test_a_tpm_that_was_not_there_is_not_there_again(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    machine = Machine("lab", Firmware("f", tmp_path, tmp_path, True), tmp_path / "nvram.fd", (), Tpm(tmp_path / "tpm"))
    restore = saved(machine, copies)
    (tmp_path / "tpm").mkdir()
    restore()
    assert not (tmp_path / "tpm").exists()
