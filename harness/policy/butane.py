"""Butane files: what a user writes, read into a `Policy`.

::

    variant: fcos
    version: 1.6.0          # 1.0.0 to 1.6.0, as far as it fits Ignition spec 3.3.0

The file is read by our own reader, which names every mistake with file, line and key and never drops a key in silence.
Where a ``butane`` command is on PATH its translation is used, else that of `harness.policy.translate`; the tests hold
that both agree.
"""

import shutil
from pathlib import Path
from typing import Any

from harness.policy import butane_command, checks, urls
from harness.policy.clevis import read_pins
from harness.policy.document import Document, KeyPath, read_document
from harness.policy.pins import Pin, Policy, TangPin, Volume, leaves, placeholder_server
from harness.policy.translate import translate


def read_policy(path: Path) -> Policy:
    """Read a Butane file.

    Raises:
        UsageError: The file is wrong; each mistake is named with file, line and key path.
        HostError: The ``butane`` command on PATH failed.
    """
    document, trees = understand(path)
    config = translate(document)
    if command := shutil.which("butane"):
        config = butane_command.translate(document, Path(command))
    return _policy(document, trees, config)


def understand(path: Path) -> tuple[Document, list[Pin | None]]:
    """A checked document, and the pins of its volumes in order.

    Raises:
        UsageError: The file is wrong; each mistake is named with file, line and key path.
    """
    document = read_document(path)
    checks.check(document)
    trees: list[Pin | None] = []
    for index, luks in enumerate(document.data.get("storage", {}).get("luks", [])):
        here: KeyPath = ("storage", "luks", index, "clevis")
        trees.append(read_pins(document, here, luks["clevis"]) if "clevis" in luks else None)
    _check_servers(document, trees)
    document.check()
    return document, trees


def _check_servers(document: Document, trees: list[Pin | None]) -> None:
    """One server has one address: it cannot be at two fixed ports."""
    fixed: dict[str, str] = {}
    for index, tree in enumerate(trees):
        for leaf in leaves(tree) if tree else ():
            if isinstance(leaf, TangPin) and leaf.provided and not placeholder_server(leaf.url, "URL"):
                first = fixed.setdefault(leaf.server, leaf.url)
                if first != leaf.url:
                    document.mistake(
                        ("storage", "luks", index, "clevis"),
                        f"the server {leaf.server} cannot be at {first} and at {leaf.url}; "
                        f"call one @TANG_THUMBPRINT:another@",
                    )


def _policy(document: Document, trees: list[Pin | None], config: dict[str, Any]) -> Policy:
    storage = document.data.get("storage", {})
    mounts = {fs["device"]: fs["path"] for fs in storage.get("filesystems", []) if fs.get("path")}
    volumes = tuple(
        Volume(
            name=luks["name"],
            device=luks["device"],
            pins=tree,
            passphrase=_passphrase(document, luks),
            mount_point=mounts.get(f"/dev/mapper/{luks['name']}")
            or mounts.get(f"/dev/disk/by-id/dm-name-{luks['name']}"),
            key_file=tree is None,  # Ignition keeps the key under /etc/luks unless clevis is bound
        )
        for luks, tree in zip(storage.get("luks", []), trees, strict=True)
    )
    disks = storage.get("disks", [])
    return Policy(
        name=document.path.stem,
        config=config,
        volumes=volumes,
        disk=disks[0]["device"] if disks else checks.DISKS[0],
        kernel_arguments=tuple(document.data.get("kernel_arguments", {}).get("should_exist", [])),
        source=document.text,
    )


def _passphrase(document: Document, luks: dict[str, Any]) -> str | None:
    """What is in the key file, if it can be typed: one line of text without its end.

    Without a key file Ignition makes one and, where clevis is bound, throws it away.
    """
    key_file = luks.get("key_file", {})
    try:
        if "inline" in key_file:
            key = key_file["inline"].encode()
        elif "local" in key_file:
            key = (document.path.parent / key_file["local"].lstrip("/")).read_bytes()
        else:
            key = urls.decode(key_file.get("source", ""))
        if key_file.get("compression") == "gzip":
            key = urls.unpack(key)
        text = key.decode()
    except ValueError:
        return None
    return text if text.isprintable() and text else None
