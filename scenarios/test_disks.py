"""The files of a home server's owner name /dev/nvme0n1; many a machine has /dev/sda."""

import pytest

from harness.api import Sealed, Unlock


@pytest.mark.homelab
@pytest.mark.image("debian-13-scsi")
@pytest.mark.policy("sda-tpm2")
def test_the_first_notes_file_opens_by_itself_on_a_scsi_disk(sealed: Sealed) -> None:
    """Partition 4 grows, 5 is made, and the TPM opens it: as on NVMe (`test_homelab.py`).

    Source: seed 000, the file of the first note.
    """
    with sealed.powered() as on:
        assert on.outcome.unlock is Unlock.AUTO
        assert on.outcome.unlocked_by == {"tpm2"}
        assert on.outcome.canary == sealed.canary
        assert on.shell.run("readlink -f /dev/disk/by-partlabel/var").strip() == "/dev/sda5"
