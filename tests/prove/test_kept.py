"""What `prove` says before it boots: what cannot be written to, and what it need not boot again."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import HostError
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.policy import Policy
from harness.prove import command
from harness.prove.attacks import staged


@pytest.mark.parametrize(
    ("run", "artifacts"), [("/proc/nowhere", "artifacts"), ("", "/proc/nowhere")], ids=["machines", "evidence"]
)
def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_tried(
    run: str, artifacts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "try_volumes", lambda *_: pytest.fail("the guest's tools were tried"))
    if run:
        monkeypatch.setenv("UNLOCK_LAB_RUN", run)
    with pytest.raises(HostError, match="/proc/nowhere cannot be made or written to"):
        command.main([str(POLICIES / "tang.bu"), "--artifacts", artifacts])


@pytest.mark.parametrize(
    ("left", "played", "said"),
    [(2, 0, ""), (1, 0, "1 of 2 conditions and 0 of 1 attacks are known"), (2, 1, "0 of 2 conditions and 1 of 1")],
)
def test_what_is_known_is_said_before_the_rest_is_booted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: int, played: int, said: str
) -> None:
    policy: Policy = read_policy(POLICIES / "tang.bu")
    machine: Any = SimpleNamespace(policy=policy, columns=("no-link", "unbound"), artifacts=tmp_path)
    monkeypatch.setattr(command, "left_to_boot", lambda *_: [None] * left)
    monkeypatch.setattr(command, "known", lambda *_: {} if played else None)
    entry: Any = None
    told = command.kept(machine, tuple(staged(policy)), entry)
    assert (said in told) if said else told == ""
