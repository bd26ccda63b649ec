"""A config fitted to the guest: what its Ignition is too old for is taken out, what Fedora CoreOS has is made (pure).

A file is written for a system that is not this guest. What it asks for beyond the encryption is installed as far as the
guest can, and nothing of it is left out in silence: `fit` says in words what it took out and what it made, for the
paragraph "not exercised here" of the report.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.policy import urls
from harness.policy.disks import FLATCAR_ROOT, own_node, wanted_disks
from harness.policy.needs import new_root

DEFAULT_SPEC = 3
"""The minor version of the Ignition 3 spec of Debian's 2.14, where no image is named: each declares its own."""

_LATER: dict[int, dict[str, tuple[str, ...]]] = {
    4: {"luks": ("discard", "openOptions"), "tang": ("advertisement",)},
    5: {"luks": ("cex",)},
}
"""Keys of a volume and of its Tang pins, by the minor version of the spec that brought them."""

_USERS = "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc _apt nobody"
_GROUPS = (
    "root daemon bin sys adm tty disk lp mail news uucp man proxy kmem dialout fax voice cdrom floppy tape sudo audio "
    "dip www-data backup operator list irc src shadow utmp video sasl plugdev staff games users nogroup"
)
"""Those that Debian's base-passwd makes, so that every Debian has them."""

_DHCP = ("ip=dhcp", "ip=on", "ip=any", "ip=single-dhcp", "ip=either6")
_NETWORK = ("ip=", "nameserver=", "rd.route=", "vlan=", "bond=", "team=", "bridge=", "bootdev=", "ifname=")
"""Kernel arguments about a network card or an address, dracut.cmdline(7)."""

_BOOT = "/dev/disk/by-label/boot"
_GRUB = "/boot/grub2/user.cfg"


@dataclass(frozen=True)
class Fitted:
    """A config that the guest takes.

    Attributes:
        config: As a JSON-able value.
        notes: What was taken out and what was made, one phrase each.
    """

    config: dict[str, Any]
    notes: tuple[str, ...]


def fit(config: dict[str, Any], spec: int) -> Fitted:
    """Fit a config to the guest.

    Args:
        config: As Butane makes it; it stays as it is.
        spec: The minor version of the Ignition 3 spec that the guest's Ignition takes.
    """
    fitted = copy.deepcopy(config)
    notes = [
        *_name_disks(fitted),
        *_name_root(fitted),
        *_take_out_later_keys(fitted, spec),
        *_take_out_grub(fitted),
        *_take_out_remote(fitted),
        *_take_out_addresses(fitted),
        *_make_owners(fitted),
    ]
    said = int(fitted["ignition"]["version"].split(".")[1])
    fitted["ignition"]["version"] = f"3.{min(said, spec)}.0"
    return Fitted(fitted, tuple(notes))


def _name_disks(config: dict[str, Any]) -> Iterator[str]:
    """Disks by the nodes that the machine gives them, where the file has names of hardware that it does not have."""
    storage, disks = config.get("storage", {}), wanted_disks(config)
    for kind in ("disks", "luks", "filesystems"):
        for item in storage.get(kind, []):
            if "device" in item:
                item["device"] = own_node(item["device"], disks)
    for raid in storage.get("raid", []):
        raid["devices"] = [own_node(device, disks) for device in raid.get("devices", [])]
    for disk in disks:
        if own_node(disk.name, disks) != disk.name:
            yield f"{disk.name} is {disk.node} here"


def _name_root(config: dict[str, Any]) -> Iterator[str]:
    """Flatcar's root in the words by which the guest's first boot knows one."""
    storage = config.get("storage", {})
    root = new_root(storage)
    if root is None or root["label"] != FLATCAR_ROOT:
        return
    at = storage["filesystems"].index(root)
    storage["filesystems"][at] = {**root, "label": "root", "wipeFilesystem": True}
    yield f"{FLATCAR_ROOT} is root here, and the system is moved into it, which on Flatcar lies in /usr"


