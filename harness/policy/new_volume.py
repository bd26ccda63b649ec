"""A volume that an owner makes by hand in the running system: what it is, and the shell lines that make it (pure).

Sources: sgdisk(8), cryptsetup-luksFormat(8), systemd-cryptsetup(8), crypttab(5), fstab(5).
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.policy.pins import Pin

QUICK_PBKDF = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
"""Emulated processors pay for more, and no passphrase here is a secret."""


@dataclass(frozen=True)
class NewVolume:
    """A volume that the owner makes on a partition of its own, and that the running system opens and mounts.

    Attributes:
        name: Of partition and mapping: letters and digits.
        mount_point: A folder that is there. What it holds moves to the volume.
        pins: Each becomes a binding of its own: any one opens the volume.
        key_file: Where the guest keeps a key that opens it, on a volume made before; or nowhere.
        after: The unit that comes first at each boot: what is measured into one PCR must come in one order.
    """

    name: str
    mount_point: str
    pins: tuple[Pin, ...] = ()
    key_file: str | None = None
    after: str | None = None

    @property
    def device(self) -> str:
        """Its partition, by its label."""
        return f"/dev/disk/by-partlabel/{self.name}"

    @property
    def passphrase(self) -> str:
        """Its own: systemd tries one that was typed on every volume that waits."""
        return f"password of {self.name}"


def creation_commands(
    new: NewVolume, disk: str, bound: Iterable[str], devices: Sequence[str], options: Sequence[str]
) -> Iterator[str]:
    """Partition, encrypt, bind, open as the system will (which measures what it will), fill and mount it.

    Args:
        new: What is made.
        disk: Where.
        bound: The lines that bind its pins, given its passphrase; they set ``device``.
        devices: The options of crypttab(5) that have systemd ask its tokens.
        options: Further ones, beside ``luks``.
    """
    yield f"make_volume {new.name} {disk} {shlex.quote(new.passphrase)} {QUICK_PBKDF}"
    yield from bound
    if new.key_file:
        yield f"add_key_file {new.key_file} {QUICK_PBKDF}"
    now, later = ",".join(["luks", *options]), ",".join(["luks", *devices, *options])
    yield f"use_volume {new.name} {new.mount_point} {new.key_file or 'none'} {now} {later}"
    if new.after:
        yield f"open_after {new.name} {new.after}"
