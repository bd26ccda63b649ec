"""The guest's own tools without a machine: the real parts once, and what is counted as agreement."""

from pathlib import Path

import pytest

from harness.errors import HostError, RigError, UsageError
from harness.host.scratch import scratch
from harness.matrix.conditions import all_conditions
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.progress import Progress
from harness.real_tools import command
from harness.real_tools.parts import real_parts
from harness.real_tools.show import Line
from harness.real_tools.trial import ONLY_A_BOOT, seal, try_under

OPENS = {"present", "tang-rotated", "key-enrolled", "regenerated"}
STAYS_SHUT = {"tpm-absent", "tpm-replaced", "tpm-locked-out", "tang-deleted", "no-link", "token-removed", "unbound"}


@pytest.mark.parametrize("predicted", [True, False])
@pytest.mark.parametrize("opened", [True, False])
def test_rules_and_tools_agree_when_both_opened_it_or_neither(predicted: bool, opened: bool) -> None:
    assert Line("var", "present", predicted, opened, "", 1.0, "debian-13").agrees is (predicted == opened)


def test_what_is_left_to_a_boot_is_a_condition() -> None:
    assert ONLY_A_BOOT.keys() <= {condition.name for condition in all_conditions()}


def test_each_policy_of_the_table_that_can_be_sealed_here_is_tried() -> None:
    names = [volume.name for volume in command._of_table()]
    assert {
        "tpm2",
        "tpm2-and-tang",
        "two-of-three-tangs",
        "two-bindings",
        "cryptenroll-pcr7",
        "cryptenroll-pin",
    } <= set(names)
    assert not {"passphrase-alone", "key-file"} & set(names)


def test_a_file_with_nothing_to_try_is_told_before_anything_is_started(tmp_path: Path) -> None:
    path = tmp_path / "mine.bu"
    path.write_text((POLICIES / "passphrase.bu").read_text())
    with pytest.raises(UsageError, match="no volume that can be tried"):
        command.main([str(path)])


@pytest.mark.parametrize(
    ("policy", "condition", "why"),
    [
        ("tang", "without-tang", "without tang"),
        ("tang", "secure-boot-on", "only a boot"),
        ("tpm2", "tang-down", "tpm-absent"),
    ],
)
def test_a_condition_that_nothing_is_tried_under_is_told_before_anything_is_started(
    policy: str, condition: str, why: str
) -> None:
    with pytest.raises(UsageError, match=f"nothing to try under {condition}") as refused:
        command.main([str(POLICIES / f"{policy}.bu"), "--only", condition])
    assert why in str(refused.value)


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "guest_image", lambda *_: pytest.fail("an image was made"))
    monkeypatch.setenv("UNLOCK_LAB_RUN", "/proc/nowhere")
    with pytest.raises(HostError, match="/proc/nowhere cannot be made or written to"):
        command.main([str(POLICIES / "tang.bu")])


@pytest.mark.real
def test_the_guests_tools_do_what_its_boots_do() -> None:
    """Needs the guest image: minutes where the cache does not have it."""
    volume = read_policy(POLICIES / "tpm2-and-tang.bu").volumes[0]
    conditions = {condition.name: condition for condition in all_conditions()}
    with real_parts(("tang",), Progress()) as parts, scratch(None) as own:
        with pytest.raises(RigError, match="status 3"):
            parts.box.run("exit 3")
        assert volume.tang_servers == ("tang",)
        sealed = seal(parts, volume, own)
        opened = set()
        for name in sorted(OPENS | STAYS_SHUT):
            parts.box.run("sleep 1000 &")  # as a pin that sss needed no more
            with scratch(None) as folder:
                trial = try_under(parts, sealed, conditions[name], folder)
            assert "sleep" not in parts.box.run("cat 2>/dev/null /proc/[0-9]*/comm || true")
            opened |= {name} if trial.opened else set()
        assert opened == OPENS
        alone = read_policy(POLICIES / "tang.bu").volumes[0]
        with scratch(None) as folder, scratch(None) as empty:
            trial = try_under(parts, seal(parts, alone, folder), conditions["present"], empty)
        assert trial.opened, trial.said


def test_of_two_bindings_neither_is_edited() -> None:
    volume = next(each for each in command._of_table() if each.name == "two-bindings")
    names = {condition.name for condition in command._conditions(volume, ())}
    assert "regenerated" in names
    assert "threshold-edited" not in names
