"""The campaigns themselves, without a machine: what they count, and that what they hold can fail."""

import json
import random
import subprocess
from pathlib import Path

import chaos
import pytest
import soak


def document(result: str, unlock: str = "auto-unlock", run: int = 1, **more: object) -> dict[str, object]:
    boots = [{"unlock": unlock, "seconds": {"end": 40.0 + run}}] if result != "error" else []
    return {"test": f"scenarios/test_x.py::test_it[run-{run}]", "result": result, "boots": boots, **more}


def test_a_soak_is_good_when_every_verdict_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.report([document("passed", run=run) for run in range(5)]) == 0
    assert "5 boots, 0 wrong verdicts, 0 errors" in capsys.readouterr().out


@pytest.mark.parametrize(
    "odd", [document("failed", "locked", 9), document("error", run=9, error={"what": "the console closed"})]
)
def test_a_wrong_verdict_or_too_many_errors_of_the_rig_fail_a_soak(odd: dict[str, object]) -> None:
    assert soak.report([*(document("passed", run=run) for run in range(5)), odd]) == 1


def test_a_soak_without_a_boot_is_not_good() -> None:
    assert soak.report([]) == 1


def test_the_same_seed_strikes_the_same_blows() -> None:
    def blows() -> list[chaos.Hit]:
        rng = random.Random(7)
        return [chaos.draw(rng) for _ in range(50)]

    assert blows() == blows()
    assert {hit.target for hit in blows()} >= {"pytest", "QEMU", "swtpm", "libvirtd"}


@pytest.mark.parametrize("change", ["content", "mode", "gone"])
def test_whatever_happens_to_the_users_folder_is_seen(tmp_path: Path, change: str) -> None:
    home = chaos.bystander(tmp_path)
    before, key = chaos.digest(home), home / ".ssh" / "id_ed25519"
    if change == "content":
        key.write_text("another key")
    elif change == "mode":
        key.chmod(0o644)
    else:
        key.unlink()
    assert chaos.digest(home) != before


def test_a_run_that_was_killed_and_says_passed_is_a_lie(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "outcome.json").write_text(json.dumps({"result": "passed"}))
    assert chaos.lies(tmp_path, -9)
    assert not chaos.lies(tmp_path, 0)


def test_what_still_runs_is_found(tmp_path: Path) -> None:
    program = tmp_path / "swtpm"
    program.symlink_to("/bin/cat")
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as left:
        assert left.stdin
        assert left.stdout
        try:
            left.stdin.write(b"?")
            assert left.stdout.read(1)  # a process has no words in /proc before it runs its program
            assert chaos.left_running(tmp_path)
        finally:
            left.kill()
    assert not chaos.left_running(tmp_path)
