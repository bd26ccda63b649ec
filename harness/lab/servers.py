"""The servers that the pins of a policy ask: what makes each the one that was bound to, and their life."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from harness.cache import build_once, digest
from harness.lab.laboratory import Laboratory
from harness.lab.places import places_of
from harness.policy.pins import ServiceId
from harness.policy.policy import Policy
from harness.progress import Progress
from harness.services.held import Held, save
from harness.services.kinds import KINDS
from harness.services.proxied import Asked


def held_for(lab: Laboratory, policy: Policy) -> dict[ServiceId, Held]:
    """What the servers of a policy hold, made once for each policy and server: an input like any other."""
    return {service: _held_by(service, policy, lab.progress) for service in policy.provided}


def _held_by(service: ServiceId, policy: Policy, progress: Progress) -> Held:
    kind = KINDS[service.kind]
    key = digest(policy.name, service.name, *kind.inputs)
    made = build_once(kind.shelf, key, lambda folder: save(kind.new(progress), folder), progress=progress)
    held: Held = kind.load(made)
    return held


@contextmanager
def served(lab: Laboratory, policy: Policy, held: Mapping[ServiceId, Held]) -> Iterator[dict[ServiceId, Asked[Any]]]:
    """The servers of a policy, running, each with what it holds."""
    places = places_of(policy)
    with ExitStack() as stack:
        yield {
            service: stack.enter_context(KINDS[service.kind].serve(service.name, what, places[service], lab.progress))
            for service, what in held.items()
        }
