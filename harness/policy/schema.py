"""Every key of the Butane specifications fcos 1.0.0 to 1.6.0: its type, and since when it is there.

Source: the schemas of coreos/butane (config/fcos/v1_0 to v1_6, base/v0_1 to v0_6) and its upgrading notes. A key that
needs a newer Ignition than the guest's, or that the guest cannot have, is here too, with the reason, so that it is
refused by name instead of being called unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NEWEST_MINOR = 6
"""Butane fcos 1.6.0 is the newest version that is read."""

GUEST_IGNITION = 3
"""The guest has Debian's Ignition 2.14: spec 3.3.0."""


class Scalar(StrEnum):
    """What a single value may be; the wording of the error."""

    TEXT = "text"
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
        ignition: The minor version of the Ignition 3 spec that it needs.
        refusal: Why the harness does not take it, whatever the version.
    """

    kind: Kind
    since: int = 0
    required: bool = False
    ignition: int = 0
    refusal: str = field(default="")


_TEXT = Key(Scalar.TEXT)
_NAME = Key(Scalar.TEXT, required=True)
_NUMBER = Key(Scalar.NUMBER)
_FLAG = Key(Scalar.FLAG)
_TEXTS = Key(Items(Scalar.TEXT))
_ANYTHING = Section({})

_OWNER = Key(Section({"id": _NUMBER, "name": _TEXT}))
_VERIFICATION = Key(Section({"hash": _TEXT}))
_HEADERS = Key(Items(Section({"name": _NAME, "value": _TEXT})), since=1)

_RESOURCE = Section(
    {
        "compression": _TEXT,
        "http_headers": _HEADERS,
        "inline": _TEXT,
        "local": Key(Scalar.TEXT, since=1),
        "source": _TEXT,
        "verification": _VERIFICATION,
    }
)
_CERTIFICATE = Section(
    {**_RESOURCE.keys, "compression": Key(Scalar.TEXT, since=1), "inline": Key(Scalar.TEXT, since=1)}
)

_NODE = {"group": _OWNER, "overwrite": _FLAG, "path": _NAME, "user": _OWNER}
_FILE = Section({**_NODE, "append": Key(Items(_RESOURCE)), "contents": Key(_RESOURCE), "mode": _NUMBER})
_DIRECTORY = Section({**_NODE, "mode": _NUMBER})
_LINK = Section({**_NODE, "hard": _FLAG, "target": _NAME})
_TREE = Section({"local": _NAME, "path": _TEXT})

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

_TANG = Section(
    {"advertisement": Key(Scalar.TEXT, since=5, ignition=4), "thumbprint": _TEXT, "url": _NAME},
)
_CUSTOM_PIN = Section({"config": _NAME, "needs_network": _FLAG, "pin": _NAME})
_CLEVIS = Section(
    {"custom": Key(_CUSTOM_PIN), "tang": Key(Items(_TANG)), "threshold": _NUMBER, "tpm2": _FLAG},
)
_CEX = Key(Section({"enabled": _FLAG}), since=6, ignition=5)
_LUKS = Section(
    {
        "cex": _CEX,
        "clevis": Key(_CLEVIS),
        "device": _NAME,
        "discard": Key(Scalar.FLAG, since=5, ignition=4),
        "key_file": Key(_RESOURCE),
        "label": _TEXT,
        "name": _NAME,
        "open_options": Key(Items(Scalar.TEXT), since=5, ignition=4),
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
        "raid": Key(_ANYTHING, refusal="not supported: the guest has one disk and no mdadm"),
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

_OTHER_CONFIG = Key(
    _ANYTHING, refusal="not supported: what another config adds could not be judged; write it into this file"
)
_IGNITION = Section(
    {
        "config": _OTHER_CONFIG,
        "proxy": Key(
            Section({"http_proxy": _TEXT, "https_proxy": _TEXT, "no_proxy": _TEXTS}),
            since=1,
        ),
        "security": Key(Section({"tls": Key(Section({"certificate_authorities": Key(Items(_CERTIFICATE))}))})),
        "timeouts": Key(Section({"http_response_headers": _NUMBER, "http_total": _NUMBER})),
    }
)

_NO_BOOT_DEVICE = (
    "not supported: it rebuilds the root partition, and the guest's root stays as its image made it; "
    "write storage.disks, storage.luks and storage.filesystems for another partition"
)

ROOT = Section(
    {
        "boot_device": Key(_ANYTHING, since=3, refusal=_NO_BOOT_DEVICE),
        "grub": Key(_ANYTHING, since=5, refusal="not supported: the guest is a UKI and has no GRUB"),
        "ignition": Key(_IGNITION),
        "kernel_arguments": Key(Section({"should_exist": _TEXTS, "should_not_exist": _TEXTS}), since=4),
        "passwd": Key(Section({"groups": Key(Items(_GROUP)), "users": Key(Items(_USER))})),
        "storage": Key(_STORAGE),
        "systemd": Key(Section({"units": Key(Items(_UNIT))})),
        "variant": _NAME,
        "version": _NAME,
    }
)
"""The whole file."""
