"""What a column of the truth table is: what is done to the world, and how the oracle is told of it.

What is done (faults, servers, maintenance, meanwhile) and what is predicted from (`world`) stand side by side here and
meet nowhere else: the boots never see the one, the oracle never sees the other.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.guest.plan import ASK_SECONDS, HOLD_SECONDS
from harness.lab.faults import Fault
from harness.lab.owner import owner_functions
from harness.lab.request import Meanwhile
from harness.policy.maintenance import MaintenanceTask
from harness.policy.pins import ServiceId
from harness.policy.policy import Volume
from harness.policy.world import Server, World
from harness.services.proxied import Asked
from harness.services.tang import Tang

EVERY = "*"
"""In place of a server's name: all of its kind."""


@dataclass(frozen=True)
class Condition:
    """One column.

    Attributes:
        name: Of the column.
        about: What is done, in a sentence.
        world: The same for the oracle, but for the servers.
        faults: Changes of the hardware.
        servers: Which server (or `EVERY` of a kind), what is done to it, and what the oracle is told of it.
        before: What is done to every Tang server before the maintenance.
        maintenance: What root does in the guest beforehand, in a boot of its own.
        under: Changes of the hardware for that boot.
        under_changes: The PCRs that these change: in that boot, and as `faults` in the one that is judged.
        power_cuts: Boots after that in which all opens as it can, and each of which ends by the power being cut.
        meanwhile: What happens during the boot.
        hold: Seconds after a prompt for which pins may keep silent, at the least.
        ask_within: Seconds without progress in which the guest must ask, or is taken to ask for nothing.
        typed: What is typed at the prompts for a PIN; the right one where it is None.
        edition: Count it up when something else is done under the same name, so that the cells are booted again.
    """

    name: str
    about: str
    world: World = field(default_factory=World)
    faults: tuple[Fault, ...] = ()
    servers: tuple[tuple[ServiceId, Callable[[Any], None], Server], ...] = ()
    before: Callable[[Tang], None] | None = None
    maintenance: MaintenanceTask | None = None
    under: tuple[Fault, ...] = ()
    under_changes: frozenset[int] = frozenset()
    power_cuts: int = 0
    meanwhile: Callable[[], Meanwhile] | None = None
    hold: float = HOLD_SECONDS
    ask_within: float = ASK_SECONDS
    typed: tuple[str, ...] | None = None
    edition: int = 1

    def world_of(self, services: Iterable[ServiceId]) -> World:
        """What the oracle is told about a machine whose pins ask these services."""
        states = {each.name: state for each in services for which, _, state in self.servers if _is_among(each, which)}
        return replace(self.world, servers={**self.world.servers, **states})

    def apply(self, asked: Mapping[ServiceId, Asked[Any]]) -> None:
        """Do to the servers what is to be done to them."""
        for service, server in asked.items():
            for which, verb, _ in self.servers:
                if _is_among(service, which):
                    verb(server)

    def becomes(self, volumes: Sequence[Volume]) -> tuple[Volume, ...]:
        """What the volumes of a machine are when it boots."""
        return self.maintenance(volumes).volumes if self.maintenance else tuple(volumes)

    def inputs(self, volumes: Sequence[Volume]) -> tuple[object, ...]:
        """What is declared to decide what it does to a machine with these volumes, JSON-able."""
        commands = (owner_functions(), *self.maintenance(volumes).commands) if self.maintenance else ()
        cuts = (self.power_cuts,) if self.power_cuts else ()
        typed = () if self.typed is None else (self.typed,)
        longer = () if self.ask_within == ASK_SECONDS else (self.ask_within,)
        return (self.name, self.edition, commands, self.hold, *cuts, *typed, *longer)


def _is_among(service: ServiceId, which: ServiceId) -> bool:
    return service.kind == which.kind and which.name in (EVERY, service.name)
