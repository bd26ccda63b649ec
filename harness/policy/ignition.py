"""The Ignition config that a guest gets: a policy, its placeholders filled, and the harness's own files (pure)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.policy import urls
from harness.policy.fit import fit
from harness.policy.pins import TANG, ServiceId
from harness.policy.pins.placeholders import DEFAULT_SERVER, PLACEHOLDER, TangAddress
from harness.policy.policy import Policy
from harness.policy.variants import NEWEST_SPEC

_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{27,}")
"""Base64url of a digest, SHA-1 being the shortest (RFC 7638, section 3)."""


@dataclass(frozen=True)
class GuestFile:
    """A file that the harness puts into the guest beside what the policy says.

    Attributes:
        path: Absolute, in the installed system.
        text: What it holds.
        mode: Permission bits.
    """

    path: str
    text: str
    mode: int = 0o644


def render(
    policy: Policy,
    servers: Mapping[str, TangAddress],
    extra_files: Sequence[GuestFile] = (),
    spec: int = NEWEST_SPEC,
) -> bytes:
    """The final config as JSON; the same arguments give the same bytes.

    What the policy says is left as it is, as far as the guest can take it (`harness.policy.fit`): nothing is made
    faster in secret.

    Args:
        policy: What is installed.
        servers: The address of each of `Policy.tang_servers`, by name.
        extra_files: Files that the harness adds.
        spec: The minor version of the Ignition 3 spec that the guest's Ignition takes.

    Raises:
        UsageError: A server is missing, malformed or not where the policy wants it, or a file's path is taken.
    """
    for name in policy.tang_servers:
        _check_address(policy, name, servers)
    config = fill_placeholders(_with_own_keys(fit(policy.config, spec).config, policy.own_keys), servers)
    for file in extra_files:
        _add(policy, config, file)
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _check_address(policy: Policy, name: str, servers: Mapping[str, TangAddress]) -> None:
    address = servers.get(name)
    if address is None:
        raise UsageError(
            f"the policy {policy.name} needs a Tang server called {name}, and none was given",
            f"given: {', '.join(servers) or 'none'}",
        )
    if not _URL.fullmatch(address.url) or not _THUMBPRINT.fullmatch(address.thumbprint):
        raise UsageError(f"the address of the Tang server {name} is malformed", repr(address))
    for pin in policy.leaves:
        if pin.service == ServiceId(TANG, name) and pin.address and _place(pin.address) != _place(address.url):
            raise UsageError(
                f"the policy {policy.name} wants the Tang server {name} at {pin.address}, not at {address.url}"
            )


def _place(url: str) -> tuple[str | None, int, str]:
    parts = urls.parse(url)
    return parts.hostname, parts.port or 80, parts.path.removesuffix("/")


def _with_own_keys(value: Any, keys: Mapping[tuple[str, str], str]) -> Any:
    """The same value with the harness's own keys for servers that it runs in the place of the user's.

    Args:
        value: JSON-able.
        keys: Placeholders by URL and thumbprint.
    """
    if isinstance(value, list):
        return [_with_own_keys(inner, keys) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {name: _with_own_keys(inner, keys) for name, inner in value.items()}
    for name in ("thumbprint", "thp"):  # as Ignition and as clevis call it
        if (key := (str(found.get("url")), str(found.get(name)))) in keys:
            found[name] = keys[key]
    if keys and {"pin", "config"} <= found.keys():  # a custom pin of clevis has JSON in it
        found["config"] = json.dumps(_with_own_keys(json.loads(found["config"]), keys))
    return found


def fill_placeholders(value: Any, servers: Mapping[str, TangAddress]) -> Any:
    """The same JSON-able value with the placeholders of Tang servers filled in.

    Raises:
        UsageError: A placeholder names a server that is not there.
    """
    if isinstance(value, dict):
        return {key: fill_placeholders(inner, servers) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill_placeholders(inner, servers) for inner in value]
    if not isinstance(value, str):
        return value

    def address(match: re.Match[str]) -> str:
        name = match["server"] or DEFAULT_SERVER
        if name not in servers:
            raise UsageError(
                f"the placeholder {match[0]} names no Tang server", f"given: {', '.join(servers) or 'none'}"
            )
        return servers[name].url if match["what"] == "URL" else servers[name].thumbprint

    return PLACEHOLDER.sub(address, value)


def _nodes(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("files", "directories", "links"):
        for node in config.get("storage", {}).get(kind, []):
            yield kind, node["path"]


def _add(policy: Policy, config: dict[str, Any], file: GuestFile) -> None:
    for kind, path in _nodes(config):
        through_node = kind != "directories" and file.path.startswith(path + "/")
        under_file = path.startswith(file.path + "/")
        if path == file.path or through_node or under_file:
            raise UsageError(
                f"the harness's own file {file.path} collides with {path} in storage.{kind} of the policy {policy.name}"
            )
    source, compression = urls.encode(file.text.encode())
    config.setdefault("storage", {}).setdefault("files", []).append(
        {
            "path": file.path,
            "mode": file.mode,
            "overwrite": True,
            "contents": {"source": source, "compression": compression},
        }
    )
