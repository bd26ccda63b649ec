"""The rescue system without a machine: what is run there, what is written down, what counts as opened."""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RigError
from harness.guest.ssh import Shell
from harness.lab.rescue import Rescue
from harness.paths import POLICIES
from harness.policy.butane import read_policy
from harness.policy.disks import WantedDisk
from harness.policy.pins import CryptenrollPin, Pin, Sss, TangPin, Tpm2Pin
from harness.progress import Progress
from harness.real_tools.parts import real_parts
from harness.real_tools.toolbox import SHARED, Toolbox


class LocalShell(Shell):
    """Runs commands here by a guest's shell, with doubles of cryptsetup and the like first in the path."""

    def __init__(self, doubles: Path) -> None:
        self.doubles = doubles

    def run(self, command: str, timeout: float = 60.0, *, check: bool = True, stdin: bytes = b"") -> str:
        path = f"{self.doubles}:/usr/bin:/bin"
        done = subprocess.run(
            ["bash", "-c", command], env={"PATH": path}, input=stdin, capture_output=True, check=check
        )
        return done.stdout.decode()


@pytest.fixture
def doubles(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    double(tmp_path / "bin", "lsblk", "echo '/dev/vda4 root'; echo '/dev/vda5 var'")
    return tmp_path / "bin"


def double(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def rescue(doubles: Path, tmp_path: Path) -> Rescue:
    rig: Any = None
    policy = read_policy(POLICIES / "tang.bu")
    return Rescue(rig, LocalShell(doubles), policy, tmp_path / "shell.log", tmp_path / "kept.log")


def test_what_is_run_is_written_down_with_all_that_it_said(rescue: Rescue) -> None:
    assert rescue.attempt("echo out; echo err >&2; false") == (1, "out\nerr\n")
    assert rescue.run("printf 'no newline'") == "no newline"
    assert rescue.transcript.read_text() == (
        "# echo out; echo err >&2; false\nout\nerr\n[status 1]\n# printf 'no newline'\nno newline\n[status 0]\n"
    )


def test_what_a_command_leaves_running_may_speak_after_its_end(rescue: Rescue) -> None:
    status, said = rescue.attempt("(sleep 0.3; echo late) & echo soon; exit 4")
    assert status == 4
    assert said.split() == ["soon", "late"]


def test_what_must_succeed_and_does_not_is_the_rigs_fault(rescue: Rescue) -> None:
    with pytest.raises(RigError, match="status 3") as caught:
        rescue.run("echo why; exit 3")
    assert caught.value.detail == "why\n"


def test_a_volume_is_found_by_the_label_of_its_partition(rescue: Rescue, doubles: Path) -> None:
    double(doubles, "lsblk", "echo '/dev/vda '; echo '/dev/vda4 root'; echo '/dev/vda5 var'")
    assert rescue.device("var") == "/dev/vda5"


def test_a_volume_on_a_numbered_partition_or_a_whole_disk(rescue: Rescue) -> None:
    disks = (WantedDisk("/dev/nvme0n1", "/dev/nvme0n1"), WantedDisk("/dev/nvme1n1", "/dev/nvme1n1"))
    var = rescue.policy.volumes[0]
    volumes = (replace(var, device="/dev/nvme0n1p5"), replace(var, name="b", device="/dev/nvme1n1", mount_point="/b"))
    rescue = replace(rescue, policy=replace(rescue.policy, volumes=volumes, disks=disks))
    assert (rescue.device("var"), rescue.device("b")) == ("/dev/vda5", "/dev/vdb")


def test_a_volume_without_a_partition(rescue: Rescue, doubles: Path) -> None:
    double(doubles, "lsblk", "echo '/dev/vda4 root'")
    with pytest.raises(RigError, match="no partition var") as caught:
        rescue.device("var")
    assert caught.value.detail == "it has: root"


@pytest.mark.parametrize(("status", "opened"), [(0, True), (2, False)])
def test_a_passphrase_opens_or_is_refused(rescue: Rescue, doubles: Path, status: int, opened: bool) -> None:
    double(doubles, "cryptsetup", f'test "$(cat)" = secret && exit {status}; exit 9')
    assert rescue.unlock("var", "secret") is opened


def test_cryptsetup_that_fails_otherwise_says_nothing_about_the_passphrase(rescue: Rescue, doubles: Path) -> None:
    double(doubles, "cryptsetup", "echo no such device; exit 4")
    with pytest.raises(RigError, match="status 4"):
        rescue.unlock("var", "secret")


@pytest.mark.parametrize(
    ("pins", "tries"),
    [
        (Sss(1, (Tpm2Pin(), TangPin("tang", "http://tang", "thumbprint"))), ["clevis"]),
        (CryptenrollPin((7,)), ["systemd"]),
        (Sss(1, (CryptenrollPin((7,)), Tpm2Pin()), separate=True), ["clevis", "systemd"]),
        (None, ["clevis", "systemd"]),
    ],
    ids=["clevis", "systemd", "both", "unbound"],
)
@pytest.mark.parametrize("opens", ["clevis", "systemd", "neither"])
def test_what_it_is_bound_to_is_tried(
    rescue: Rescue, doubles: Path, pins: Pin | None, tries: list[str], opens: str
) -> None:
    log = doubles / "log"
    double(
        doubles, "clevis", f"echo clevis >> {log}; test {opens} = clevis || {{ echo '{REFUSED['clevis']}'; false; }}"
    )
    systemd = f'test "$PIN {opens}" = "12 systemd" || {{ echo "{REFUSED["systemd"]}"; false; }}'
    double(doubles, "systemd-cryptsetup", f"echo systemd >> {log}; {systemd}")
    assert bound(rescue, pins).unlock_by_binding("var", pin="12") is (opens in tries)
    tried = log.read_text().split()
    assert tried == tries[: tries.index(opens) + 1 if opens in tries else None]


REFUSED = {
    "clevis": "/dev/vda5 could not be opened.",
    "systemd": "Password querying disabled via 'headless' option.",
}
"""What the tools said at the end in boots: clevis 20, systemd 257."""


def bound(rescue: Rescue, pins: Pin | None) -> Rescue:
    (volume,) = rescue.policy.volumes
    return replace(rescue, policy=replace(rescue.policy, volumes=(replace(volume, pins=pins),)))


TANG = TangPin("tang", "http://tang", "thumbprint")


@pytest.mark.parametrize(
    ("pins", "tool", "said"),
    [
        (TANG, "clevis", "/dev/vda5 is not a LUKS device!"),
        (TANG, "clevis", f"bash: line 1: jose: command not found\n{REFUSED['clevis']}"),
        (Tpm2Pin(), "clevis", f"Unable to locate pin 'tpm2'!\n{REFUSED['clevis']}"),
        (TANG, "clevis", "Device var already exists."),
        (CryptenrollPin((7,)), "systemd-cryptsetup", "crypt_init() failed: No such file or directory"),
        (CryptenrollPin((7,)), "nothing", ""),
        (TANG, "nothing", ""),
    ],
)
def test_what_could_not_be_tried_is_no_refusal(rescue: Rescue, doubles: Path, pins: Pin, tool: str, said: str) -> None:
    double(doubles, tool, f'echo "{said}"; exit 1')
    with pytest.raises(RigError, match="neither opened var nor says that it was refused") as caught:
        bound(rescue, pins).unlock_by_binding("var")
    assert said in caught.value.detail


def test_of_what_is_bound_to_nothing_one_tool_that_is_there_tells(rescue: Rescue, doubles: Path) -> None:
    with pytest.raises(RigError, match="clevis neither opened var"):
        bound(rescue, None).unlock_by_binding("var")
    double(doubles, "clevis", f"echo '{REFUSED['clevis']}'; exit 1")
    assert bound(rescue, None).unlock_by_binding("var") is False


class GuestShell(Shell):
    """The shell among the guest's tools."""

    def __init__(self, box: Toolbox) -> None:
        self.box = box

    def run(self, command: str, timeout: float = 60.0, *, check: bool = True, stdin: bytes = b"") -> str:
        return self.box.attempt(command, timeout)[1]


@dataclass(frozen=True, repr=False)
class RescueOfFile(Rescue):
    """With a header in a file, since the shell has no disk."""

    place: str = ""

    def device(self, volume: str) -> str:
        return self.place


@pytest.mark.real
def test_the_guests_tools_say_what_is_a_refusal_and_what_is_none(tmp_path: Path) -> None:
    """A volume that nothing is bound to, and a device that is not there. Needs the guest image, as others here do."""
    rig: Any = None
    header = f"{SHARED}/header"
    with real_parts([], Progress()) as parts:
        fast = "-q --pbkdf pbkdf2 --pbkdf-force-iterations 1000"
        parts.box.run(f"truncate -s 32M {header}; printf x | cryptsetup luksFormat {fast} {header} -", 60.0)
        shell = GuestShell(parts.box)
        policy = read_policy(POLICIES / "tang.bu")
        there = RescueOfFile(rig, shell, policy, tmp_path / "shell.log", tmp_path / "kept.log", header)
        for pins in (TANG, CryptenrollPin((7,))):
            assert bound(there, pins).unlock_by_binding("var") is False
            with pytest.raises(RigError, match="neither opened var") as caught:
                bound(replace(there, place="/dev/vda9"), pins).unlock_by_binding("var")
            assert "/dev/vda9" in caught.value.detail
