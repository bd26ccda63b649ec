"""Which pins failed, by what the guest said, and whether they may yet answer (pure).

Clevis tries for ever, every half second on DR, and a server or the network may come late: that a pin failed decides
nothing, however often it did. What decides is what the failure says: another TPM, other PCRs, a key that is gone.
"""

from collections.abc import Iterable, Mapping

from harness.guest.events import Event, PinFailed
from harness.policy.pins import Pin, holds, leaves


def leaf_of(event: PinFailed, pins: Pin, urls: Mapping[str, str]) -> str | None:
    """The name of the leaf that a failure is about, or None when that cannot be told.

    Args:
        event: The failure.
        pins: The tree of the volume.
        urls: Where the guest finds each server, by the server's name.
    """
    meant = [leaf for leaf in leaves(pins) if event.pin in (leaf.reported_as, leaf.opener.reported_as)]
    if event.url:
        where = {leaf: urls.get(leaf.service.name, leaf.address) if leaf.service else "" for leaf in meant}
        named = [leaf for leaf in meant if where[leaf].rstrip("/") == event.url.rstrip("/")]
        meant = named or [leaf for leaf in meant if not where[leaf]]
    # One service answers for all of them, or it cannot be told.
    return meant[0].name if len({leaf.service for leaf in meant}) == 1 else None


def failures(pins: Pin, events: Iterable[Event], urls: Mapping[str, str]) -> dict[str, list[PinFailed]]:
    """What the guest said about pins that failed, by the name of the leaf, each stream's words once."""
    said: dict[str, list[PinFailed]] = {}
    for event in events:
        if isinstance(event, PinFailed) and (name := leaf_of(event, pins, urls)):
            said.setdefault(name, []).append(event)
    return {name: _one_stream(found) for name, found in said.items()}


def failed_for_good(pins: Pin, events: Iterable[Event], urls: Mapping[str, str]) -> frozenset[str]:
    """Names of the leaves that will not answer in this boot, since the guest said so (`PinFailed.final`)."""
    said = failures(pins, events, urls)
    return frozenset(name for name, failed in said.items() if any(event.final for event in failed))


def can_hold(pins: Pin, failed: frozenset[str]) -> bool:
    """Whether the tree can yield the key without these leaves."""
    return holds(pins, frozenset(leaf.name for leaf in leaves(pins)) - failed)


def _one_stream(said: list[PinFailed]) -> list[PinFailed]:
    """Drop echoes: a journal that is forwarded to both consoles says everything twice."""
    journal = {_words(event) for event in said if event.stream == "journal"}
    return [event for event in said if event.stream == "journal" or _words(event) not in journal]


def _words(event: PinFailed) -> tuple[object, ...]:
    return tuple(value for name, value in vars(event).items() if name not in ("at", "stream", "line"))
