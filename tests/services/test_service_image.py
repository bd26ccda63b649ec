"""Building a service's image: what it started ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.paths import IMAGES

ENDLESS = """#!/bin/bash
exec -a "$UNLOCK_LAB_TEST_MARK" sleep 600 &
echo started
wait
"""
BUILD = """
import sys
from pathlib import Path
from harness.progress import Progress
from harness.services import service_image
read = {"suite": "trixie", "packages": [], "exclude": [], "components": ["main"], "source_date_epoch": 0}
service_image._build(read, Path(sys.argv[1]), Path(sys.argv[2]), Progress())
"""


def named(mark: str) -> list[int]:
    """The processes that are called so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if words[0] == mark.encode():
            found.append(int(path.parent.name))
    return found


@pytest.mark.real
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_no_process(tmp_path: Path, how: signal.Signals) -> None:
    mark = f"unlock-lab-test-{os.getpid()}-{how.name}"
    (tmp_path / "mmdebstrap").write_text(ENDLESS)
    (tmp_path / "mmdebstrap").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "UNLOCK_LAB_TEST_MARK": mark}
    command = [sys.executable, "-c", BUILD, str(IMAGES / "tang"), str(tmp_path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 30
        while not named(mark):
            assert time.monotonic() < deadline, "the build did not begin"
            time.sleep(0.05)
        child.send_signal(how)
    deadline = time.monotonic() + 10
    while named(mark):
        assert time.monotonic() < deadline, "what the build started is still there"
        time.sleep(0.05)
