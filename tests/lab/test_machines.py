"""The machines of one scenario, with nothing installed and no server behind them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.lab import machines, sealed
from harness.lab.machines import Machines
from harness.lab.recorder import EvidenceRecorder
from harness.machine.spec import Firmware, Machine


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What starts and ends."""
    told: list[str] = []

    @contextmanager
    def served(_lab: object, _policy: object, held: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        told.append(f"serves {','.join(held)}")
        yield {name: SimpleNamespace(name=name, raw_log=f"log of {name}") for name in held}
        told.append(f"served {','.join(held)}")

    def copied(entry: Any, folder: Path) -> Machine:
        firmware = Firmware("trixie", folder / "code.fd", folder / "vars.fd", secure_boot=True)
        return Machine(entry.policy.name, firmware, folder / "nvram.fd", (), None)

    monkeypatch.setattr(machines, "served", served)
    monkeypatch.setattr(sealed, "copied", copied)
    return told


def entry(folder: Path, policy: str, *servers: str) -> Any:
    folder.mkdir()
    (folder / "config.ign").write_text(f"{{}} of {policy}")
    return SimpleNamespace(
        folder=folder,
        policy=SimpleNamespace(name=policy, notes=(), config={}, source=f"source of {policy}", volumes=()),
        canaries={},
        image=SimpleNamespace(name="debian-13"),
        held=dict.fromkeys(servers, "keys"),
        versions={"image": policy},
    )


@pytest.fixture
def made(tmp_path: Path, events: list[str]) -> Iterator[Machines]:
    lab: Any = SimpleNamespace(host=SimpleNamespace(user=None), versions={"qemu": "10"})
    with Machines(lab, EvidenceRecorder.open(tmp_path / "a", "t.py::test", "")) as machines:
        yield machines
    assert events[-1].startswith("served")


def test_copies_of_one_machine_have_files_of_their_own_and_share_their_servers(
    made: Machines, tmp_path: Path, events: list[str]
) -> None:
    of_tang = entry(tmp_path / "e", "tang", "tang")
    first, second = made.copy(of_tang), made.copy(of_tang)
    assert (first.machine.name, second.machine.name) == ("tang", "tang-2")
    assert first.folder != second.folder
    assert {first.machine.nvram.parent, second.machine.nvram.parent} == {first.folder, second.folder}
    assert first.context.asked is second.context.asked
    assert events == ["serves tang"]


def test_machines_of_two_policies_have_servers_and_evidence_of_their_own(tmp_path: Path, events: list[str]) -> None:
    lab: Any = SimpleNamespace(host=SimpleNamespace(user=None), versions={})
    recorder = EvidenceRecorder.open(tmp_path / "a", "t.py::test", "")
    with Machines(lab, recorder) as made:
        one = made.copy(entry(tmp_path / "1", "tang", "tang"))
        other = made.copy(entry(tmp_path / "2", "two-tangs", "a", "b"))
        assert one.context.asked is not other.context.asked
        folders = (one.folder, other.folder)
    assert events == ["serves tang", "serves a,b", "served a,b", "served tang"]
    assert not any(folder.exists() for folder in folders)
    kept = {path.name: path.read_text() for path in recorder.folder.iterdir() if path.suffix != ".json"}
    assert kept == {
        "config.bu": "source of tang",
        "config.ign": "{} of tang",
        "two-tangs-config.ign": "{} of two-tangs",
        "tang.log": "log of tang",
        "two-tangs-a.log": "log of a",
        "two-tangs-b.log": "log of b",
    }
    assert recorder.write()["policy"] == "tang"
