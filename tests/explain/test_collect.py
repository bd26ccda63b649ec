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


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """What the machine has to look at its disks with."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, body in TOOLS.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def collect(
    shell: list[str], system: Path, tools: Path, folder: Path | str, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "SYSROOT": str(system), **more}
    words = [*shell, SCRIPT, folder]
    return subprocess.run(words, cwd=system.parent, env=environment, check=True, capture_output=True, text=True)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_what_each_shell_collects_is_read(shell: list[str], system: Path, tools: Path, tmp_path: Path) -> None:
    folder = tmp_path / "it"
    before = sorted(system.rglob("*"))
    done = collect(shell, system, tools, folder)
    assert done.stderr == f"collected into {folder}\n"
    assert sorted(system.rglob("*")) == before
    assert not [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text()]
    found = collected.read(folder)
    (volume,) = found.policy.volumes
    assert (volume.name, volume.key_file) == ("data", True), "systemd takes data.key by itself"
    assert "TPM 2.0" in found.facts
    assert (folder / "pcrs" / "sha256").read_text() == f"7:{'AB' * 32}\n"


@pytest.mark.parametrize("name", ["it", "-", "-p"])
@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_it_writes_where_it_says_and_nowhere_else(
    shell: list[str], name: str, system: Path, tools: Path, tmp_path: Path
) -> None:
    """A shell looks for "it" in CDPATH first, and "-" is where it was before."""
    other = tmp_path / "other"
    (other / "it").mkdir(parents=True)
    collect(shell, system, tools, name, CDPATH=str(other), OLDPWD=str(other))
    assert [path.name for path in other.rglob("*")] == ["it"]
    assert collected.read(tmp_path / name).policy.volumes


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_the_uuid_of_a_header_is_no_path(shell: list[str], system: Path, tools: Path, tmp_path: Path) -> None:
    """It is what somebody wrote on a disk: root would follow it."""
    (tools / "cryptsetup").write_text(f"#!/bin/sh\n{TOOLS['cryptsetup'].replace(UUID, '../../x', 1)}\n")
    assert "/dev/nvme0n1p5" in collect(shell, system, tools, "it").stderr
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_it_says_how_it_is_called(arguments: list[str]) -> None:
    done = subprocess.run(["sh", SCRIPT, *arguments], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.partition(":")[0]) == (2, "usage")
