"""How Ignition lays one config over another: its config/merge, for configs as JSON-able values (pure).

Butane writes what it generates (mount units, `boot_device`) as a config of its own, and the user's goes over it; what
`ignition.config.merge` names goes over the config that names it (`harness.policy.referenced`).

Source: coreos/ignition 2.26, config/merge/merge.go; Key, IgnoreDuplicates and MergedKeys of the types of config/v3_6.
"""

from typing import Any

from harness.policy import urls

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
    "certificateAuthorities": "source",
    "merge": "source",
    "httpHeaders": "name",
}
"""What tells the items of a list apart; items of other lists are simple and stand for themselves."""

_APPENDED = ("options", "mountOptions", "append")
"""Lists whose items may be there twice."""

_SHARED = ({"files", "directories", "links"}, {"shouldExist", "shouldNotExist"})
"""Lists of which an item is in one at most: the child's takes it out of the parent's others."""


def elsewhere(config: dict[str, Any]) -> list[str]:
    """The addresses of the configs that a config names and that would have to be fetched."""
    named = config["ignition"].get("config", {})
    replacing = named.get("replace", {}).get("source")
    sources = [replacing] if replacing else [each["source"] for each in named.get("merge", [])]
    return [source for source in sources if urls.is_elsewhere(source)]


def merge(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """The config `child` over the config `parent`: what the child says counts, and what only the parent says stays."""
    merged = dict(parent)
    for name, items in parent.items():
        others = [child.get(other) or [] for names in _SHARED if name in names for other in names - {name}]
        if taken := {_key(name, item) for other in others for item in other}:
            own = {_key(name, item) for item in child.get(name) or []}
            merged[name] = [item for item in items if _key(name, item) not in taken - own]
    for name, value in child.items():
        before = merged.get(name)
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
        if name == "httpHeaders" and key in over and over[key].get("value") is None:
            continue  # a header without a value takes the parent's away
        merged.append(merge(item, over[key]) if key in over and isinstance(item, dict) else item)
    return merged + [item for item in child if _key(name, item) not in known]


def _key(name: str, item: Any) -> Any:
    if name == "partitions":
        return item.get("number") or f"label:{item.get('label')}"
    return item.get(_KEYS[name]) if isinstance(item, dict) else item
