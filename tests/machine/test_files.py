"""Files on a disk image, without a machine: written by the tools that scenarios use."""

import os
import struct
import subprocess
from pathlib import Path

import pytest

from harness.errors import HostError, RigError, UsageError
from harness.machine import partition
from harness.machine.disk import blank
from harness.machine.files import BOOT, ESP, files, rewrite
from harness.machine.partition import read_disk, read_partition, write_partition
from harness.machine.spec import Disk

MIB = 2**20
TICK = 1_700_000_000_000_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A FAT partition and an ext2 one, with a file in a folder of each."""
    fat, ext, tree = tmp_path / "fat", tmp_path / "ext", tmp_path / "tree"
    (tree / "grub").mkdir(parents=True)
    (tree / "grub" / "grub.cfg").write_text("linux quiet")
    for image in (fat, ext):
        with image.open("wb") as file:
            file.truncate(4 * MIB)
    subprocess.run(["mformat", "-i", fat, "-T", str(4 * MIB // 512), "::"], check=True)
    subprocess.run(["mmd", "-i", fat, "::/EFI", "::/EFI/BOOT"], check=True)
    subprocess.run(["mcopy", "-i", fat, tree / "grub" / "grub.cfg", "::/EFI/BOOT/BOOTX64.EFI"], check=True)
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext2", "-d", tree, ext], check=True)
    raw = bytearray(10 * MIB)
    raw[512:520] = b"EFI PART"
    struct.pack_into("<QII", raw, 512 + 72, 2, 128, 128)
    for number, (label, image) in enumerate(((ESP, fat), (BOOT, ext))):
        at, first = 1024 + 128 * number, (1 + 4 * number) * MIB // 512
        struct.pack_into("<QQ", raw, at + 32, first, first + 4 * MIB // 512 - 1)
        raw[at + 56 : at + 128] = label.encode("utf-16-le").ljust(72, b"\0")
        raw[first * 512 : first * 512 + 4 * MIB] = image.read_bytes()
    (tmp_path / "raw").write_bytes(raw)
    made = tmp_path / "disk,with comma.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", tmp_path / "raw", made], check=True)
    return made


@pytest.mark.parametrize(("label", "path"), [(ESP, "/EFI/BOOT/BOOTX64.EFI"), (BOOT, "/grub/grub.cfg")])
def test_a_file_is_read_and_replaced(disk: Path, label: str, path: str) -> None:
    folder = str(Path(path).parent)
    with files(disk, label) as found:
        assert found.read(path) == b"linux quiet"
        assert found.names(folder) == [path]
        assert found.names("/nowhere") == []
        found.write(path, b"x" * 5000)
        found.write(f"{folder}/new", b"")
        found.write("/loader/entries/one.conf", b"title one")
    with files(disk, label) as found:
        assert found.read(path) == b"x" * 5000
        assert sorted(found.names(folder)) == sorted([path, f"{folder}/new"])
        assert found.read("/loader/entries/one.conf") == b"title one"


@pytest.mark.parametrize("label", [ESP, BOOT])
def test_what_is_not_there_cannot_be_read_and_what_does_not_fit_not_written(disk: Path, label: str) -> None:
    with files(disk, label) as found:
        with pytest.raises(HostError):
            found.read("/absent")
        with pytest.raises(HostError):
            found.write("/new", b"x" * 5 * MIB)
    with pytest.raises(RigError, match="no partition home"), files(disk, "home"):
        pass


def test_a_change_that_changes_nothing_is_a_mistake(disk: Path) -> None:
    rewrite(Disk(disk), BOOT, "/grub/grub.cfg", lambda text: text.replace(b"quiet", b"debug"))
    with files(disk, BOOT) as boot:
        assert boot.read("/grub/grub.cfg") == b"linux debug"
    with pytest.raises(UsageError, match="nothing to change"):
        rewrite(Disk(disk), BOOT, "/grub/grub.cfg", lambda text: text.replace(b"quiet", b"debug"))


def test_who_only_reads_leaves_the_image_alone(disk: Path) -> None:
    disk.chmod(0o444)
    before = disk.stat().st_mtime_ns
    for label in (ESP, BOOT):
        with files(disk, label) as found:
            found.names("/")
    assert disk.stat().st_mtime_ns == before


def test_what_is_written_at_once_after_the_copy_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 6.13 dates all that is written within one tick of its clock alike."""
    written: list[bytes] = []

    def write(part: Path, data: bytes) -> None:
        part.write_bytes(data)
        os.utime(part, ns=(TICK, TICK))

    monkeypatch.setattr(partition, "_partition", lambda *_: (0, 3))
    monkeypatch.setattr(partition, "_copy_out", lambda _disk, _at, _size, to: write(to, b"old"))
    monkeypatch.setattr(partition, "_copy_in", lambda _disk, _at, _size, part: written.append(part.read_bytes()))
    with partition.edited_partition(tmp_path / "disk", BOOT) as part:
        write(part, b"new")
    with partition.edited_partition(tmp_path / "disk", BOOT):
        pass
    assert written == [b"new"]


def test_a_partition_is_written_into_and_nothing_beside_it(disk: Path, tmp_path: Path) -> None:
    before = read_disk(disk, 0, 10 * MIB)
    write_partition(disk, BOOT, b"here".ljust(512), at=1024)
    after = read_disk(disk, 0, 10 * MIB)
    assert read_partition(disk, BOOT, 2048)[1024:1028] == b"here"
    at = 5 * MIB + 1024
    assert after[:at] + before[at : at + 512] + after[at + 512 :] == before
    with pytest.raises(RigError, match="GPT"):
        write_partition(blank(tmp_path / "blank.qcow2", MIB), BOOT, bytes(512))


def test_of_a_member_of_an_array_it_is_what_the_array_holds(disk: Path) -> None:
    """A superblock of version 1.2 is 4 KiB into the member, and says how far into it the data begin."""
    superblock = bytearray(512)
    superblock[:4] = 0xA92B4EFC.to_bytes(4, "little")
    superblock[128:136] = (2048).to_bytes(8, "little")
    write_partition(disk, BOOT, bytes(superblock), at=4096)
    write_partition(disk, BOOT, b"held".ljust(512))
    assert read_partition(disk, BOOT, 512).startswith(b"held")
    assert read_disk(disk, 6 * MIB, 512).startswith(b"held")
