"""`collect.sh` by each shell that is here, on the files of another machine: what it takes, and that no key is in it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import explain
from harness.explain import collected

SCRIPT = Path(explain.__file__).parent / "collect.sh"
MACHINE = Path(__file__).parent / "machine"
UUID = "3f1c6a52-0d8e-4d0b-9a51-5d9a8f1b7c11"
SHELLS = [words for words in (["dash"], ["bash", "--posix"], ["busybox", "ash"]) if shutil.which(words[0])]
TOOLS = {
    "id": "echo 0",
    "lsblk": f"cat {MACHINE}/lsblk.json",
    "blkid": "echo /dev/nvme0n1p5",
    "cryptsetup": f"case $1 in luksUUID) echo {UUID} ;; luksDump) cat {MACHINE}/luks/{UUID}.json ;; *) exit 9 ;; esac",
}
SECRET = "what opens the volume"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """The root of a machine that runs, as far as files go."""
    root = tmp_path / "root"
    files = {
        "proc/cmdline": "quiet ip=dhcp",
        "etc/crypttab": f"data UUID={UUID} none luks",
        "etc/fstab": "/dev/mapper/data /data ext4 defaults,_netdev 0 2",
        "etc/cryptsetup-keys.d/data.key": SECRET,
        "sys/class/tpm/tpm0/tpm_version_major": "2",
        "sys/class/tpm/tpm0/pcr-sha256/7": "AB" * 32,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_what_each_shell_collects_is_read(shell: list[str], system: Path, tmp_path: Path) -> None:
    tools, folder = tmp_path / "tools", tmp_path / "it"
    tools.mkdir()
    for name, body in TOOLS.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    before = sorted(system.rglob("*"))
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "SYSROOT": str(system)}
    done = subprocess.run([*shell, SCRIPT, folder], env=environment, check=True, capture_output=True, text=True)
    assert done.stderr == f"collected into {folder}\n"
    assert sorted(system.rglob("*")) == before
    assert not [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text()]
    found = collected.read(folder)
    (volume,) = found.policy.volumes
    assert (volume.name, volume.key_file) == ("data", True), "systemd takes data.key by itself"
    assert "TPM 2.0" in found.facts
    assert (folder / "pcrs" / "sha256").read_text() == f"7:{'AB' * 32}\n"


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_it_says_how_it_is_called(arguments: list[str]) -> None:
    done = subprocess.run(["sh", SCRIPT, *arguments], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.partition(":")[0]) == (2, "usage")
