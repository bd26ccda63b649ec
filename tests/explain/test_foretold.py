"""A machine of ours, collected by the script that owners run, foretells what its boots then do: seven real boots."""

import base64
import io
import tarfile
from pathlib import Path

import pytest

from harness import explain
from harness.explain.answer import VolumeAnswer
from harness.explain.command import explained_machine
from harness.lab.machines import Machines
from harness.lab.sealed import Sealed
from harness.matrix.conditions import all_conditions
from harness.matrix.run import boot_under
from harness.unlock import Unlock

SCRIPT = (Path(explain.__file__).parent / "collect.sh").read_text()
BEGIN, END = "-----COLLECTED-----", "-----END-----"
CONDITIONS = ("present", "tpm-absent", "tpm-replaced", "key-enrolled", "no-link", "without tang")


@pytest.fixture
def folder(sealed: Sealed, tmp_path: Path) -> Path:
    """What collect.sh finds when root runs it in the guest, brought out as text."""
    printed = sealed.maintain(
        f"cat > /run/collect.sh <<'COLLECT'\n{SCRIPT}COLLECT",
        "sh /run/collect.sh /run/it",
        "archive=$(tar -C /run/it -cz . | base64 -w 0)",
        f'printf "%s\\n%s\\n%s\\n" {BEGIN} "$archive" {END}',
        label="collect",
    )
    archive = printed.rpartition(f"\n{BEGIN}\n")[2].partition(f"\n{END}")[0]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive))) as tar:
        tar.extractall(tmp_path / "it", filter="data")
    return tmp_path / "it"


@pytest.mark.slow
@pytest.mark.policy("tpm2-pcr7-and-tang")
def test_a_collected_machine_foretells_its_boots(sealed: Sealed, machines: Machines, folder: Path) -> None:
    """Each boot opens, or asks, as was foretold, and because of the pins that were.

    Each is of a copy as it was collected: on one machine their power cuts add up, until its TPM is locked out.
    """
    (policy,) = sealed.policy.volumes
    secrets = [text.encode() for text in (policy.passphrase, sealed.canary) if text]
    assert secrets
    assert not [path for path in folder.rglob("*") if path.is_file() for key in secrets if key in path.read_bytes()]
    (volume,) = explained_machine(folder).volumes
    assert [each.pcr for each in volume.measured] == [7]
    (tang,) = sealed.tangs.values()
    place = f"{tang.endpoint.address}:{tang.endpoint.port}"
    conditions = {each.name: each for each in all_conditions()}
    for name in CONDITIONS:
        unlock, failed_pins = foretold(volume, name.replace("tang", place))
        outcome = boot_under(conditions[name], machines.copy(sealed.entry))
        assert outcome.unlock is unlock, f"{name}: {outcome.reason}"
        assert {pin.replace(place, "tang") for pin in failed_pins} >= set(outcome.failed_pins), name


def foretold(volume: VolumeAnswer, condition: str) -> tuple[Unlock, frozenset[str]]:
    """What the rules say of a volume under a condition."""
    return next((line.unlock, line.failed_pins) for line in volume.conditions if line.condition == condition)
