"""The translation by the real ``butane``, for hosts that have it.

Butane refuses what it does not know, and it knows no placeholders: they are swapped for addresses that nobody has
(RFC 6761, ``.invalid``) on the way in and back on the way out.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HostError
from harness.policy.document import Document, compose
from harness.policy.pins import PLACEHOLDER
from harness.policy.schema import GUEST_IGNITION
from harness.process import run

_TIMEOUT = 30.0


def translate(document: Document, command: Path) -> dict[str, Any]:
    """The Ignition config that ``butane`` makes of a checked document.

    Args:
        document: Read and checked by `harness.policy.butane.understand`, so with every thumbprint filled in.
        command: The butane program.

    Raises:
        HostError: It failed or did not answer within 30 seconds.
    """
    stand_ins: dict[str, str] = {}
    text = yaml.serialize(_prepared(document, stand_ins))
    folder = document.path.parent.resolve()
    try:
        output = run([command, "--files-dir", folder], stdin=text, timeout=_TIMEOUT)
    except HostError as error:
        raise HostError(
            f"{command} refused {document.path.name}, which the harness's own reader takes",
            error.detail,
            "a butane older than the file's version? take it off PATH to use the harness's own translation",
        ) from error
    for stand_in, original in stand_ins.items():
        output = output.replace(stand_in, original)
    config: dict[str, Any] = json.loads(output)
    # What needs more than the guest's spec was refused by the reader, so only the number is too high or too low.
    config["ignition"]["version"] = f"3.{GUEST_IGNITION}.0"
    return config


def _prepared(document: Document, stand_ins: dict[str, str]) -> yaml.MappingNode:
    """The file's nodes with stand-ins for placeholders and with the thumbprints that were left to the harness."""
    root = compose(document.text)
    assert root is not None  # it was read before
    for luks_node, luks in zip(
        _items(_under(root, "storage"), "luks"), document.data.get("storage", {}).get("luks", []), strict=True
    ):
        clevis = _under(luks_node, "clevis")
        for tang_node, tang in zip(_items(clevis, "tang"), luks.get("clevis", {}).get("tang", []), strict=True):
            if _under(tang_node, "thumbprint") is None:
                tang_node.value.append((_text("thumbprint"), _text(tang["thumbprint"])))
            for _, value in tang_node.value:
                _swap(value, stand_ins)
        if custom := luks.get("clevis", {}).get("custom"):
            config = _under(_under(clevis, "custom"), "config")
            assert isinstance(config, yaml.ScalarNode)
            config.value = custom["config"]
    return root


def _swap(node: yaml.Node, stand_ins: dict[str, str]) -> None:
    if isinstance(node, yaml.ScalarNode) and (match := PLACEHOLDER.fullmatch(node.value)):
        stand_in = f"http://{match['what']}.{match['server'] or '-'}.invalid".lower()
        stand_ins[stand_in] = node.value
        node.value = stand_in


def _text(value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, style='"')


def _under(node: yaml.Node | None, key: str) -> Any:
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if name.value == key:
            return value
    return None


def _items(node: yaml.Node | None, key: str) -> list[Any]:
    found = _under(node, key)
    return list(found.value) if found is not None else []
