"""A rack: one machine with many encrypted volumes, each under a policy of its own, so that one boot judges them all.

A row of the truth table is a policy: a Butane file with one volume, or such a file and what its owner does by hand
(`harness.policy.enrolment`). A rack takes the `luks` section of each, gives each a small partition, a file system and a
mount unit of its own, and is itself a Butane file: what was installed can be read in the evidence.

A volume of a rack sees the same firmware, TPM, servers and faults as the others. What it does not see is a boot of its
own: clevis takes the waiting volumes one after the other, so a pin that hangs makes the later ones wait. And systemd
tries a passphrase that one volume was given, by clevis or by a person, on every other volume that waits: seen with
systemd 257, each such trial costs two of a volume's three attempts (systemd#38495), so that volumes with keys of their
own gave up before anybody had typed. So here each has a passphrase of its own, and none takes another's
(``password-cache=no``, crypttab(5)).

On an image whose root is encrypted there is no Ignition: there the owner makes the volumes by hand, and the initrd
opens them after root.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UsageError
from harness.policy.butane import read_policy
from harness.policy.enrolment import Enrolment, enrolled
from harness.policy.new_volume import NewVolume
from harness.policy.pins import Pin, bindings
from harness.policy.policy import Policy
from harness.temporary import temporary_folder

_MIB = 64
"""Of each volume: a LUKS2 header takes 16 (LUKS2 On-Disk Format Specification, 2.4)."""

_ROOT_MIB = 4000

_FOLDERS = (
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/srv",
    "/usr/local",
    "/var/backups",
    "/var/local",
    "/var/mail",
    "/var/opt",
    "/var/spool",
)
"""Where a Debian that is up can do without what was there. hier(7)."""

_KEEP_APART = "sed -i 's/[^[:space:]]*$/&,password-cache=no/' /etc/crypttab"


@dataclass(frozen=True)
class PolicyRow:
    """A policy as a row of the table.

    Attributes:
        name: Of the row, the volume and its partition.
        file: The Butane file.
        enrolment: What is done by hand, if anything is.
    """

    name: str
    file: Path
    enrolment: Enrolment | None = None


def rack(name: str, rows: Sequence[PolicyRow]) -> Policy:
    """One policy with a volume for each row, called like the row.

    Raises:
        UsageError: A row's Butane file is wrong, or has not just one volume.
    """
    text = _butane(name, rows)
    with temporary_folder() as folder:
        path = folder / f"{name}.bu"
        path.write_text(text)
        policy = read_policy(path)
    policy = replace(policy, enrolment=(_KEEP_APART,) if len(rows) > 1 else ())
    for row in rows:
        if row.enrolment:
            policy = enrolled(policy, replace(row.enrolment, volume=row.name))
    return replace(policy, name=name)


def rack_in_initrd(name: str, root: Policy, rows: Sequence[PolicyRow]) -> Policy:
    """One policy with a volume for each row, beside an encrypted root that a passphrase opens.

    Raises:
        UsageError: A row's Butane file is wrong, or there are more rows than folders to mount them on.
    """
    if len(rows) > len(_FOLDERS):
        raise UsageError(f"{name}: {len(rows)} rows, and there is room for {len(_FOLDERS)}")
    made = tuple(NewVolume(row.name, folder, bindings(_pins(row))) for row, folder in zip(rows, _FOLDERS, strict=False))
    opened = " ".join(("/usr/lib/unlock-lab/open-in-initrd", *(volume.name for volume in made)))
    return enrolled(root, Enrolment(name, volumes=made, commands=(opened,)))


def _pins(row: PolicyRow) -> Pin | None:
    policy = read_policy(row.file)
    return (enrolled(policy, row.enrolment) if row.enrolment else policy).volumes[0].pins


def _butane(name: str, rows: Sequence[PolicyRow]) -> str:
    disks: list[dict[str, Any]] = [{"number": 4, "label": "root", "size_mib": _ROOT_MIB, "resize": True}]
    luks, filesystems = [], []
    for row in rows:
        disks.append({"label": row.name, "size_mib": _MIB})
        own = {"name": row.name, "device": f"/dev/disk/by-partlabel/{row.name}"}
        luks.append({**_volume(row), **own, **({"key_file": {"inline": row.name}} if len(rows) > 1 else {})})
        filesystems.append(
            {
                "path": f"/var/rack/{row.name}",
                "device": f"/dev/mapper/{row.name}",
                "format": "ext4",
                "wipe_filesystem": True,
                "with_mount_unit": True,
            }
        )
    document = {
        "variant": "fcos",
        "version": "1.6.0",
        "kernel_arguments": {"should_exist": ["ip=dhcp", "rd.neednet=1"]},
        "storage": {
            "disks": [{"device": "/dev/nvme0n1", "wipe_table": False, "partitions": disks}],
            "luks": luks,
            "filesystems": filesystems,
        },
    }
    return f"# The rack {name}: a volume for each policy.\n" + yaml.safe_dump(document, sort_keys=False)


def _volume(row: PolicyRow) -> dict[str, Any]:
    volumes = yaml.load(read_policy(row.file).source, yaml.CSafeLoader).get("storage", {}).get("luks", [])
    if len(volumes) != 1:
        raise UsageError(
            f"{row.file}: {len(volumes)} encrypted volumes, and a row of the table is about one",
            hint="give the matrix a Butane file with one storage.luks entry",
        )
    return dict(volumes[0])
