"""Policy files: what a user writes, read into a `Policy`.

::

    variant: fcos           # or flatcar, fiot
    version: 1.6.0          # fcos 1.0.0 to 1.7.0

or an Ignition config, spec 3.0.0 to 3.6.0 (`harness.policy.variants` has all that is read). Every mistake is named with
file, line and key, all in one round, and no key is dropped in silence. The translation is the harness's own; the tests
hold it to what the real ``butane`` made of the same files (tests/policy/corpus).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.policy import checks, urls
from harness.policy.clevis import read_pins
from harness.policy.document import Document, KeyPath
from harness.policy.pins import Pin, leaves
from harness.policy.policy import Policy, Volume
from harness.policy.reader import read_document
from harness.policy.translate import translate


@dataclass(frozen=True)
class Understood:
    """A file that is right.

    Attributes:
        document: Its values and lines.
        config: The Ignition config that it means, with every Tang placeholder in it.
        trees: The pins of the config's volumes, in order.
    """

    document: Document
    config: dict[str, Any]
    trees: tuple[Pin | None, ...]


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        UsageError: The file is wrong; each mistake is named with file, line and key path.
    """
    return _policy(understand(path))


def understand(path: Path) -> Understood:
    """A checked file, its config and the pins of its volumes.

    Raises:
        UsageError: The file is wrong; each mistake is named with file, line and key path.
    """
    document = read_document(path)
    checks.check(document)
    config = translate(document)
    storage = config.get("storage", {})
    trees: list[Pin | None] = []
    for luks in storage.get("luks", []):
        here = clevis_path(document, luks["name"])
        said = "clevis" in luks or here in document.lines
        trees.append(read_pins(document, here, luks.setdefault("clevis", {})) if said else None)
        _check_servers(document, here, trees)
    document.check()
    return Understood(document, config, tuple(trees))


def clevis_path(document: Document, volume: str) -> KeyPath:
    """Where the pins of a volume stand in the file."""
    for index, luks in enumerate(document.data.get("storage", {}).get("luks", [])):
        if luks["name"] == volume and "clevis" in luks:
            return ("storage", "luks", index, "clevis")
    return ("boot_device", "luks")


def _check_servers(document: Document, path: KeyPath, trees: list[Pin | None]) -> None:
    """One server has one address: it cannot be at two fixed ports."""
    fixed: dict[str, str] = {}
    for tree in trees:
        for leaf in leaves(tree) if tree else ():
            if leaf.service and leaf.service.provided and leaf.address:
                first = fixed.setdefault(leaf.service.name, leaf.address)
                if first != leaf.address and tree is trees[-1]:
                    document.mistake(
                        path,
                        f"the server {leaf.service.name} cannot be at {first} and at {leaf.address}; "
                        f"call one @TANG_THUMBPRINT:another@",
                    )


def _policy(understood: Understood) -> Policy:
    document, config = understood.document, understood.config
    storage = config.get("storage", {})
    mounts = {fs["device"]: fs["path"] for fs in storage.get("filesystems", []) if fs.get("path")}
    volumes = tuple(
        Volume(
            name=luks["name"],
            device=luks["device"],
            pins=tree,
            passphrase=_passphrase(luks.get("keyFile", {})),
            mount_point=mounts.get(f"/dev/mapper/{luks['name']}")
            or mounts.get(f"/dev/disk/by-id/dm-name-{luks['name']}"),
            key_file=tree is None,  # Ignition keeps the key under /etc/luks unless clevis is bound
        )
        for luks, tree in zip(storage.get("luks", []), understood.trees, strict=True)
    )
    disks = storage.get("disks", [])
    return Policy(
        name=document.path.stem,
        config=config,
        volumes=volumes,
        disk=disks[0]["device"] if disks else "/dev/nvme0n1",
        kernel_arguments=tuple(config.get("kernelArguments", {}).get("shouldExist", [])),
        source=document.text,
    )


def _passphrase(key_file: dict[str, Any]) -> str | None:
    """What is in the key file, if it can be typed: one line of text without its end.

    Without a key file Ignition makes one and, where clevis is bound, throws it away.
    """
    try:
        key = urls.decode(key_file.get("source", ""))
        if key_file.get("compression") == "gzip":
            key = urls.unpack(key)
        text = key.decode()
    except ValueError:
        return None
    return text if text.isprintable() and text else None
