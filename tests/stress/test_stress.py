"""The campaigns themselves, without a machine: what they count, and that what they hold can fail."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aftermath
import blow
import chaos
import pytest
import soak

from harness import cache

EVERYWHERE = ("dockerd", "disk", "clock")


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
    def blows(*without: str) -> list[blow.Hit]:
        rng = random.Random(7)
        return [blow.draw(rng, without) for _ in range(200)]

    assert blows() == blows()
    assert {hit.target for hit in blows()} == {*(each for some in blow.TARGETS.values() for each in some), *EVERYWHERE}
    assert {hit.work for hit in blows()} == blow.WORK.keys() == blow.TARGETS.keys()
    spared = blows("dockerd", "matrix")
    assert not [hit for hit in spared if hit.target == "dockerd" or hit.work == "matrix"]


@pytest.mark.parametrize("target", [*blow.PROGRAMS, "any process"])
def test_a_blow_falls_on_its_own_run_alone(tmp_path: Path, target: str) -> None:
    """Two runs on one host, and one whose folder's name goes on where the other's ends."""
    program = tmp_path / blow.PROGRAMS.get(target, "sh")
    program.symlink_to("/bin/cat")
    runs = [tmp_path / name for name in ("run", "another", "run-2")]
    with ExitStack() as stack:
        own, *others = (stack.enter_context(waiting(program, UNLOCK_LAB_RUN=str(run))) for run in runs)
        hit = blow.Hit("boot", target, "SIGKILL", at_work=False, after=0)
        assert blow.targets(hit, own, runs[0]) == [own.pid]
        assert blow.strike(hit, own, runs[0])
        assert own.wait(10) == -signal.SIGKILL
        assert [other.poll() for other in others] == [None, None]


@contextmanager
def waiting(program: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits; it runs its program, and so has its own words and environment in /proc."""
    pipe = subprocess.PIPE
    with subprocess.Popen([program], stdin=pipe, stdout=pipe, bufsize=0, env=environment) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(b"?")
            assert process.stdout.read(1)
            yield process
        finally:
            process.kill()


def test_work_that_has_its_own_cache_sees_the_usual_one_and_writes_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "usual"
    for kind in ("images", "sealed"):
        (usual / kind / "key").mkdir(parents=True)
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(usual))
    own = chaos.cache_without(frozenset({"sealed"}), tmp_path / "own")
    monkeypatch.setenv("UNLOCK_LAB_CACHE", str(own))
    assert (own / "images" / "key").samefile(usual / "images" / "key")
    assert cache.shelf("sealed") == own / "sealed"
    assert not cache.entry("sealed", "key").exists()


@pytest.mark.parametrize("change", ["content", "mode", "gone"])
def test_whatever_happens_to_the_users_folder_is_seen(tmp_path: Path, change: str) -> None:
    home = aftermath.bystander(tmp_path)
    before, key = aftermath.digest(home), home / ".ssh" / "id_ed25519"
    if change == "content":
        key.write_text("another key")
    elif change == "mode":
        key.chmod(0o644)
    else:
        key.unlink()
    assert aftermath.digest(home) != before


def test_a_verdict_that_pytest_did_not_come_to_is_a_lie(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    test = "scenarios/test_control.py::test_it[tpm2]"
    outcome = tmp_path / "test" / "outcome.json"
    outcome.write_text(json.dumps({"test": test, "result": "passed"}))
    assert aftermath.lies(tmp_path, "collecting …")
    assert not aftermath.lies(tmp_path, f"{test} PASSED [100%]")
    assert not aftermath.lies(tmp_path, f"[gw1] [ 50%] PASSED {test} ")
    assert not aftermath.lies(tmp_path, f"{test} · install it …\n✓ install it (3.0 s)\nPASSED [100%]\n")
    assert aftermath.lies(tmp_path, f"{test} · install it …\n✗ install it (3.0 s)\nERROR [100%]\nPASSED\n")
    outcome.write_text(json.dumps({"test": test, "result": "failed", "failure": "it fell back"}))
    assert aftermath.lies(tmp_path, f"{test} FAILED"), "nothing that is hit makes a verdict wrong"
    outcome.write_text(json.dumps({"test": test, "result": "unfinished"}))
    assert not aftermath.lies(tmp_path, "")


def test_a_tool_that_differs_from_the_rules_is_a_lie() -> None:
    said = "{} cells, 0.52 s a cell, 3 s in all; {} differ from the rules, 1 have no verdict"
    assert not aftermath.tried_otherwise(said.format(10, 0))
    assert aftermath.tried_otherwise(said.format(10, 10))


def test_what_still_runs_is_found(tmp_path: Path) -> None:
    with waiting(Path("/bin/cat"), XDG_RUNTIME_DIR=str(tmp_path / "session" / "run")):
        assert aftermath.left_running(tmp_path)
    assert not aftermath.left_running(tmp_path)


def test_what_lies_about_is_found(tmp_path: Path) -> None:
    run, temporary = tmp_path / "run", tmp_path / "tmp"
    assert not [*aftermath.left_lying(run, temporary), *aftermath.half_written(tmp_path)]
    (run / "m" / "machine").mkdir(parents=True)
    (temporary / "unlock-lab-tmp-0" / "b" / "image").mkdir(parents=True)
    assert len([*aftermath.left_lying(run, temporary)]) == 2
    (tmp_path / "cache" / "sealed" / ".key.part-1").mkdir(parents=True)
    assert not aftermath.half_written(tmp_path / "cache")
    (tmp_path / "cache" / "sealed" / "key").mkdir(parents=True)
    assert aftermath.half_written(tmp_path / "cache")


def test_the_clock_of_a_process_jumps_and_its_sleep_does_not(tmp_path: Path) -> None:
    shift = tmp_path / "clock"
    shift.write_text(str(chaos.JUMP_SECONDS))
    own = {**os.environ, "LD_PRELOAD": str(chaos.compiled(chaos.CLOCK, tmp_path)), "CHAOS_CLOCK": str(shift)}
    look = "import time; slept = time.monotonic(); time.sleep(0.1); print(time.time(), time.monotonic() - slept)"
    argv = [sys.executable, "-c", look]
    now, slept = map(float, subprocess.run(argv, env=own, capture_output=True, check=True).stdout.split())
    assert abs(now - chaos.JUMP_SECONDS - time.time()) < 60
    assert slept < 30
