"""How Ignition lays one config over another: its config/merge, for configs as JSON-able values (pure).

Butane writes what it generates (mount units, `boot_device`) as a config of its own, and the user's goes over it.
"""

from typing import Any

_KEYS = {
    "disks": "device",
    "raid": "name",
    "luks": "name",
    "filesystems": "device",
    "files": "path",
    "directories": "path",
    "links": "path",
    "users": "name",
    "groups": "name",
    "units": "name",
    "dropins": "name",
    "tang": "url",
}
"""What tells the items of a list apart; items of other lists are simple and stand for themselves."""

_APPENDED = ("options", "mountOptions", "append")
"""Lists whose items may be there twice."""


def merge(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """The config `child` over the config `parent`: what the child says counts, and what only the parent says stays."""
    merged = dict(parent)
    for name, value in child.items():
        before = parent.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            merged[name] = merge(before, value)
        elif isinstance(value, list) and isinstance(before, list):
            merged[name] = before + value if name in _APPENDED else _merge_lists(name, before, value)
        else:
            merged[name] = value
    return merged


def _merge_lists(name: str, parent: list[Any], child: list[Any]) -> list[Any]:
    over = {_key(name, item): item for item in child}
    known = {_key(name, item) for item in parent}
    merged = []
    for item in parent:
        key = _key(name, item)
        merged.append(merge(item, over[key]) if key in over and isinstance(item, dict) else item)
    return merged + [item for item in child if _key(name, item) not in known]


def _key(name: str, item: Any) -> Any:
    if name == "partitions":
        return item.get("number") or f"label:{item.get('label')}"
    return item.get(_KEYS[name]) if isinstance(item, dict) else item
