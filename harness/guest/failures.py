"""Which pins failed, by what the guest said, and whether they may yet answer (pure).

Clevis tries for ever, every half second on DR, and the network may come late: one failure decides nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf

from harness.guest.events import Event, NetworkUp, PinFailed, SystemStarted
from harness.policy.pins import TPM_PINS, Pin, TangPin, holds, leaves, placeholder_server

ATTEMPTS = 2
"""How often a pin must fail before it counts as failed for good."""


def leaf_of(event: PinFailed, pins: Pin, urls: Mapping[str, str]) -> str | None:
    """The name of the leaf that a failure is about, or None when that cannot be told.

    Args:
        event: The failure.
        pins: The tree of the volume.
        urls: Where the guest finds each server, by the server's name.
    """
    if event.pin == "tpm2":
        return next((leaf.name for leaf in leaves(pins) if isinstance(leaf, TPM_PINS)), None)
    if event.pin != "tang":
        return None
    servers = {leaf.name: urls.get(leaf.server, leaf.url) for leaf in leaves(pins) if isinstance(leaf, TangPin)}
    meant = list(servers)
    if event.url:
        named = [name for name, url in servers.items() if url.rstrip("/") == event.url.rstrip("/")]
        meant = named or [name for name, url in servers.items() if placeholder_server(url, "URL")]
    return meant[0] if len(meant) == 1 else None


def failures(pins: Pin, events: Iterable[Event], urls: Mapping[str, str]) -> dict[str, list[PinFailed]]:
    """What the guest said about pins that failed, by the name of the leaf, each stream's words once."""
    said: dict[str, list[PinFailed]] = {}
    for event in events:
        if isinstance(event, PinFailed) and (name := leaf_of(event, pins, urls)):
            said.setdefault(name, []).append(event)
    return {name: _one_stream(found) for name, found in said.items()}


def failed_for_good(pins: Pin, events: Iterable[Event], urls: Mapping[str, str]) -> frozenset[str]:
    """Names of the leaves that will not answer in this boot.

    That is so when the guest said something final, or the pin failed in two separate attempts; for Tang, attempts
    count once the guest has an address.
    """
    seen = tuple(events)
    # The network of the initrd is taken down before the system brings up its own.
    system = max((event.at for event in seen if isinstance(event, SystemStarted)), default=0.0)
    network = min((event.at for event in seen if isinstance(event, NetworkUp) and event.at >= system), default=inf)
    return frozenset(
        name
        for name, said in failures(pins, seen, urls).items()
        if any(event.final for event in said)
        or sum(event.pin != "tang" or event.at >= network for event in said) >= ATTEMPTS
    )


def can_hold(pins: Pin, failed: frozenset[str]) -> bool:
    """Whether the tree can yield the key without these leaves."""
    return holds(pins, frozenset(leaf.name for leaf in leaves(pins)) - failed)


def _one_stream(said: list[PinFailed]) -> list[PinFailed]:
    """Drop echoes: a journal that is forwarded to both consoles says everything twice."""
    journal = {_words(event) for event in said if event.stream == "journal"}
    return [event for event in said if event.stream == "journal" or _words(event) not in journal]


def _words(event: PinFailed) -> PinFailed:
    return replace(event, at=0.0, stream=event.stream.JOURNAL, line="")
