"""QEMU without libvirt, with another program in its place."""

import os
import subprocess
from collections.abc import Coroutine
from typing import Any

from harness.deadline import Deadline
from harness.errors import RigError
from harness.machine.bare_qemu import QemuMachine
from harness.machine.hypervisor import Ending


class Hanging:
    """A loop on which nothing is done in time."""

    def call(self, work: Coroutine[Any, Any, object], _seconds: float = 0.0) -> object:
        work.close()
        raise RigError("it did not do what it was told")


def test_an_end_is_noticed_though_the_monitor_hangs() -> None:
    """Else whoever waits for it would wait for nothing, and nobody would be told how it ended."""
    nothing: Any = None
    loop: Any = Hanging()
    wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    with subprocess.Popen(["sh", "-c", "exit 3"]) as ended:
        machine = QemuMachine(nothing, ended, loop, wake_fd)
        machine._watcher.start()
        assert machine.wait_off(Deadline.after(20.0))
        machine._watcher.join(20.0)
    assert machine.ending == Ending(False, "QEMU ended with status 3")
    assert os.eventfd_read(wake_fd) == 1
    os.close(wake_fd)
