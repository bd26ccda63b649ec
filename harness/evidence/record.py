"""What is known of a test once it has run, and the one document that says it: ``outcome.json``.

The document (schema 1; `outcome.schema.json` beside this file is the contract, and every reader validates with it)::

    {"schema": 1,
     "test": "scenarios/test_tang.py::test_tang_down[tpm2-and-tang]",    pytest's node id
     "result": "unfinished" | "passed" | "failed" | "error" | "skipped",      failed: an assertion; only passed and
                                                                              failed are verdicts
     "title", "policy", "image": text,               "" when not known
     "started": "2025-03-01T12:00:00+00:00" | null,  "seconds": of the whole test | null,
     "failure": {"reason", "source", "text"} | null, the assertion: what it says, file:line, its source line
     "error": {"kind", "what", "detail", "hint"} | null,       what went wrong outside any boot
     "attack": {"grants": ["disk", "network"], "extracted": whether one of the tries succeeded | null,
                "tries": [{"guard": "tang", "grants": ["disk"], "extracted": false, "evidence": "boot-1"}]} | null,
     "boots": [
       {"label": "boot", "machine": "lab", "evidence": "boot-1",         folder, relative to this file
        "unlock": "auto-unlock" | "passphrase-fallback" | "locked" | "refused", "reason": text,
        "unlocked_by": ["tang", "tpm2"], "keyslot": 1 | null, "token": 0 | null,
        "failed_pins": ["tang"], "failures": [{"pin", "reason", "source"}],
        "proofs": [text], "prompts": 1, "typed_bytes": 12,
        "seconds": {"prompt": 26.2 | null, "unlock": …, "end": …},       from power-on
        "pcrs": {"7": hex}, "canary": whether this boot read the canary,
        "volumes": {"var": the same from "unlock" on, …}},                of a policy with several; else empty
       {"label": "boot", "machine": "lab", "evidence": "boot-2", "canary": null,
        "error": {"kind": "RigError", "what", "detail", "hint"}}         a boot that was not judged
     ]}

The canary's text is left out on purpose: a scenario compares it, a report must not spread it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.errors import HarnessError, UsageError
from harness.evidence.attacks import Attack
from harness.files import read_whole, why_unread
from harness.guest.outcome import Outcome

if TYPE_CHECKING:
    from jsonschema import ValidationError

SCHEMA = 1
OUTCOME = "outcome.json"

_AGAIN = "the run that wrote it was cut off, or another version wrote it; run that scenario again"

Document = Mapping[str, Any]
"""A value that `outcome.schema.json` describes."""


class Result(StrEnum):
    """What became of a test."""

    UNFINISHED = "unfinished"
    """There is no verdict: the test is under way, or was cut off before its end."""
    PASSED = "passed"
    FAILED = "failed"
    """An assertion about an outcome did not hold."""
    ERROR = "error"
    """There is no verdict: the rig, this host, or the call was at fault."""
    SKIPPED = "skipped"
    """There is no verdict: the scenario said that it does not apply here (``pytest.skip``)."""


@dataclass(frozen=True)
class Problem:
    """An error as it is kept.

    Attributes:
        kind: Name of the exception: ``RigError``, ``HostError``, ``UsageError``, …
        what: What happened, in a sentence.
        detail: The evidence; may span lines.
        hint: What to do next.
    """

    kind: str
    what: str
    detail: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> "Problem":
        """Keep an exception; one that is not a `HarnessError` is named by its type."""
        if isinstance(error, HarnessError):
            return cls(type(error).__name__, error.what, error.detail, error.hint)
        return cls(type(error).__name__, str(error) or type(error).__name__)


@dataclass(frozen=True)
class Failure:
    """An assertion that did not hold.

    Attributes:
        reason: What it says.
        source: ``file:line`` of the scenario.
        text: The source line, as written.
    """

    reason: str
    source: str = ""
    text: str = ""


@dataclass(frozen=True)
class Boot:
    """One power-on of a test.

    Attributes:
        observed: The verdict, or why there is none.
        label: What this boot was for: ``boot``, ``control``, ``attacker``, ``rescue``.
        machine: Name of the machine that was started.
        evidence: Its folder, relative to the test's; empty when nothing was kept.
    """

    observed: Outcome | Problem
    label: str = "boot"
    machine: str = ""
    evidence: str = ""


@dataclass(frozen=True)
class Scenario:
    """A test that has run.

    Attributes:
        test: pytest's node id.
        result: What became of it.
        boots: In the order of power-on.
        title: A sentence for people: the first line of the docstring.
        policy: Name of the encryption config, when there was one.
        image: Name of the guest image, when there was one.
        started: When, with a time zone.
        seconds: How long the whole test took.
        failure: The assertion, if `result` is failed.
        error: What went wrong outside any boot, such as an installation; or why it was skipped.
        attack: What an attacker had and got, when there was one.
        not_exercised: What the policy's file asks for that no boot showed.
    """

    test: str
    result: Result
    boots: tuple[Boot, ...] = ()
    title: str = ""
    policy: str = ""
    image: str = ""
    started: datetime | None = None
    seconds: float | None = None
    failure: Failure | None = None
    error: Problem | None = None
    attack: Attack | None = None
    not_exercised: tuple[str, ...] = ()


def document(scenario: Scenario) -> dict[str, Any]:
    """Return the document for a test, ready for `json.dumps`."""
    return {
        "schema": SCHEMA,
        "test": scenario.test,
        "result": scenario.result.value,
        "title": scenario.title,
        "policy": scenario.policy,
        "image": scenario.image,
        "not_exercised": list(scenario.not_exercised),
        "started": scenario.started.isoformat(timespec="seconds") if scenario.started else None,
        "seconds": _rounded(scenario.seconds),
        "failure": vars(scenario.failure) if scenario.failure else None,
        "error": vars(scenario.error) if scenario.error else None,
        "attack": scenario.attack.document() if scenario.attack else None,
        "boots": [_boot(boot) for boot in scenario.boots],
    }


def parse(text: str, name: str) -> Document:
    """Read a document.

    Args:
        text: JSON.
        name: What to call it in an error.

    Raises:
        UsageError: It is not JSON, or not what the schema says; with the place in it.
    """
    value = parse_json(text, name)
    problem = mismatch(value, schema())
    if problem is not None:
        where = f"{problem.json_path}: {problem.message[:400]}"
        raise UsageError(f"{name} does not follow schema {SCHEMA}", where, _AGAIN)
    return cast(Document, value)


def mismatch(value: object, described: Mapping[str, Any]) -> "ValidationError | None":
    """Where a document is furthest from what a JSON schema says, or None when it is as that says."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415, it takes a fifth of a second
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    found: ValidationError | None = best_match(Draft202012Validator(described).iter_errors(value))
    return found


