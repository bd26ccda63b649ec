"""Whether the host had room, in folders whose disks are as full as is said."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import HostError
from harness.machine import storage
from harness.machine.hypervisor import failed_operations
from harness.machine.spec import Bus, Disk, Firmware, Machine, Tpm

RUN, DISKS, STATE = Path("/run/m"), Path("/disks"), Path("/state")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """Bytes that are free in each folder."""
    found = dict.fromkeys((RUN, DISKS, STATE), 10**12)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=found[path]))
    return found


@pytest.fixture
def needs() -> Mapping[Path, int]:
    firmware = Firmware("trixie", Path("/code.fd"), Path("/vars.fd"), secure_boot=True)
    disks = (Disk(DISKS / "disk.qcow2", Bus.NVME, "var"),)
    return storage.needs(Machine("victim", firmware, DISKS / "nvram.fd", disks, Tpm(STATE / "tpm"), site="home"), RUN)


def test_a_machine_writes_to_its_disks_its_tpm_and_its_logs(needs: Mapping[Path, int]) -> None:
    assert needs == {RUN: storage.FOR_LOGS, DISKS: storage.FOR_DISKS, STATE: storage.FOR_LOGS}


@pytest.mark.parametrize(("full", "megabytes"), [(RUN, 10), (DISKS, 150), (STATE, 10)])
def test_without_room_nothing_is_turned_on(
    free: dict[Path, int], needs: Mapping[Path, int], full: Path, megabytes: int
) -> None:
    free[full] = needs[full]
    storage.require_room(needs)
    free[full] -= 1
    with pytest.raises(HostError, match=f"no room to run a machine: {megabytes} MB are free on the disk of {full}"):
        storage.require_room(needs)


@pytest.mark.parametrize("full", [RUN, DISKS, STATE])
def test_what_is_written_where_no_room_is_left_is_lost(free: dict[Path, int], full: Path) -> None:
    free[full] = storage.LEAST
    assert storage.lost(free, 0) is None
    free[full] = storage.LEAST - 1
    assert f"no room left on the disk of {full}" in (storage.lost(free, 0) or "")


def test_one_failed_write_is_enough(free: dict[Path, int]) -> None:
    assert "failed 1 reads and writes" in (storage.lost(free, 1) or "")


def test_failed_operations_are_added_up_and_invalid_ones_are_the_guests() -> None:
    devices: list[dict[str, dict[str, int]]] = [
        {"stats": {"failed_rd_operations": 1, "failed_wr_operations": 2, "invalid_wr_operations": 50}},
        {"stats": {"failed_flush_operations": 3, "failed_unmap_operations": 4, "wr_operations": 60}},
        {"stats": {}},
    ]
    assert failed_operations(devices) == 10
