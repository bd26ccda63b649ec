"""The files of a home server's owner name /dev/nvme0n1; many a machine has /dev/sda."""

import pytest

from harness.api import Sealed, Unlock

pytestmark = pytest.mark.image("debian-13-scsi")


@pytest.mark.homelab
@pytest.mark.parametrize(
    "pins",
    [
        pytest.param({"tpm2"}, marks=pytest.mark.policy("sda-tpm2")),
        pytest.param({"tpm2", "tang"}, marks=pytest.mark.policy("sda-tpm2-and-tang")),
    ],
    ids=["tpm2", "tpm2-and-tang"],
)
def test_the_files_of_the_notes_open_by_themselves_on_a_scsi_disk(sealed: Sealed, pins: set[str]) -> None:
    """Partition 4 grows, 5 is made, and what is bound opens: as on NVMe (`test_control.py`, `test_homelab.py`).

    Source: seed 000, the TPM's file, Tang's fragment and its kernel arguments.
    """
    with sealed.powered() as on:
        assert on.outcome.unlock is Unlock.AUTO
        assert on.outcome.unlocked_by == pins
        assert on.outcome.canary == sealed.canary
        assert on.shell.run("readlink -f /dev/disk/by-partlabel/var").strip() == "/dev/sda5"
