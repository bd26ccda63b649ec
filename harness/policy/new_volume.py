"""A volume that an owner makes by hand in the running system: what it is, and the shell lines that make it (pure).

Sources: sgdisk(8), cryptsetup-luksFormat(8), systemd-cryptsetup(8), crypttab(5), fstab(5).
"""

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
    mapping = f"/dev/mapper/{new.name}"
    yield f"sgdisk --move-second-header --new=0:0:+64M --change-name=0:{new.name} {disk} >&2"
    yield f"partx --update {disk} && udevadm settle"
    yield f"printf %s '{new.passphrase}' > /run/passphrase"
    yield f"cryptsetup luksFormat -q {QUICK_PBKDF} {new.device} /run/passphrase"
    yield from bound
    if new.key_file:
        yield f"(umask 077; head -c 32 /dev/urandom > {new.key_file})"
        yield f'cryptsetup luksAddKey -q {QUICK_PBKDF} --key-file /run/passphrase "$device" {new.key_file}'
    by_hand = ",".join(["luks", *options])
    yield f'systemd-cryptsetup attach {new.name} "$device" /run/passphrase {by_hand}'
    yield f"mkfs.ext4 -q {mapping} && mkdir -p /run/new && mount {mapping} /run/new"
    yield f"find {new.mount_point} -mindepth 1 -maxdepth 1 -exec mv -t /run/new {{}} +"
    yield f"umount /run/new && mount {mapping} {new.mount_point}"
    by_itself = ",".join(["luks", *devices, *options])
    yield f"echo {new.name} {new.device} {new.key_file or 'none'} {by_itself} >> /etc/crypttab"
    yield f"echo {mapping} {new.mount_point} ext4 defaults 0 0 >> /etc/fstab"
    if new.after:
        folder = f"/etc/systemd/system/systemd-cryptsetup@{new.name}.service.d"
        yield f"mkdir -p {folder} && printf '[Unit]\\nAfter={new.after}\\n' > {folder}/after.conf"
