"""Which worker of pytest-xdist runs which scenario: `schedule`'s rules in xdist's terms.

xdist's own ``loadgroup`` gives a machine's scenarios to one worker for good, and a worker that is done early is idle.
Here each worker is told two scenarios at a time (it starts one only when it knows what follows, so that fixtures can be
kept), and what is left at the end is shared.
"""

from collections.abc import Mapping

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScheduling
from xdist.workermanage import WorkerController

from harness.campaign.schedule import Job, Queue

_AHEAD = 2
"""How many scenarios a worker must have been told: xdist's remote.py, ``run_one_test``."""


class MachineScheduling(LoadScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives out scenarios by machine; tests that need none as xdist does."""

    collection: list[str] | None

    def __init__(self, config: pytest.Config, log: Producer | None, machines: Mapping[str, str]) -> None:
        """Begin.

        Args:
            config: Of the process that gives out the work.
            log: xdist's own.
            machines: What each test starts from, by its node id; known when the workers have collected.
        """
        super().__init__(config, log)
        self._machines = machines
        self._queue: Queue | None = None
        self._numbers: dict[Job, int] = {}
        self._last: dict[WorkerController, str] = {}

    def schedule(self) -> None:
        """Give out the first scenarios, or more of them when a worker was replaced."""
        if self.collection is None and self._check_nodes_have_same_collection():
            collection = next(iter(self.node2collection.values()))
            jobs = [Job(nodeid, self._machines.get(nodeid, "")) for nodeid in collection]
            if any(job.machine for job in jobs):
                self.collection = collection
                self.pending[:] = range(len(collection))
                self._numbers = {job: number for number, job in enumerate(jobs)}
                self._queue = Queue(list(jobs))
        if self._queue is None:
            super().schedule()
            return
        # One each first, lest the first worker be given all of a short list.
        for _ in range(_AHEAD):
            for node in self.nodes:
                self._give(node)
        for node in self.nodes:
            self.check_schedule(node)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Note that a scenario is over, so its machine is installed."""
        if self._queue is not None and self.collection is not None:
            self._queue.ready.add(self._machines[self.collection[item_index]])
        super().mark_test_complete(node, item_index, duration)

    def check_schedule(self, node: WorkerController, duration: float = 0) -> None:
        """Tell a worker what follows, or that nothing does."""
        if self._queue is None:
            super().check_schedule(node, duration)
            return
        if node.shutting_down:
            return
        # What a worker that crashed had been told waits again.
        known = {self._numbers[job] for job in self._queue.waiting}
        self._queue.waiting += [job for job, number in self._numbers.items() if number in {*self.pending} - known]
        while len(self.node2pending[node]) < _AHEAD and self.pending:
            self._give(node)
        if not self.pending:
            node.shutdown()

    def _give(self, node: WorkerController) -> None:
        assert self._queue is not None
        job = self._queue.take(self._last.get(node)) if len(self.node2pending[node]) < _AHEAD else None
        if job is None:
            return
        self._last[node] = job.machine
        number = self._numbers[job]
        self.pending.remove(number)
        self.node2pending[node].append(number)
        node.send_runtest_some([number])
