"""An initrd with a file added, as cpio(1)'s format has it."""

import pytest

from harness.attack.initrd import with_file


@pytest.mark.parametrize("initrd", [b"", b"compressed", b"12345678"])
def test_the_file_comes_behind_what_was_there(initrd: bytes) -> None:
    made = with_file(initrd, "conf/conf.d/loot", b"break=premount\n")
    assert made.startswith(initrd)
    start = made.index(b"070701")
    assert start % 4 == 0
    assert not any(made[len(initrd) : start])
    assert len(made) % 4 == 0
    fields = [int(made[start + 6 + 8 * number :][:8], 16) for number in range(13)]
    _, mode, owner, group, links, _, size, *_, name_length, _ = fields
    assert (oct(mode), owner, group, links) == ("0o100755", 0, 0, 1)
    name = made[start + 110 :][:name_length]
    assert name == b"conf/conf.d/loot\0"
    data_at = start + -(-(110 + name_length) // 4) * 4
    assert made[data_at:][:size] == b"break=premount\n"
    assert made.rstrip(b"\0").endswith(b"TRAILER!!!")
