"""The rows of the truth table as volumes, read in a tenth of the time that their machines take: for `explain`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from harness.images.recipe import Recipe, guest_recipe
from harness.lab.policies import bare_root
from harness.matrix.cells import Place
from harness.matrix.condition import Condition
from harness.matrix.conditions import all_conditions
from harness.matrix.machines import MACHINES, TableMachine
from harness.policy.butane import read_policy
from harness.policy.enrolment import enrolled
from harness.policy.oracle import predict
from harness.policy.policy import Policy, Volume
from harness.policy.world import Stack
from harness.unlock import Unlock


@dataclass(frozen=True)
class TableRow:
    """A row on one image.

    Attributes:
        name: As the table calls it.
        image: A folder of images/.
        stack: What opens its volume.
        volume: What it stands for, but for where it lies and what is typed.
        columns: The conditions that it is put through.
    """

    name: str
    image: str
    stack: Stack
    volume: Volume
    columns: tuple[str, ...]

    @property
    def conditions(self) -> Iterator[Condition]:
        """Its columns."""
        return (condition for condition in all_conditions() if condition.name in self.columns)

    def place(self, condition: Condition) -> Place:
        """Of a cell."""
        return self.image, self.name, condition.name

    def predicted(self, condition: Condition) -> Unlock:
        """What the rules say of a cell."""
        world = condition.world_of(self.volume.services)
        return predict(condition.becomes([self.volume])[0], world, self.stack).unlock


_Read = Callable[[Path], Policy]


def table_rows() -> Iterator[TableRow]:
    """Every row of every machine."""
    read = cache(read_policy)
    images: dict[str, tuple[Recipe, Policy | None]] = {}
    for machine in MACHINES:
        if machine.image not in images:
            images[machine.image] = guest_recipe(machine.image), bare_root(machine.image)
        recipe, root = images[machine.image]
        for name, volume in _volumes(machine, root, read):
            yield TableRow(name, machine.image, recipe.stack, volume, machine.columns)


def _volumes(machine: TableMachine, root: Policy | None, read: _Read) -> Iterator[tuple[str, Volume]]:
    alone = len(machine.policies) == 1
    if root and not alone:
        yield root.volumes[0].name, root.volumes[0]
    for row in machine.policies:
        if alone and row.enrolment:
            yield row.name, enrolled(root or read(row.file), row.enrolment).volumes[0]
        else:
            policy = enrolled(read(row.file), row.enrolment) if row.enrolment else read(row.file)
            yield row.name, replace(policy.volumes[0], key_file=False) if root else policy.volumes[0]
