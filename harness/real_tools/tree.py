"""The files of a guest image as a folder, taken out of its root file system: a second or two."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import process
from harness.host.requirement import command
from harness.host.user import bound_to_caller
from harness.images import decrypt_root, guest_image
from harness.machine.partition import copied_partition
from harness.progress import Progress
from harness.temporary import temporary_folder

_ROOT = "root"
"""The label of the partition, in every image."""

_SECONDS = 300.0


@contextmanager
def guest_tree(image_name: str, progress: Progress) -> Iterator[Path]:
    """The root of a guest's file system as a folder, for the length of the block.

    Args:
        image_name: A folder of images/; a root that is encrypted is decrypted, by the key that follows from its name.
        progress: Says what takes long.

    Raises:
        HostError: debugfs(8) is missing, or failed.
    """
    image = guest_image(image_name, progress)
    with temporary_folder() as folder:
        tree = folder / "root"
        tree.mkdir()
        with copied_partition(image.disk, _ROOT) as partition:
            decrypt_root(image_name, partition)
            debugfs = command("debugfs") or "debugfs"
            dump = f'rdump / "{tree}"\n'
            process.run([debugfs, "-f", "-", partition], timeout=_SECONDS, stdin=dump, under=bound_to_caller(None))
        yield tree
