"""Every key of the Butane specifications fcos 1.0.0 to 1.7.0: its type, and since when it is there (pure).

The other variants, and Ignition's own JSON, have the same keys but for those that `harness.policy.variants` says they
lack. Source: the schemas of coreos/butane 0.29 (config/fcos/v1_0 to v1_7, base/v0_1 to v0_7).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Scalar(StrEnum):
    """What a single value may be; the wording of the error."""

    TEXT = "text"
    BYTES = "text or bytes"
    """What ends in a file: the one place where `!!binary` may hold what is no text."""
    NUMBER = "a whole number"
    FLAG = "true or false"


@dataclass(frozen=True)
class Items:
    """A list."""

    of: "Kind"


@dataclass(frozen=True)
class Section:
    """A mapping with known keys."""

    keys: Mapping[str, "Key"]


Kind = Scalar | Items | Section


@dataclass(frozen=True)
class Key:
    """One key of a section.

    Attributes:
        kind: What its value is.
        since: The minor version of Butane fcos that brought it.
        required: Whether its section makes no sense without it.
    """

    kind: Kind
    since: int = 0
    required: bool = False


_TEXT = Key(Scalar.TEXT)
_NAME = Key(Scalar.TEXT, required=True)
_NUMBER = Key(Scalar.NUMBER)
_FLAG = Key(Scalar.FLAG)
_TEXTS = Key(Items(Scalar.TEXT))

_OWNER = Key(Section({"id": _NUMBER, "name": _TEXT}))
_VERIFICATION = Key(Section({"hash": _TEXT}))
_HEADERS = Key(Items(Section({"name": _NAME, "value": _TEXT})), since=1)

_RESOURCE = Section(
    {
        "compression": _TEXT,
        "http_headers": _HEADERS,
        "inline": Key(Scalar.BYTES),
        "local": Key(Scalar.TEXT, since=1),
        "source": _TEXT,
        "verification": _VERIFICATION,
    }
)
_LATER_RESOURCE = Section(
    {**_RESOURCE.keys, "compression": Key(Scalar.TEXT, since=1), "inline": Key(Scalar.BYTES, since=1)}
)

_NODE = {"group": _OWNER, "overwrite": _FLAG, "path": _NAME, "user": _OWNER}
_FILE = Section({**_NODE, "append": Key(Items(_RESOURCE)), "contents": Key(_RESOURCE), "mode": _NUMBER})
_DIRECTORY = Section({**_NODE, "mode": _NUMBER})
_LINK = Section({**_NODE, "hard": _FLAG, "target": _NAME})
_TREE = Section(
    {
        "dir_mode": Key(Scalar.NUMBER, since=7),
        "file_mode": Key(Scalar.NUMBER, since=7),
        "group": Key(_OWNER.kind, since=7),
        "local": _NAME,
        "path": _TEXT,
        "user": Key(_OWNER.kind, since=7),
    }
)

_PARTITION = Section(
    {
        "guid": _TEXT,
        "label": _TEXT,
        "number": _NUMBER,
        "resize": Key(Scalar.FLAG, since=2),
        "should_exist": _FLAG,
        "size_mib": _NUMBER,
        "start_mib": _NUMBER,
        "type_guid": _TEXT,
        "wipe_partition_entry": _FLAG,
    }
)
_DISK = Section(
    {"device": _NAME, "partitions": Key(Items(_PARTITION)), "wipe_table": _FLAG},
)
_RAID = Section(
    {
        "devices": Key(Items(Scalar.TEXT), required=True),
        "level": _NAME,
        "name": _NAME,
        "options": _TEXTS,
        "spares": _NUMBER,
    }
)

_TANG = Section(
    {"advertisement": Key(Scalar.TEXT, since=5), "thumbprint": _TEXT, "url": _NAME},
)
_CUSTOM_PIN = Section({"config": _NAME, "needs_network": _FLAG, "pin": _NAME})
_CLEVIS = Section(
    {"custom": Key(_CUSTOM_PIN), "tang": Key(Items(_TANG)), "threshold": _NUMBER, "tpm2": _FLAG},
)
_CEX = Key(Section({"enabled": _FLAG}), since=6)
_LUKS = Section(
    {
        "cex": _CEX,
        "clevis": Key(_CLEVIS),
        "device": _NAME,
        "discard": Key(Scalar.FLAG, since=5),
        "key_file": Key(_RESOURCE),
        "label": _TEXT,
        "name": _NAME,
        "open_options": Key(Items(Scalar.TEXT), since=5),
        "options": _TEXTS,
        "uuid": _TEXT,
        "wipe_volume": _FLAG,
    }
)
_FILESYSTEM = Section(
    {
        "device": _NAME,
        "format": _TEXT,
        "label": _TEXT,
        "mount_options": Key(Items(Scalar.TEXT), since=1),
        "options": _TEXTS,
        "path": _TEXT,
        "uuid": _TEXT,
        "wipe_filesystem": _FLAG,
        "with_mount_unit": Key(Scalar.FLAG, since=1),
    }
)
_STORAGE = Section(
    {
        "directories": Key(Items(_DIRECTORY)),
        "disks": Key(Items(_DISK)),
        "files": Key(Items(_FILE)),
        "filesystems": Key(Items(_FILESYSTEM)),
        "links": Key(Items(_LINK)),
        "luks": Key(Items(_LUKS), since=2),
        "raid": Key(Items(_RAID)),
        "trees": Key(Items(_TREE), since=1),
    }
)

_DROPIN = Section({"contents": _TEXT, "contents_local": Key(Scalar.TEXT, since=5), "name": _NAME})
_UNIT = Section({**_DROPIN.keys, "dropins": Key(Items(_DROPIN)), "enabled": _FLAG, "mask": _FLAG})

_USER = Section(
    {
        "gecos": _TEXT,
        "groups": _TEXTS,
        "home_dir": _TEXT,
        "name": _NAME,
        "no_create_home": _FLAG,
        "no_log_init": _FLAG,
        "no_user_group": _FLAG,
        "password_hash": _TEXT,
        "primary_group": _TEXT,
        "shell": _TEXT,
        "should_exist": Key(Scalar.FLAG, since=2),
        "ssh_authorized_keys": _TEXTS,
        "ssh_authorized_keys_local": Key(Items(Scalar.TEXT), since=5),
        "system": _FLAG,
        "uid": _NUMBER,
    }
)
_GROUP = Section(
    {
        "gid": _NUMBER,
        "name": _NAME,
        "password_hash": _TEXT,
        "should_exist": Key(Scalar.FLAG, since=2),
        "system": _FLAG,
    }
)

_IGNITION = Section(
    {
        "config": Key(Section({"merge": Key(Items(_LATER_RESOURCE)), "replace": Key(_LATER_RESOURCE)})),
        "proxy": Key(
            Section({"http_proxy": _TEXT, "https_proxy": _TEXT, "no_proxy": _TEXTS}),
            since=1,
        ),
        "security": Key(Section({"tls": Key(Section({"certificate_authorities": Key(Items(_LATER_RESOURCE))}))})),
        "timeouts": Key(Section({"http_response_headers": _NUMBER, "http_total": _NUMBER})),
    }
)

_BOOT_LUKS = Section(
    {
        "cex": _CEX,
        "device": Key(Scalar.TEXT, since=6),
        "discard": Key(Scalar.FLAG, since=5),
        "tang": Key(Items(_TANG)),
        "threshold": _NUMBER,
        "tpm2": _FLAG,
    }
)
_BOOT_DEVICE = Section({"layout": _TEXT, "luks": Key(_BOOT_LUKS), "mirror": Key(Section({"devices": _TEXTS}))})
_GRUB = Section({"users": Key(Items(Section({"name": _NAME, "password_hash": _NAME})))})

ROOT = Section(
    {
        "boot_device": Key(_BOOT_DEVICE, since=3),
        "grub": Key(_GRUB, since=5),
        "ignition": Key(_IGNITION),
        "kernel_arguments": Key(Section({"should_exist": _TEXTS, "should_not_exist": _TEXTS}), since=4),
        "passwd": Key(Section({"groups": Key(Items(_GROUP)), "users": Key(Items(_USER))})),
        "storage": Key(_STORAGE),
        "systemd": Key(Section({"units": Key(Items(_UNIT))})),
    }
)
"""The whole file, but for what says which kind of file it is."""
