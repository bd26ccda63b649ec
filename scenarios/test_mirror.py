"""A root on two disks: what opens it does not lie on one of them alone."""

import pytest

from harness.api import Sealed, Unlock, faults

pytestmark = [pytest.mark.image("debian-13-storage"), pytest.mark.policy("mirrored-root")]


def test_a_mirrored_root_opens_by_itself(sealed: Sealed) -> None:
    """Both disks are there and in the array; the control of what follows. Source: Butane, ``boot_device.mirror``."""
    with sealed.powered() as on:
        assert on.outcome.unlock is Unlock.AUTO
        assert on.outcome.unlocked_by == {"tang-attic-example"}
        assert "[2/2]" in on.shell.run("cat /proc/mdstat")


@pytest.mark.parametrize("disk", [0, 1])
def test_a_mirrored_root_opens_with_one_disk_gone(sealed: Sealed, disk: int) -> None:
    """The disk that the firmware starts, or the other: the array is started without it, and Tang opens what is on it.

    After half a minute mdadm-last-resort@.timer gives up waiting. Source: coreos/fedora-coreos-tracker#1916.
    """
    with sealed.powered(faults.disk_pulled(disk)) as on:
        assert on.outcome.unlock is Unlock.AUTO
        assert on.outcome.unlocked_by == {"tang-attic-example"}
        assert on.outcome.canary == sealed.canary
        assert "[2/1]" in on.shell.run("cat /proc/mdstat")
