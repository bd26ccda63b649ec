"""The machines of one scenario: as many as it wants, on at the same time.

::

    def test_one_is_moved_and_the_other_is_not(machines):
        at_home, moved = machines.sealed("tang"), machines.sealed("tang")
        with at_home.powered() as on:
            assert moved.boot(faults.moved_offsite).unlock is not Unlock.AUTO
            assert on.outcome.unlock is Unlock.AUTO

What is installed is installed once. Each machine is a copy of its own, in a network of its own. Machines of one policy
call the same servers, which start with the first of them and know which machine calls (`Tang.calls`).
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.defaults import IMAGE
from harness.evidence import artifacts
from harness.host.scratch import scratch
from harness.lab.install import SealedEntry, sealed_machine
from harness.lab.laboratory import Laboratory
from harness.lab.policies import named_policy
from harness.lab.power import ScenarioContext
from harness.lab.recorder import EvidenceRecorder
from harness.lab.sealed import Sealed
from harness.lab.servers import served
from harness.network.segment import Segment
from harness.paths import POLICIES
from harness.policy.enrolment import Enrolment
from harness.policy.pins import ServiceId
from harness.policy.policy import Policy
from harness.services.proxied import Asked
from harness.services.service import Service


class Machines:
    """Makes machines from `__enter__` to `__exit__`, and has the services that they call.

    Args:
        lab: Where they run.
        recorder: Keeps what becomes of them.
        image: What they boot unless another is named: a folder of images/.
        beside: Where a policy is looked for first.
    """

    def __init__(
        self, lab: Laboratory, recorder: EvidenceRecorder, image: str = IMAGE, beside: Path = POLICIES
    ) -> None:
        self._lab = lab
        self._recorder = recorder
        self._image = image
        self._beside = beside
        self._stack = ExitStack()
        self._servers: dict[Path, Mapping[ServiceId, Asked[Any]]] = {}
        self._copies: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def sealed(self, policy: str | Enrolment | Policy, *, image: str | None = None) -> Sealed:
        """One more machine with a policy installed, which has opened by itself once; it is off.

        Args:
            policy: As the mark ``policy`` names it.
            image: A folder of images/; by default that of the run.

        Raises:
            HarnessError: It could not be installed.
        """
        image = image or self._image
        found = named_policy(policy, image, self._beside)
        return self.copy(sealed_machine(self._lab, image, found, self._recorder.folder.parent))

    def copy(self, entry: SealedEntry) -> Sealed:
        """One more copy of a sealed machine; it is off."""
        lab, recorder = self._lab, self._recorder
        number = self._copies[entry.folder] = self._copies.get(entry.folder, 0) + 1
        if number == 1:
            self._servers[entry.folder] = self._serve(entry)
        asked, log = self._servers[entry.folder], entry.folder / artifacts.EVENT_LOG
        context = ScenarioContext(lab, entry.image, entry.policy, asked, recorder, log if log.exists() else None)
        folder = self._stack.enter_context(scratch(lab.host.user))
        name = entry.policy.name if number == 1 else f"{entry.policy.name}-{number}"
        return Sealed.copy_of(entry, folder, context, name)

    def segment(self) -> Segment:
        """One more Ethernet segment; `faults.on_segment` puts machines on it."""
        folder = self._stack.enter_context(scratch(self._lab.host.user))
        return self._stack.enter_context(Segment(folder, self._lab.host.user))

    def _serve(self, entry: SealedEntry) -> Mapping[ServiceId, Asked[Any]]:
        """Start the servers of a sealed machine's policy, and keep what they and the installation left."""
        first = not self._servers
        prefix = "" if first else f"{entry.policy.name}-"
        if first:
            self._recorder.installs(entry.policy, entry.image.name)
        self._recorder.hide_secrets(entry.policy, entry.canaries)
        self._recorder.keep({f"{prefix}{artifacts.CONFIG_IGN}": entry.folder / "config.ign"})
        # The host may have been updated since the installation; the guest cannot have been.
        artifacts.save_versions(self._recorder.folder, {**entry.versions, **self._lab.versions})
        asked = self._stack.enter_context(served(self._lab, entry.policy, entry.held))
        self._stack.callback(self._keep_logs, asked.values(), prefix)
        return asked

    def _keep_logs(self, services: Iterable[Service], prefix: str) -> None:
        for service in services:
            self._recorder.keep_log(f"{prefix}{service.name}", service.raw_log)
