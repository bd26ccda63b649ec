"""Where the guest's own tools did something else before anything is booted: only a verdict is a difference."""

import io

import pytest

from harness.errors import HostError
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.progress import Progress
from harness.prove import command
from harness.real_tools.show import Line

POLICY = read_policy(POLICIES / "tang.bu")


def line(condition: str, *, opened: bool | None) -> Line:
    return Line("var", condition, predicted=True, opened=opened, said="clevis is gone", seconds=0.0, image="debian-13")


def test_a_tool_that_gave_no_verdict_is_said_and_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [line("present", opened=True), line("no-link", opened=False), line("unbound", opened=None)]
    monkeypatch.setattr(command, "try_volumes", lambda *_args, **_named: found)
    said = io.StringIO()
    assert command._differing(POLICY, "debian-13", Progress(said)) == {"no-link"}
    assert "no verdict under unbound: clevis is gone" in said.getvalue()


def test_a_host_that_cannot_try_is_told_and_what_is_booted_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_named: object) -> list[Line]:
        raise HostError("Docker is missing")

    monkeypatch.setattr(command, "try_volumes", fails)
    said = io.StringIO()
    assert command._differing(POLICY, "debian-13", Progress(said)) == frozenset()
    assert "not tried before: Docker is missing" in said.getvalue()
