"""What `ignition.config` of a file names, laid over the file as Ignition lays it at the first boot.

A guest gets one config: what the file holds in itself (`local`, `inline` and data URLs) is merged before. What would be
fetched is not read: it stays where it is, no guest is installed (`harness.policy.before_boot`), and nothing is
predicted (`harness.policy.notes`).

Source: coreos/ignition 2.26, internal/exec/config_fetcher.go (RenderConfig) and engine.go: what is named goes over what
names it, in order; `replace` takes the place of all the rest; what comes of it is checked as one config.
"""

import json
from typing import Any

from harness.policy import urls
from harness.policy.checks import check
from harness.policy.document import CONFIG, Document, KeyPath, dotted
from harness.policy.merge import merge
from harness.policy.nodes import MOST_BYTES, MOST_VALUES
from harness.policy.reader import read_values
from harness.policy.translate import translate

_DEEPEST = 3
"""Configs that name a config that names a config …"""

_NO_LINE = ", first on line 1"
"""Of what comes of merging: it is in no file."""

_MOST = 100
"""Configs that one names."""


def rendered(document: Document, config: dict[str, Any]) -> dict[str, Any]:
    """The one config that Ignition makes of a config and of those that it names; mistakes in them are the document's.

    Args:
        document: The file, without a mistake.
        config: What it means.
    """
    if not config["ignition"].get("config"):
        return config
    one = _Rendering().render(document, config, 0)
    if document.sound:
        whole = Document(document.path, json.dumps(one))
        read_values(whole)
        check(whole)
        for _, message in whole.mistakes:
            document.mistake(CONFIG, f"once merged: {message.removesuffix(_NO_LINE)}", inside=True)
    return one


class _Rendering:
    """One file's: how much it holds is bounded, since gzip makes much of little."""

    def __init__(self) -> None:
        self.bytes_left = MOST_BYTES
        self.keys_left = MOST_VALUES // 2  # there, a key and its value are two

    def render(self, document: Document, config: dict[str, Any], depth: int) -> dict[str, Any]:
        named = config["ignition"].get("config", {})
        if depth > _DEEPEST:
            document.mistake(CONFIG, f"configs that name configs, more than {_DEEPEST} deep")
            return config
        replacing = named.get("replace", {})
        if replacing.get("source"):
            if urls.is_elsewhere(replacing["source"]):
                return config
            if beside := ", ".join(name for name in config if name != "ignition"):
                document.notes.append(f"{beside}: Ignition takes what ignition.config.replace names, and not these")
            return self.part(document, (*CONFIG, "replace"), replacing, depth) or config
        merging = named.get("merge", [])
        if len(merging) > _MOST:
            document.mistake((*CONFIG, "merge"), f"more than {_MOST} configs")
            return config
        one = {**config, "ignition": {key: value for key, value in config["ignition"].items() if key != "config"}}
        if kept := [each for each in merging if urls.is_elsewhere(each["source"])]:
            one["ignition"]["config"] = {"merge": kept}
        for index, resource in enumerate(merging):
            if not urls.is_elsewhere(resource["source"]):
                one = _over(one, self.part(document, (*CONFIG, "merge", index), resource, depth))
        return one

    def part(self, document: Document, path: KeyPath, resource: dict[str, Any], depth: int) -> dict[str, Any]:
        """A config that a document holds, rendered; of one that has mistakes, nothing."""
        if min(self.bytes_left, self.keys_left) < 0:
            return {}  # as was said of an earlier one
        contents = urls.decode(resource["source"])
        if resource.get("compression"):
            contents = urls.unpack(contents)
        self.bytes_left -= len(contents)
        if self.bytes_left < 0:
            document.mistake(path, f"with it, what the file holds has more than {MOST_BYTES // 2**20} MiB")
            return {}
        name = _local_name(document, path)
        part = Document(document.path, contents.decode(errors="replace"))
        if read_values(part) and not part.ignition:
            part.mistake(
                (), f"is {part.variant.title}; Ignition reads its own form alone: give what butane makes of it"
            )
        self.keys_left -= len(part.lines)
        if self.keys_left < 0:
            part.mistake((), f"with it, what the file holds has more than {MOST_VALUES // 2:,} keys")
        if part.sound:
            check(part)
        config = self.render(part, translate(part), depth + 1) if part.sound else {}
        document.take_over(part, path, name)
        document.notes.append(f"that Ignition reads {name or dotted(path)} in the guest: it is merged before the boot")
        document.notes.extend(part.notes)
        return config


def _local_name(document: Document, path: KeyPath) -> str:
    section: Any = document.data
    for key in path:
        section = section[key]
    return str(section.get("local", ""))


def _over(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    if not child:
        return parent
    newest = max((parent, child), key=lambda config: int(config["ignition"]["version"].split(".")[1]))
    merged = merge(parent, child)
    merged["ignition"]["version"] = newest["ignition"]["version"]
    return merged
