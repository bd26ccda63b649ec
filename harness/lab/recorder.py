"""What one test writes down while it runs: its folder of evidence, and its boots in order."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from harness.evidence import artifacts
from harness.evidence.attacks import Attack, Attempt
from harness.evidence.record import Boot, Failure, Problem, Result, Scenario
from harness.evidence.scrub import scrubbed_config, scrubbed_log
from harness.images.recipe import guest_recipe
from harness.policy.fit import DEFAULT_SPEC
from harness.policy.notes import not_exercised
from harness.policy.policy import Policy


class EvidenceRecorder:
    """The evidence of one test.

    Attributes:
        test: pytest's node id, or what else it is about (an installation).
        folder: Where the evidence lies.
        boots: Those that were judged, or went wrong, so far.
        result: What became of the test; unfinished until it is set.
        failure: The assertion that did not hold.
        error: What went wrong outside any boot.
    """

    def __init__(self, test: str, folder: Path, title: str) -> None:
        self.test = test
        self.folder = folder
        self.title = title
        self.boots: list[Boot] = []
        self.result = Result.UNFINISHED
        self.failure: Failure | None = None
        self.error: Problem | None = None
        self._attack: Attack | None = None
        self._policy = ""
        self._notes: tuple[str, ...] = ()
        self._image = ""
        self._started = datetime.now(UTC)
        self._start = time.monotonic()
        self._numbers = count(1)
        self._prefixes = Counter[str]()
        self._secrets: dict[str, str] = {}

    @classmethod
    def open(cls, root: Path, test: str, title: str) -> "EvidenceRecorder":
        """Start with an empty folder under `root`, in place of an earlier run's.

        Until the test has ended, and if it never does, what is written there is that it is unfinished.
        """
        opened = cls(test, artifacts.open_folder(root, test), title)
        opened.write()
        return opened

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Write down what becomes of the block: it passed only if it came to its end."""
        try:
            yield
            self.result = Result.PASSED
        except BaseException as error:
            self.error = Problem.of(error)
            if isinstance(error, Exception):  # else it was interrupted
                self.result = Result.ERROR
            raise
        finally:
            self.write()

    def installs(self, policy: Policy, image: str) -> None:
        """Write down what this test's machine was installed with."""
        spec = guest_recipe(image).ignition_spec or DEFAULT_SPEC
        self._policy, self._image, self._notes = policy.name, image, not_exercised(policy, spec)
        self.hide_secrets(policy)
        self.keep({artifacts.CONFIG_BU: policy.source})

    def hide_secrets(self, policy: Policy, canaries: Mapping[str, str] | None = None) -> None:
        """Leave the secrets of a machine out of all that is written from now on (`harness.evidence.scrub`)."""
        for volume in policy.volumes:
            canary = (canaries or {}).get(volume.name)
            for what, secret in (("passphrase", volume.passphrase), ("PIN", volume.tpm_pin), ("canary", canary)):
                if secret:
                    self._secrets[secret] = f"[{what} of {volume.name}]"

    def attack_begins(self, grants: Iterable[str]) -> None:
        """Write down that this test is an attack, and what the attacker was granted."""
        self._attack = Attack(tuple(sorted(grants)))

    def attack_tried(self, attempt: Attempt) -> None:
        """Write down what came of one try."""
        assert self._attack, "attack_begins comes first"
        self._attack = replace(self._attack, tries=(*self._attack.tries, attempt))

    def keep(self, files: Mapping[str, artifacts.Source]) -> None:
        """Keep files beside the boots."""
        artifacts.save(self.folder, self._scrubbed(files))

    def keep_log(self, service: str, log: str) -> None:
        """Keep what a service said, under its name."""
        self.keep({f"{service}.log": log})

    def new_boot(self) -> str:
        """The name of one more boot's folder."""
        return f"boot-{next(self._numbers)}"

    def new_prefix(self, label: str) -> str:
        """What the names of one more power-on's files begin with, which is not judged: no other's begin with it."""
        self._prefixes[label] += 1
        return label if self._prefixes[label] == 1 else f"{label}-{self._prefixes[label]}"

    def record(self, boot: Boot, files: Mapping[str, artifacts.Source]) -> None:
        """Keep a boot, and its files in the folder that it names."""
        artifacts.save_boot(self.folder, boot.evidence, self._scrubbed(files))
        self.boots.append(boot)
        self.write()

    def console_tail(self) -> list[str]:
        """The last lines of the last boot's console."""
        if not self.boots:
            return []
        return artifacts.tail(self.folder / self.boots[-1].evidence / artifacts.CONSOLE)

    def write(self) -> dict[str, Any]:
        """Write ``outcome.json`` as it is known now, and return what it says."""
        scenario = Scenario(
            test=self.test,
            result=self.result,
            boots=tuple(self.boots),
            title=self.title,
            policy=self._policy,
            not_exercised=self._notes,
            image=self._image,
            started=self._started,
            seconds=time.monotonic() - self._start,
            attack=self._attack,
            failure=self.failure,
            error=self.error,
        )
        return artifacts.save_outcome(self.folder, scenario, self._secrets)

    def without_secrets(self, text: str) -> str:
        """A text for the terminal or for JUnit XML, without the secrets of the machine."""
        return scrubbed_log(text.encode(errors="replace"), self._secrets).decode()

    def _scrubbed(self, files: Mapping[str, artifacts.Source]) -> dict[str, artifacts.Source]:
        return {name: self._without_secrets(name, source) for name, source in files.items()}

    def _without_secrets(self, name: str, source: artifacts.Source) -> artifacts.Source:
        if isinstance(source, Path):
            try:
                source = source.read_bytes()
            except FileNotFoundError:
                return None
        if source is None:
            return None
        data = source.encode(errors="replace") if isinstance(source, str) else source
        scrub = scrubbed_config if name.endswith((artifacts.CONFIG_BU, artifacts.CONFIG_IGN)) else scrubbed_log
        return scrub(data, self._secrets)