def _take_out_later_keys(config: dict[str, Any], spec: int) -> Iterator[str]:
    gone: dict[str, list[str]] = {}
    sections: list[tuple[str, dict[str, Any]]]
    for luks in config.get("storage", {}).get("luks", []):
        sections = [("luks", luks), *(("tang", tang) for tang in luks.get("clevis", {}).get("tang", []))]
        for since, kinds in _LATER.items():
            for kind, section in sections if since > spec else ():
                for key in kinds.get(kind, ()):
                    if section.pop(key, None) not in (None, {}, []):
                        gone.setdefault(luks["name"], []).append(key)
    for name, keys in gone.items():
        yield f"{', '.join(dict.fromkeys(keys))} of {name} (the guest's Ignition takes spec 3.{spec}.0 at most)"


def _take_out_grub(config: dict[str, Any]) -> Iterator[str]:
    storage = config.get("storage", {})
    files = storage.get("files", [])
    if not any(file["path"] == _GRUB for file in files):
        return
    storage["files"] = [file for file in files if file["path"] != _GRUB]
    storage["filesystems"] = [fs for fs in storage.get("filesystems", []) if fs["device"] != _BOOT]
    for kind in ("files", "filesystems"):
        if not storage[kind]:
            del storage[kind]
    yield "grub.users (the guest is started without GRUB)"


def _take_out_remote(config: dict[str, Any]) -> Iterator[str]:
    """What would be fetched: a guest reaches nothing but the laboratory."""
    emptied = []
    for file in config.get("storage", {}).get("files", []):
        for part in (file.get("contents", {}), *file.get("append", [])):
            if urls.is_elsewhere(part.get("source")):
                emptied.append(file["path"])
                part.clear()
                part["source"] = "data:,"
    if emptied:
        paths = list(dict.fromkeys(emptied))
        shown = ", ".join(paths[:5]) + (", …" if len(paths) > 5 else "")
        yield f"what is fetched into {shown} (no guest reaches it: empty here)"
    tls = config["ignition"].get("security", {}).get("tls", {})
    authorities = tls.get("certificateAuthorities", [])
    if left := [each for each in authorities if not urls.is_elsewhere(each.get("source"))]:
        tls["certificateAuthorities"] = left
    elif authorities:
        del config["ignition"]["security"]
    for authority in authorities:
        if urls.is_elsewhere(authority.get("source")):
            yield f"the certificate authority {authority['source']} (no guest reaches it)"


def _take_out_addresses(config: dict[str, Any]) -> Iterator[str]:
    said = config.get("kernelArguments", {})
    asked = said.get("shouldExist", [])
    if (given := list(in_own_network(asked))) != asked:
        said["shouldExist"] = given
        changed = ", ".join(word for word in asked if word not in given)
        yield f"{changed} (a guest is in the laboratory's network, by DHCP)"


def in_own_network(arguments: Iterable[str]) -> tuple[str, ...]:
    """Kernel arguments with the laboratory's way to an address in place of the user's, which no guest has."""
    kept: dict[str, None] = {}
    for word in arguments:
        if word in _DHCP or not word.startswith(_NETWORK):
            kept[word] = None
        elif word.startswith("ip="):
            kept["ip=dhcp"] = None
    return tuple(kept)


def _make_owners(config: dict[str, Any]) -> Iterator[str]:
    """Users and groups that the file takes for granted: Fedora CoreOS has core, wheel and docker."""
    passwd = config.get("passwd", {})
    users = {user["name"]: user for user in passwd.get("users", [])}
    groups = {group["name"] for group in passwd.get("groups", [])} | set(_GROUPS.split())
    storage = config.get("storage", {})
    nodes = [node for kind in ("files", "directories", "links") for node in storage.get(kind, [])]
    owners = [node["user"]["name"] for node in nodes if node.get("user", {}).get("name")]
    new_users = [name for name in dict.fromkeys(owners) if name not in users and name not in _USERS.split()]
    wanted = [name for user in users.values() for name in (*user.get("groups", []), user.get("primaryGroup"))]
    wanted += [node["group"]["name"] for node in nodes if node.get("group", {}).get("name")]
    own = {name for name in (*users, *new_users) if not users.get(name, {}).get("noUserGroup")}
    new_groups = [name for name in dict.fromkeys(wanted) if name and name not in groups | own]
    if not new_users and not new_groups:
        return
    passwd = config.setdefault("passwd", {})
    for kind, names in (("users", new_users), ("groups", new_groups)):
        if names:
            passwd.setdefault(kind, []).extend({"name": name} for name in names)
            one = kind.removesuffix("s") if len(names) == 1 else kind
            yield f"made for it: the {one} {', '.join(names)}, which the guest does not have"
