"""Policy files: what a user writes, read into a `Policy`.

::

    variant: fcos           # or flatcar, fiot
    version: 1.6.0          # fcos 1.0.0 to 1.7.0

or an Ignition config, spec 3.0.0 to 3.6.0 (`harness.policy.variants` has all that is read). Every mistake is named with
file, line and key, all in one round, and no key is dropped in silence. The translation is the harness's own; the tests
hold it to what the real ``butane`` made of the same files (tests/policy/corpus).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.policy import before_boot, checks
from harness.policy.clevis import read_pins
from harness.policy.disks import own_node, wanted_disks
from harness.policy.document import CONFIG, Document, KeyPath
from harness.policy.fit import in_own_network
from harness.policy.merge import elsewhere
from harness.policy.needs import mapping, needs, new_root
from harness.policy.notes import notes, typed, unpredictable
from harness.policy.pins import Pin, leaves
from harness.policy.policy import Policy, Volume
from harness.policy.reader import read_document
from harness.policy.referenced import rendered
from harness.policy.translate import translate


@dataclass(frozen=True)
class Understood:
    """A file that is right.

    Attributes:
        document: Its values and lines.
        translated: The Ignition config that Butane makes of it.
        config: The same with those merged that it names; every Tang placeholder is still in it.
        trees: The pins of the config's volumes, in order.
    """

    document: Document
    translated: dict[str, Any]
    config: dict[str, Any]
    trees: tuple[Pin | None, ...]


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    What the laboratory's guest cannot have of a file that is right is no mistake: `Policy.obstacles` has it.

    Raises:
        UsageError: The file is wrong, by Butane's rules or for what no machine could do; each mistake is named with
            file, line and key path.
    """
    understood = _parse(path)
    document = understood.document
    if document.sound and not elsewhere(understood.config):
        before_boot.check(document, understood.config)
    document.check()
    return _policy(understood)


def understand(path: Path) -> Understood:
    """A file that is right by the rules of Butane and Ignition, whatever the machine.

    Raises:
        UsageError: The file is wrong; each mistake is named with file, line and key path.
    """
    understood = _parse(path)
    understood.document.check()
    return understood


def _parse(path: Path) -> Understood:
    document = read_document(path)
    checks.check(document)
    translated = translate(document)
    config = rendered(document, translated) if document.sound else translated
    storage = config.get("storage", {})
    trees: list[Pin | None] = []
    fixed: dict[str, str] = {}
    for luks in storage.get("luks", []):
        here = clevis_path(document, luks["name"])
        said = "clevis" in luks or here[0] == "storage"
        trees.append(read_pins(document, here, luks.setdefault("clevis", {})) if said else None)
        _check_servers(document, here, trees[-1], fixed)
    return Understood(document, translated, config, tuple(trees))


def clevis_path(document: Document, volume: str) -> KeyPath:
    """Where the pins of a volume stand in the file."""
    for index, luks in enumerate(document.data.get("storage", {}).get("luks", [])):
        if luks["name"] == volume and "clevis" in luks:
            return ("storage", "luks", index, "clevis")
    return ("boot_device", "luks") if "boot_device" in document.data else (*CONFIG, f"storage.luks[{volume}]", "clevis")


def _check_servers(document: Document, path: KeyPath, tree: Pin | None, fixed: dict[str, str]) -> None:
    """One server has one address: it cannot be at two fixed ports.

    Args:
        document: The file.
        path: Where the pins stand in it.
        tree: The pins of one more volume.
        fixed: The addresses of the servers so far.
    """
    for leaf in leaves(tree):
        if leaf.service and leaf.service.provided and leaf.address:
            first = fixed.setdefault(leaf.service.name, leaf.address)
            if first != leaf.address:
                document.mistake(
                    path,
                    f"the server {leaf.service.name} cannot be at {first} and at {leaf.address}; "
                    f"call one @TANG_THUMBPRINT:another@",
                )


def _policy(understood: Understood) -> Policy:
    document, config = understood.document, understood.config
    storage = config.get("storage", {})
    mounts = {mapping(fs["device"]): fs["path"] for fs in storage.get("filesystems", []) if fs.get("path")}
    if root := new_root(storage):
        mounts[mapping(root["device"])] = "/"
    disks = wanted_disks(config)
    volumes = tuple(
        _volume(config, luks, own_node(luks["device"], disks), tree, mounts)
        for luks, tree in zip(storage.get("luks", []), understood.trees, strict=True)
    )
    encrypted_root = next((volume for volume in volumes if volume.mount_point == "/"), None)
    return Policy(
        name=document.path.stem,
        config=config,
        # Ignition keeps keys under /etc/luks, on root.
        volumes=tuple(replace(each, key_on=encrypted_root) if each.key_file else each for each in volumes),
        disk=disks[0].node,
        kernel_arguments=in_own_network(config.get("kernelArguments", {}).get("shouldExist", [])),
        source=document.text,
        disks=disks,
        notes=(*notes(document, config), *_stand_ins(understood.trees)),
        obstacles=before_boot.obstacles(document, config, understood.trees),
        needs=needs(config),
    )


def _stand_ins(trees: Iterable[Pin | None]) -> tuple[str, ...]:
    """The servers that the laboratory runs in the place of the user's."""
    keys = dict.fromkeys(pair for tree in trees for leaf in leaves(tree) for pair in leaf.own_keys)
    return tuple(
        f"the server at {url}: it is the laboratory's, which has another key than {thumbprint}"
        for url, thumbprint in keys
    )


def _volume(
    config: dict[str, Any], luks: dict[str, Any], device: str, pins: Pin | None, mounts: dict[str, str]
) -> Volume:
    name = luks["name"]
    passphrase, untypable = typed(luks.get("keyFile", {}))
    mount_point = mounts.get(name)
    return Volume(
        name=name,
        device=device,
        pins=pins,
        passphrase=passphrase,
        mount_point=mount_point,
        # Ignition keeps the key under /etc/luks unless clevis is bound; root's own is no use there.
        key_file=pins is None and mount_point != "/",
        untypable=untypable,
        unpredictable=unpredictable(config, luks, pins),
    )
