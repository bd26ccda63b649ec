"""What of several files `try` tries, and what it leaves untold, before any part is started."""

import json
import os
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import HostError, RigError
from harness.paths import POLICIES
from harness.policy.pins import CryptenrollPin, Pin, Sss, TangPin, Tpm2Pin
from harness.policy.policy import Volume
from harness.policy.world import TpmState, World
from harness.progress import Progress
from harness.real_tools import command
from harness.real_tools.trial import Trial, _asked


def volume(pins: Pin, **further: str) -> Volume:
    return Volume("var", "/dev/vda5", pins, "secret", "/var", **further)  # type: ignore[arg-type]


def test_of_several_files_a_volume_is_called_after_its_file_too() -> None:
    files = [POLICIES / "tang.bu", POLICIES / "tpm2.bu"]
    assert [each.name for each in command._of_files(files)] == ["tang:var", "tpm2:var"]
    assert [each.name for each in command._of_files(files[:1])] == ["var"]


def test_two_pins_at_the_tpm_at_once_are_left_to_a_boot() -> None:
    both = (Tpm2Pin((7,), "sha256"), Tpm2Pin((4,), "sha256"))
    assert not command.can_be_sealed(volume(Sss(2, both)))
    assert command.can_be_sealed(volume(Sss(1, (both[0], CryptenrollPin((4,))), separate=True)))


def test_what_nothing_is_predicted_of_is_not_tried() -> None:
    assert not command.can_be_sealed(volume(Tpm2Pin(), unpredictable="a unit decides"))


def test_what_is_written_of_a_pin_is_what_the_tools_get(tmp_path: Path) -> None:
    config = {"pcr_ids": "7", "pcr_bank": "sha256", "key": "rsa", "hash": "sha384"}
    text = (POLICIES / "tpm2.bu").read_text()
    section = f"custom: {{pin: tpm2, config: '{json.dumps(config)}'}}"
    (tmp_path / "mine.bu").write_text(text.replace("tpm2: true", section))
    (found,) = command._of_files([tmp_path / "mine.bu"])
    assert found.pins and found.pins.clevis_config() == config


def test_a_tang_server_named_twice_is_two_shares() -> None:
    tang = TangPin("tang", "@TANG_URL@", "@TANG_THUMBPRINT@")
    assert volume(Sss(2, (tang, tang))).tang_servers == ("tang",)


@pytest.mark.parametrize("said", ["OPENED", "no TPM2 object could be loaded"])
def test_what_a_tool_did_on_a_full_disk_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    box: Any = SimpleNamespace(shared=tmp_path, attempt=lambda *_: (0, said))
    world = World(tpm=TpmState.ABSENT)
    assert _asked(box, volume(Tpm2Pin()), tmp_path / "tpm", world, 0.0).opened is (said == "OPENED")
    monkeypatch.setattr("harness.machine.storage.LEAST", 1 << 60)
    with pytest.raises(RigError, match="no room left"):
        _asked(box, volume(Tpm2Pin()), tmp_path / "tpm", world, 0.0)


def test_when_one_share_fails_the_others_end_with_the_cell_that_they_are_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at Ctrl-C: nobody waits until all that is left has been tried."""
    tried: list[object] = []

    def try_under(_parts: object, sealed: str, *_: object) -> Trial:
        if sealed == "broken":
            raise HostError("no TPM here")
        tried.append(sealed)
        threading.Event().wait(0.1)
        return Trial(True, "", 0.1)

    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(command, "guest_tree", lambda *_: nullcontext(Path("/")))
    monkeypatch.setattr(command, "parts_among", lambda *_: nullcontext())
    monkeypatch.setattr(command, "scratch", lambda _user: nullcontext(Path("/")))
    monkeypatch.setattr(command, "seal", lambda _parts, volume, _folder: volume.name)
    monkeypatch.setattr(command, "try_under", try_under)
    volumes = [replace(volume(Tpm2Pin((7,), "sha256")), name=name) for name in ("good", "broken")]
    cells = len(list(command._conditions(volumes[0], ())))
    with pytest.raises(HostError, match="no TPM here"):
        command.try_volumes(volumes, "image", Progress())
    assert len(tried) < cells
