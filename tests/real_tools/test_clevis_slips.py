"""What clevis 20 does otherwise than its manual says, and the rules with it (docs/explanation/levels.md)."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.defaults import IMAGE
from harness.errors import RigError
from harness.host.scratch import scratch
from harness.policy.pins import Pin, Sss, TangPin, Tpm2Pin
from harness.policy.pins.placeholders import placeholder
from harness.policy.policy import Volume
from harness.policy.world import Server, World
from harness.progress import Progress
from harness.real_tools.parts import Parts, parts_among
from harness.real_tools.toolbox import SHARED
from harness.real_tools.tpm import running_tpm
from harness.real_tools.tree import guest_tree
from harness.real_tools.trial import seal, try_in
from harness.real_tools.worlds import opens

pytestmark = pytest.mark.real
NAMES = ("tang", "two")
TANG, TWO = (TangPin(name, placeholder("URL", name), placeholder("THUMBPRINT", name)) for name in NAMES)


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    with guest_tree(IMAGE, Progress()) as found:
        yield found


@pytest.fixture(scope="module")
def parts(tree: Path) -> Iterator[Parts]:
    with parts_among(tree, NAMES, Progress()) as made:
        yield made


def volume(pins: Pin) -> Volume:
    return Volume("var", "/dev/vda5", pins, "secret", "/var")


@pytest.mark.parametrize(("name", "opened"), [("sha256", True), ("sha384", False)])
def test_what_is_sealed_to_pcrs_under_another_hash_never_opens(parts: Parts, name: str, opened: bool) -> None:
    sealed_to = volume(Tpm2Pin((7,), "sha256", options=(("hash", name),)))
    with scratch(None) as own, scratch(None) as folder:
        trial = try_in(parts, seal(parts, sealed_to, own), World(), folder)
    assert trial.opened is opened, trial.said
    assert opens(sealed_to, World()) is opened
    assert opened or "a policy check failed" in trial.said


def test_without_a_bank_it_is_sha1_and_a_tpm_without_that_refuses(parts: Parts, tree: Path) -> None:
    no_bank = volume(Tpm2Pin((7,)))
    with scratch(None) as own, pytest.raises(RigError, match="PCR bank 'sha1'"):
        seal(parts, no_bank, own)
    with parts_among(tree, (), Progress(), ("sha1", "sha256")) as others, scratch(None) as own, scratch(None) as folder:
        trial = try_in(others, seal(others, no_bank, own), World(), folder)
    assert trial.opened, trial.said


def test_regen_binds_the_last_of_several_thresholds_alone(parts: Parts) -> None:
    """It says that it succeeded; then one server is gone, and the other threshold, which is whole, opens nothing."""
    either = volume(Sss(1, (Sss(1, (TANG,)), Sss(1, (TWO,)))))
    gone = World(servers={"tang": Server.UP, "two": Server.REFUSED})
    box = parts.box
    with scratch(None) as own:
        sealed = seal(parts, either, own)
        with scratch(None) as folder:
            assert try_in(parts, sealed, gone, folder).opened
        shutil.copyfile(sealed.header, box.shared / "volume")
        with running_tpm(sealed.tpm, box.shared):
            said = box.run(f"printf %s secret | clevis luks regen -q -d {SHARED}/volume -s 1 2>&1", 300.0)
        assert "Binding regenerated successfully" in said
        shutil.copyfile(box.shared / "volume", own / "regenerated")
        with scratch(None) as folder:
            assert not try_in(parts, replace(sealed, header=own / "regenerated"), gone, folder).opened