def parse_json(text: str, name: str) -> object:
    """Read JSON strictly (RFC 8259: no NaN).

    Raises:
        UsageError: It is not JSON.
    """
    try:
        value: object = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON", str(error), _AGAIN) from error
    return value


def junit_properties(boots: Sequence[Document]) -> list[tuple[str, str]]:
    """Names and values of a document's boots for pytest's `record_property`, which writes them to the JUnit XML.

    One ``boot-1.unlock``, ``boot-1.failed_pins`` and so on for each boot; lists are joined by commas.
    """
    properties = []
    for number, entry in enumerate(boots, 1):
        if "error" in entry:
            properties += [(f"boot-{number}.error", f"{entry['error']['kind']}: {entry['error']['what']}")]
            continue
        values = {
            "unlock": entry["unlock"],
            "unlocked_by": ",".join(entry["unlocked_by"]),
            "failed_pins": ",".join(entry["failed_pins"]),
            "typed_bytes": str(entry["typed_bytes"]),
        }
        values |= {f"seconds.{name}": str(at) for name, at in entry["seconds"].items() if at is not None}
        properties += [(f"boot-{number}.{name}", value) for name, value in values.items()]
    return properties


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of the document."""
    found: dict[str, Any] = json.loads((resources.files(__package__) / "outcome.schema.json").read_bytes())
    return found


def load(folder: Path) -> Document:
    """Read the document of a test's folder.

    Raises:
        UsageError: There is none, or it cannot be read.
    """
    path = folder / OUTCOME
    try:
        text = read_whole(path).decode()
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder.name} has no {OUTCOME}", "", "no scenario wrote this folder, or another version did"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read", why_unread(error)) from error
    return parse(text, f"{folder.name}/{OUTCOME}")


def problem(document: Document) -> str:
    """The first error of a test or of one of its boots: its kind, and what happened; empty where there was none."""
    errors = [each["error"] for each in (document, *document["boots"]) if each.get("error")]
    # Of what is no error of the harness, Ctrl-C say, the kind may be all there is to tell.
    return ": ".join(dict.fromkeys((errors[0]["kind"], errors[0]["what"]))) if errors else ""


def is_scenario(document: Document) -> bool:
    """Whether it counts: an installation that passed does not, as what is in the cache decides whether there is one."""
    return not (document["test"].startswith("install::") and document["result"] == Result.PASSED.value)


def _boot(boot: Boot) -> dict[str, Any]:
    common = {"label": boot.label, "machine": boot.machine, "evidence": boot.evidence}
    if isinstance(boot.observed, Problem):
        return common | {"canary": None, "error": vars(boot.observed)}
    return common | _verdict(boot.observed)


def _verdict(outcome: Outcome) -> dict[str, Any]:
    return {
        "unlock": outcome.unlock.value,
        "reason": outcome.reason,
        "unlocked_by": sorted(outcome.unlocked_by),
        "keyslot": outcome.keyslot,
        "token": outcome.token,
        "failed_pins": sorted(outcome.failed_pins),
        "failures": [vars(failure) for failure in outcome.failures],
        "proofs": list(outcome.proofs),
        "measured_otherwise": list(outcome.measured_otherwise),
        "prompts": outcome.prompts,
        "typed_bytes": outcome.typed_bytes,
        "seconds": {name: _rounded(at) for name, at in vars(outcome.seconds).items()},
        "pcrs": {str(index): value for index, value in sorted(outcome.pcrs.items())},
        "canary": outcome.canary is not None,
        "volumes": {name: _verdict(volume) for name, volume in outcome.volumes.items()},
    }


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
